"""Notes and scores: arrays on an integer time grid, and the rules that put them in order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

# General MIDI has 128 programs; percussion (MIDI channel 10) is counted as one more.
DRUMS = 128
DEFAULT_VELOCITY = 80
DEFAULT_TEMPO = 100.0

NOTE = np.dtype(
    [
        ("onset", "<i4"),  # in units of 1 / resolution quarter
        ("program", "<i2"),  # General MIDI program 0..127, or DRUMS
        ("pitch", "<i2"),  # MIDI key number
        ("duration", "<i4"),  # in the same units as the onset
        ("velocity", "<i2"),  # 1..127
    ]
)
BITS = {name: 8 * NOTE[name].itemsize for name in NOTE.names or ()}
ORDER = ["onset", "program", "pitch", "duration"]
# Onset in quarters, upper and lower number; the numbers are 0 where they are unknown.
TimeSignature = tuple[float, int, int]
NoteRow = tuple[int, int, int, int, int]  # onset, program, pitch, duration, velocity: as in NOTE


@dataclass(frozen=True)
class Score:
    """Notes of one piece, sorted by (onset, program, pitch, duration)."""

    notes: np.ndarray  # [num_notes] of NOTE
    resolution: int  # units per quarter note
    tempo: float = DEFAULT_TEMPO  # quarter notes per minute, the first one of the piece
    adjustments: Mapping[str, int] = field(default_factory=dict)  # rule of reading -> notes
    # Notes of the file by a count that is independent of the reader; None: they were not counted.
    notes_read: int | None = None
    # In order. A bar begins at each, and then one after the other (bars.py); none: no bar is known.
    time_signatures: Sequence[TimeSignature] = ()

    @property
    def end(self) -> int:
        """End of the last note, in units of 1 / resolution quarter; 0 for an empty score."""
        return int((self.notes["onset"] + self.notes["duration"]).max(initial=0))

    @property
    def seconds(self) -> float:
        """Playing time at the score's tempo."""
        return self.end / self.resolution * 60.0 / self.tempo


def make_notes(rows: list[NoteRow]) -> np.ndarray:
    """Sorted notes [num_notes] of NOTE."""
    return sort_notes(np.array(rows, dtype=NOTE))


def sort_notes(notes: np.ndarray, order: Sequence[str] = ORDER) -> np.ndarray:
    """The notes sorted by these fields, then by the remaining ones.

    The result is that of `np.sort(notes, order=order)`, which compares pairs of records field by
    field. Here each record is packed into one number, or two where the first leaves ties, which
    is many times as fast.
    """
    # `take` copies whole records; indexing copies field by field, ten times as long.
    return notes.take(_sorted_places(notes, order)[0])


