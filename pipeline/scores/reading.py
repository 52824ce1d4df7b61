"""The scores in a file of any format that is read: MIDI, MusicXML, kern, ABC."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import music21

from pipeline.scores.abc_notation.reader import read_abc
from pipeline.scores.formats import (
    ABC_SUFFIX,
    AS_WRITTEN,
    MIDI_SUFFIXES,
    MUSIC21,
    MUSICXML_SUFFIXES,
    SCORE_SUFFIXES,
    Reading,
)
from pipeline.scores.kern.reader import read_kern
from pipeline.scores.midi.by_music21 import score_by_music21
from pipeline.scores.midi.note_count import with_count
from pipeline.scores.midi.rules import split_chunks
from pipeline.scores.musicxml.reader import read_musicxml
from pipeline.scores.notes import (
    DEFAULT_VELOCITY,
    CountError,
    NoNotesError,
    NoteRow,
    Refusal,
    Score,
    make_notes,
)

MAX_MEBIBYTES = 64  # size of a file, and of a member of an archive


def read_score(path: Path, reading: Reading = AS_WRITTEN) -> Score:
    """The score in a file that holds one piece.

    Raises ValueError saying what is wrong with the file, or that it holds several pieces.
    """
    scores = read_scores(path, reading)
    if len(scores) > 1:
        raise ValueError(f"{path} holds {len(scores)} pieces; one was needed")
    return scores[0]


def read_scores(path: Path, reading: Reading = AS_WRITTEN) -> list[Score]:
    """The scores in a file: one, or several where an ABC or kern file holds several tunes.

    Scores without notes are left out. Raises ValueError as `read_file` does, where a piece is
    refused, and where the file has no notes (NoNotesError).
    """
    pieces = read_file(path, reading)
    refused = [piece.reason for piece in pieces if isinstance(piece, Refusal)]
    if refused:
        of_several = f"{len(refused)} of {len(pieces)} pieces cannot be read, the first is "
        raise ValueError(
            f"{of_several if pieces[1:] else ''}{refused[0]}. Repair it, or take it out of the file"
        )
    scores = [piece for piece in pieces if isinstance(piece, Score) and piece.notes.size]
    if not scores:
        raise NoNotesError("no notes in it")
    return scores


def read_file(path: Path, reading: Reading = AS_WRITTEN) -> list[Score | Refusal]:
    """The pieces of a file in its order: the score of each, or why it is refused.

    A score may be without notes. It has the number of notes that were counted in the file,
    independently of the reader; where they differ the piece is refused.

    The rules stand at `midi.rules.score_from_tracks`, `musicxml.reader.read_musicxml`,
    `kern.reader.kern_scores` and `abc_notation.reader.read_tunes`.
    Raises ValueError saying what is wrong with the file: another format than its suffix says, cut
    off, damaged, other notes than were counted (CountError).
    """
    suffix = path.suffix.lower()
    if suffix not in SCORE_SUFFIXES:
        raise ValueError(f"suffix {suffix or '(none)'}; readable are {' '.join(SCORE_SUFFIXES)}")
    if path.stat().st_size > MAX_MEBIBYTES << 20:
        raise ValueError(f"has more than {MAX_MEBIBYTES} MiB; no score does")
    if suffix in MIDI_SUFFIXES:
        return [read_midi(path.read_bytes(), reading.midi_reader)]
    if suffix == ".krn":
        return read_kern(path, expand_repeats=reading.expand_repeats)
    if suffix in MUSICXML_SUFFIXES:
        return [read_musicxml(path, expand_repeats=reading.expand_repeats)]
    assert suffix == ABC_SUFFIX
    return read_abc(path.read_bytes(), expand_repeats=reading.expand_repeats)


def read_midi(contents: bytes, reader: str = MUSIC21) -> Score:
    """The score in the bytes of a MIDI file; it may have no notes.

    Both readers give the same notes and the same reasons: music21 also reads the files that symusic
    cannot read by the same rules, or of which it finds another number of notes than `count_notes`.
    Raises ValueError for a damaged file, CountError where music21 finds another number too.
    """
    kind, division, tracks = split_chunks(contents)
    if reader != MUSIC21:
        from pipeline.scores.midi.by_symusic import UnfitForSymusicError, score_by_symusic

        with suppress(UnfitForSymusicError, CountError):
            return with_count(score_by_symusic(kind, division, tracks), tracks)
    return with_count(score_by_music21(kind, division, tracks), tracks)


def count_by_converter(path: Path) -> int:
    """Number of notes and chords that `music21.converter.parse` finds; for comparing speed."""
    parsed = music21.converter.parse(path, forceSource=True, storePickle=False)
    return len(parsed.flatten().notes)


def notes_from_names(names: str, steps_per_quarter: int = 12) -> Score:
    """A score of quarter notes in sequence, from names: 'C4 E4 G4', 'F#4 Bb3'.

    The octave is 4 where a name has none. Raises ValueError quoting a name that is not a note.
    """
    rows: list[NoteRow] = []
    for name in names.split():
        try:
            pitch = music21.pitch.Pitch(name)
        except (music21.exceptions21.Music21Exception, ValueError) as error:
            raise ValueError(
                f"{name!r} is not a note ({error}); needed: names like C4 F#4 Bb3"
            ) from None
        key = math.floor(pitch.ps + 0.5)
        if not 0 <= key <= 127:
            raise ValueError(f"{name!r} is MIDI key {key}; keys go from 0 (C-1) to 127 (G9)")
        rows.append((len(rows) * steps_per_quarter, 0, key, steps_per_quarter, DEFAULT_VELOCITY))
    if not rows:
        raise ValueError("no notes given; needed: names like C4 E4 G4")
    return Score(make_notes(rows), steps_per_quarter)
