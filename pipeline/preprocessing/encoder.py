"""One score file -> the ids of its pieces: the task of a parsing process."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pipeline.preprocessing.killable_pool import Failure
from pipeline.scores.cache import ScoreCache
from pipeline.scores.counted_rules import NO_METRE, OTHER_METRES, num_left_out
from pipeline.scores.formats import AS_WRITTEN, SYMUSIC, Reading
from pipeline.scores.labels import Features
from pipeline.scores.notes import CountError, NoNotesError, Refusal, Score, steps_of
from pipeline.sources.piece import Piece
from pipeline.sources.splits import music_digest
from pipeline.vocabulary.condition_tokens import bars_of
from pipeline.vocabulary.conditions import CHORDS, METRE, UNKNOWN, is_understood
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.fitting import without_percussion
from pipeline.vocabulary.registry import Vocabulary


@dataclass(frozen=True)
class Encoded:
    """A piece as ids, and what became of its notes."""

    ids: np.ndarray  # [num_tokens] int32
    music: str  # `music_digest`
    notes_read: int  # in its file, by a count that is independent of the reader
    notes_kept: int  # in the data set
    adjustments: Mapping[str, int] = field(default_factory=dict)  # rule -> notes


@dataclass(frozen=True)
class Encoder:
    """Callable that reads and encodes a file; it is sent to other processes."""

    vocabulary: Vocabulary
    # None: the piece's own reader, else that of pipeline/scores/reading.py
    reader: Callable[[Path], list[Score]] | None = None
    reading: Reading = AS_WRITTEN
    cache: Path | None = None  # folder of scores that were read before; None: no cache

    @property
    def modules(self) -> list[str]:
        """Names of the modules that a process should import before its first file."""
        return ["pipeline.scores.midi.by_symusic"] if self.reading.midi_reader == SYMUSIC else []

    def __call__(self, piece: Piece) -> list[Encoded | Failure]:
        """The file's pieces in its order, each encoded or the reason why it is not.

        Raises ValueError or OSError with the reason for a whole file.
        """
        pieces = self._pieces(piece)
        if not pieces:
            raise NoNotesError("no notes in it")
        return [
            _failure(found) if isinstance(found, Refusal) else self._encoded(found, piece.features)
            for found in pieces
        ]

    def _encoded(self, score: Score, features: Features) -> Encoded | Failure:
        score = _with_metre(score, features)
        fitted, adjustments = self.vocabulary.fit(score)
        if score.adjustments:
            adjustments.update(score.adjustments)
        notes_read, notes_kept = score.notes_read, fitted.notes.size
        if notes_read is None:
            notes_read = score.notes.size + num_left_out(score.adjustments)
        if not notes_kept:
            why = "only percussion, which needs --instruments"
            return Failure("empty", why if score.notes.size else "no notes in it", notes_read)
        if notes_read != notes_kept + num_left_out(adjustments):
            found = notes_kept + num_left_out(adjustments)
            return _failure(Refusal.of(CountError(notes_read, found)))
        if CHORDS in self.vocabulary.conditions:
            adjustments += _chords_not_understood(features)
        if METRE in self.vocabulary.conditions:
            adjustments += _metres_without_token(fitted)
        ids = self._encode(fitted, score, features)
        return Encoded(ids, music_digest(score), notes_read, notes_kept, adjustments)

    def _encode(self, fitted: Score, score: Score, features: Features) -> np.ndarray:
        """Ids of a fitted score, with its conditions where the vocabulary has any."""
        if not isinstance(self.vocabulary, EventVocabulary) or not self.vocabulary.conditions:
            return self.vocabulary.encode_fitted(fitted)
        # Chord labels count time from the start of the file, ids from the first note.
        notes = score.notes
        if not self.vocabulary.instruments:
            notes, _ = without_percussion(notes)
        first_step = int(steps_of(notes, score.resolution, fitted.resolution)[0].min())
        return self.vocabulary.encode_fitted(fitted, features, first_step)

    def _pieces(self, piece: Piece) -> Sequence[Score | Refusal]:
        from pipeline.scores.reading import read_file  # music21: only the parsing processes load it

        if reader := self.reader or piece.reader:
            return reader(piece.path)
        if self.cache is None:
            return read_file(piece.path, self.reading)
        return ScoreCache(self.cache).read(piece.path, self.reading, read_file)


def _failure(found: Refusal) -> Failure:
    reason = " ".join(found.reason.split())
    return Failure(found.kind, reason, found.notes_read, found.notes_by_reader)


def _chords_not_understood(features: Features) -> Counter[str]:
    wrong = sum(not is_understood(symbol) for symbol in features.chords)
    return Counter({"chord symbols not understood": wrong})


def _with_metre(score: Score, features: Features) -> Score:
    """The score, whose bars are those of the data set's label where its file names no metre."""
    label = re.fullmatch(r"(\d+)/(\d+)", features.metre or "")
    if score.time_signatures or not label or not int(label[2]):
        return score
    return replace(score, time_signatures=[(0.0, int(label[1]), int(label[2]))])


def _metres_without_token(fitted: Score) -> Counter[str]:
    if not fitted.time_signatures:
        return Counter({NO_METRE: 1})
    return Counter({OTHER_METRES: sum(value == UNKNOWN for value in bars_of(fitted).values())})
