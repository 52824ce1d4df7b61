"""Rules that fit notes to a vocabulary; each returns how many notes it changed.

All but `without_percussion` change the notes [num_notes] of NOTE in place.
"""

from __future__ import annotations

import numpy as np

from pipeline.scores.notes import DEFAULT_VELOCITY, DRUMS

OCTAVE = 12


def without_percussion(notes: np.ndarray) -> tuple[np.ndarray, int]:
    """The notes of all programs but DRUMS, and how many were left out."""
    is_melodic = notes["program"] != DRUMS
    if is_melodic.all():
        return notes, 0
    return notes.compress(is_melodic), int(np.count_nonzero(~is_melodic))


def start_at_first_note(notes: np.ndarray) -> int:
    """Move all notes so that the first one has onset 0; the onset that it had."""
    if not notes.size:
        return 0
    first = int(notes["onset"].min())
    notes["onset"] -= first
    return first


def move_into_range(notes: np.ndarray, lowest: int, highest: int) -> int:
    """Move pitches outside `lowest` .. `highest` by as few octaves as bring them in.

    Percussion stays: its pitch is an instrument.
    """
    pitch = notes["pitch"]
    outside = (pitch < lowest) | (pitch > highest)
    if not outside.any():
        return 0
    outside &= notes["program"] != DRUMS
    below, above = lowest - pitch[outside], pitch[outside] - highest
    octaves = -(-below.clip(0) // OCTAVE) + above.clip(0) // -OCTAVE
    notes["pitch"][outside] += OCTAVE * octaves
    return int(np.count_nonzero(outside))


def clip_durations(notes: np.ndarray, longest: int) -> int:
    """Shorten notes to `longest` steps."""
    too_long = notes["duration"] > longest
    notes["duration"][too_long] = longest
    return int(np.count_nonzero(too_long))


def velocity_bin(velocity: np.ndarray, num_bins: int) -> np.ndarray:
    """The bin, 0 to num_bins - 1, of each MIDI velocity."""
    return np.clip(velocity.astype(np.int64), 0, 127) * num_bins // 128


def middle_of_bin(bins: np.ndarray, num_bins: int) -> np.ndarray:
    """The velocity in the middle of each bin; DEFAULT_VELOCITY where there are no bins.

    It is of its bin, of those too that hold a single velocity.
    """
    if not num_bins:
        return np.full(bins.shape, DEFAULT_VELOCITY)
    width = 128 / num_bins
    lowest = -(-128 * bins // num_bins)
    return np.maximum(np.floor((bins + 0.5) * width).astype(np.int64), np.maximum(lowest, 1))
