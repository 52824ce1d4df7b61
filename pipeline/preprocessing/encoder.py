"""One score file -> the ids of its pieces: the task of a parsing process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.scores.cache import ScoreCache
from pipeline.scores.formats import AS_WRITTEN, SYMUSIC, Reading
from pipeline.scores.labels import Features
from pipeline.scores.notes import DRUMS, Score
from pipeline.sources.piece import Piece
from pipeline.sources.splits import music_digest
from pipeline.vocabulary.conditions import CHORDS, is_understood
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.registry import Vocabulary


@dataclass(frozen=True)
class Encoded:
    """Ids [num_tokens] int32 of each piece of a file, and how many notes each rule changed."""

    pieces: list[np.ndarray]
    adjustments: Counter[str] = field(default_factory=Counter)
    music: list[str] = field(default_factory=list)  # `music_digest` of each piece


class AllLeftOutError(ValueError):
    """Raised for a score without a note that the vocabulary can encode."""

    kind = "empty"  # for the list of rejects


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

    def __call__(self, piece: Piece) -> Encoded:
        """The file's pieces as ids. Raises ValueError or OSError with the reason."""
        encoded, adjustments, music = [], Counter[str](), []
        for score in self._scores(piece):
            fitted, changed = self.vocabulary.fit(score)
            adjustments += changed + Counter(score.adjustments)
            if fitted.notes.size:
                encoded.append(self._encode(fitted, score, piece.features))
                music.append(music_digest(score))
        adjustments += self._chords_not_understood(piece.features)
        if not encoded:
            raise AllLeftOutError("only percussion, which needs --instruments")
        return Encoded(encoded, adjustments, music)

    def _encode(self, fitted: Score, score: Score, features: Features) -> np.ndarray:
        """Ids of a fitted score, with its conditions where the vocabulary has any."""
        if not isinstance(self.vocabulary, EventVocabulary) or not self.vocabulary.conditions:
            return self.vocabulary.encode_fitted(fitted)
        # Chord labels count time from the start of the file, ids from the first note.
        onsets = score.notes["onset"]
        if not self.vocabulary.instruments:
            onsets = onsets[score.notes["program"] != DRUMS]
        first_step = round(int(onsets.min()) * fitted.resolution / score.resolution)
        return self.vocabulary.encode_fitted(fitted, features, first_step)

    def _chords_not_understood(self, features: Features) -> Counter[str]:
        if CHORDS not in self.vocabulary.conditions:
            return Counter()
        wrong = sum(not is_understood(symbol) for symbol in features.chords)
        return +Counter({"chord symbols not understood": wrong})

    def _scores(self, piece: Piece) -> list[Score]:
        from pipeline.scores.reading import (
            read_scores,  # music21: only the parsing processes load it
        )

        if reader := self.reader or piece.reader:
            return reader(piece.path)
        if self.cache is None:
            return read_scores(piece.path, self.reading)
        return ScoreCache(self.cache).read(piece.path, self.reading, read_scores)
