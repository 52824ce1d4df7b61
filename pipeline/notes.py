"""What a note and a score are: arrays on an integer time grid, and the rules that tidy them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
ORDER = ["onset", "program", "pitch", "duration"]


@dataclass(frozen=True)
class Score:
    """Notes of one piece, sorted by (onset, program, pitch, duration)."""

    notes: np.ndarray  # [num_notes] of NOTE
    resolution: int  # units per quarter note
    tempo: float = DEFAULT_TEMPO  # quarter notes per minute, the first one of the piece

    @property
    def end(self) -> int:
        """Where the last note ends, in units of 1 / resolution quarter; 0 for an empty score."""
        return int((self.notes["onset"] + self.notes["duration"]).max(initial=0))

    @property
    def seconds(self) -> float:
        """Playing time at the score's tempo."""
        return self.end / self.resolution * 60.0 / self.tempo


def make_notes(rows: list[tuple[int, int, int, int, int]]) -> np.ndarray:
    """Sorted notes from rows of (onset, program, pitch, duration, velocity)."""
    return sort_notes(np.array(rows, dtype=NOTE))


def sort_notes(notes: np.ndarray, order: Sequence[str] = ORDER) -> np.ndarray:
    """The notes by these fields, those that remain breaking ties.

    What `np.sort(notes, order=order)` returns, many times as fast: it compares field by field in
    every pair of records, and here each record is two numbers.
    """
    remaining = [name for name in NOTE.fields or () if name not in order]
    fields = [*order, *remaining]  # 32, 16 and 16 bits in some order, then 32 and 16
    return notes[np.lexsort([_packed(notes, fields[3:]), _packed(notes, fields[:3])])]


def _packed(notes: np.ndarray, fields: Sequence[str]) -> np.ndarray:
    """[num_notes] int64 in the order of these fields, the first one deciding first."""
    packed = np.zeros(notes.size, np.int64)
    for name in fields:
        bits = 8 * NOTE[name].itemsize
        packed <<= bits
        packed += notes[name]
        if name != fields[0]:
            packed += 1 << (bits - 1)  # so that the lower fields are never negative
    return packed


def quantise(score: Score, steps_per_quarter: int) -> Score:
    """The score on a grid of `steps_per_quarter`; each note lasts at least one step.

    Onset and end are rounded apart, halves up, so that touching notes stay touching.
    Raises ValueError for a note with a negative onset.
    """
    notes = score.notes
    if notes.size and notes["onset"].min() < 0:
        raise ValueError(
            f"a note starts at {notes['onset'].min()} of 1/{score.resolution} quarter, before the "
            "piece; onsets must be 0 or later"
        )

    def to_step(units: np.ndarray) -> np.ndarray:
        return (2 * units.astype(np.int64) * steps_per_quarter + score.resolution) // (
            2 * score.resolution
        )

    onset = to_step(notes["onset"])
    end = to_step(notes["onset"].astype(np.int64) + notes["duration"])
    snapped = notes.copy()
    snapped["onset"] = onset
    snapped["duration"] = np.maximum(end - onset, 1)
    return Score(sort_notes(snapped), steps_per_quarter, score.tempo)


def one_note_per_key(notes: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Notes with no key sounding twice at once, as a MIDI channel needs; doubles, cuts made.

    Of notes with equal onset, program and pitch the longest stays; a note still sounding when its
    key is struck again ends there.
    """
    by_key = sort_notes(notes, ["program", "pitch", "onset", "duration"])
    doubled = _same_key(by_key) & (by_key["onset"][:-1] == by_key["onset"][1:])
    by_key = by_key[np.append(~doubled, True)[: by_key.size]]
    room = np.where(_same_key(by_key), np.diff(by_key["onset"]), np.iinfo(np.int32).max)
    too_long = by_key["duration"][:-1] > room
    by_key["duration"][:-1][too_long] = room[too_long]
    return sort_notes(by_key), int(doubled.sum()), int(too_long.sum())


def _same_key(by_key: np.ndarray) -> np.ndarray:
    """Is the next note, in this order, of the same program and pitch? [num_notes - 1] bool."""
    return (np.diff(by_key["program"]) == 0) & (np.diff(by_key["pitch"]) == 0)