def _sorted_places(notes: np.ndarray, order: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Where each note of `sort_notes` stands among `notes`, and its first three fields packed."""
    first = _packed(notes, order[:3])  # 32, 16 and 16 bits
    places = first.argsort(kind="stable")  # fast where most are in order already
    in_order = first.take(places)
    if np.count_nonzero(_differences(in_order)) < notes.size - 1:
        remaining = [name for name in BITS if name not in order[:3]]  # 32 and 16 bits
        remaining.sort(key=lambda name: name not in order)
        places = np.lexsort([_packed(notes, remaining), first])
    return places, in_order


def _packed(notes: np.ndarray, fields: Sequence[str]) -> np.ndarray:
    """[num_notes] int64 that sort as these fields do; the first field is the most significant."""
    packed = notes[fields[0]].astype(np.int64)
    for name in fields[1:]:
        packed <<= BITS[name]
        packed += notes[name]  # also below 0: the bits above differ by more
    return packed


def _differences(values: np.ndarray) -> np.ndarray:
    return values[1:] - values[:-1]  # np.diff takes three times as long for a piece


def quantise(score: Score, steps_per_quarter: int) -> Score:
    """The score on a grid of `steps_per_quarter`; each note lasts at least one step.

    Onset and end are rounded separately, halves up, so that touching notes stay touching.
    Raises ValueError for a note with a negative onset.
    """
    notes = sort_notes(snapped(score, steps_per_quarter)[0])
    return replace(score, notes=notes, resolution=steps_per_quarter)


def snapped(score: Score, steps_per_quarter: int) -> tuple[np.ndarray, np.ndarray]:
    """The notes of `quantise` in the order of the score, and which were given one step.

    A note is given one step where its onset and end are rounded to the same step.
    """
    start, end = steps_of(score.notes, score.resolution, steps_per_quarter)
    notes = score.notes.copy()
    notes["onset"] = start
    duration = end - start
    notes["duration"] = np.maximum(duration, 1)
    return notes, duration == 0


def steps_of(
    notes: np.ndarray, resolution: int, steps_per_quarter: int
) -> tuple[np.ndarray, np.ndarray]:
    """[num_notes] int64 each: the steps to which onsets and ends are rounded, halves up.

    Raises ValueError for a note with a negative onset.
    """
    onset = notes["onset"].astype(np.int64)
    if onset.min(initial=0) < 0:
        raise ValueError(
            f"a note starts at {onset.min()} of 1/{resolution} quarter, before the "
            "piece; onsets must be 0 or later"
        )
    end = onset + notes["duration"]
    divisor = math.gcd(2 * steps_per_quarter, resolution)
    factor, half = 2 * steps_per_quarter // divisor, resolution // divisor
    for units in (onset, end):
        if factor > 1:
            units *= factor
        units += half
        units //= 2 * half
    return onset, end


def opening(score: Score, end: int) -> Score:
    """What sounds before a step of the score's grid; a note that would sound past it ends there."""
    notes = score.notes[score.notes["onset"] < end].copy()
    notes["duration"] = np.minimum(notes["duration"], end - notes["onset"])
    return replace(score, notes=notes)


def one_note_per_key(notes: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Notes among which no key sounds twice at once, and the numbers of notes removed and cut.

    A MIDI channel needs this. Of notes with equal onset, program and pitch the longest stays; a
    note that still sounds when its key is struck again ends there.
    """
    places, keys = _sorted_places(notes, ["program", "pitch", "onset", "duration"])
    # Between two keys the difference is over 2**31, which no note's length reaches.
    later = _differences(keys)
    doubled = later == 0
    num_doubled = int(np.count_nonzero(doubled))
    if num_doubled:
        is_last = np.append(~doubled, True)
        places, later = places.compress(is_last), _differences(keys.compress(is_last))
    duration = notes["duration"].take(places)
    too_long = duration[:-1] > later
    num_cut = int(np.count_nonzero(too_long))
    if num_cut:
        duration[:-1][too_long] = later[too_long]
        notes = notes.copy()
        notes["duration"][places] = duration
    if num_doubled:
        notes = notes.take(np.sort(places))
    return sort_notes(notes), num_doubled, num_cut


@dataclass(frozen=True)
class Refusal:
    """Why a piece of a file, such as one tune of a book, is not read."""

    reason: str
    kind: str = "unreadable"  # for the list of rejects
    notes_read: int | None = None  # as in Score; None: unknown
    notes_by_reader: int | None = None  # where they differ from `notes_read`

    @classmethod
    def of(cls, error: CountError) -> Refusal:
        """The refusal of a piece whose notes were counted otherwise."""
        return cls(str(error), error.kind, error.notes_read, error.notes_by_reader)


class NoNotesError(ValueError):
    """A sound file without notes."""

    kind = "empty"  # for the list of rejects


class CountError(ValueError):
    """A reader's notes differ in number from those that were counted in the file."""

    kind = "miscount"  # for the list of rejects

    def __init__(self, notes_read: int, notes_by_reader: int, detail: str = "") -> None:
        super().__init__(f"{notes_by_reader} notes were read, but {notes_read} are written{detail}")
        self.notes_read, self.notes_by_reader = notes_read, notes_by_reader
