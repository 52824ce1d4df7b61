"""Voice leading of four parts: how often it breaks the rules of textbooks, as Bach sometimes does.

All rates are computed from frames, so that composed and real music are measured alike. A chord is a
run of equal frames: every change of a voice, even a passing note, begins a new one.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from pipeline.vocabulary.frames import REST

# Soprano, alto, tenor, bass as in Kostka and Payne, "Tonal Harmony": C4-G5, G3-D5, C3-G4, E2-C4.
RANGES = ((60, 79), (55, 74), (48, 67), (40, 60))
FIFTH, OCTAVE, SEMITONES = 7, 0, 12


def notes_out_of_range(frames: np.ndarray) -> float:
    """The percentage of notes beyond the range of their voice; repeats of a note do not count."""
    changes = np.diff(frames, axis=0, prepend=-1) != 0
    lowest, highest = np.array(RANGES).T
    is_note = changes & (frames != REST)
    beyond = is_note & ((frames < lowest) | (frames > highest))
    return _per_hundred(beyond.sum(), is_note.sum())


def voice_crossings(frames: np.ndarray) -> float:
    """The percentage of chords in which a voice is above one that should be above it."""
    chords = _chords(frames)
    crossed = np.zeros(len(chords), bool)
    for upper, lower in combinations(range(len(RANGES)), 2):
        both = (chords[:, upper] != REST) & (chords[:, lower] != REST)
        crossed |= both & (chords[:, upper] < chords[:, lower])
    return _per_hundred(crossed.sum(), len(chords))


def parallel_fifths(frames: np.ndarray) -> float:
    """Pairs of voices that move in one direction from fifth to fifth, per 100 chord changes."""
    return _parallels(_chords(frames), FIFTH)


def parallel_octaves(frames: np.ndarray) -> float:
    """Pairs of voices that move together in octaves or in unison, per 100 chord changes."""
    return _parallels(_chords(frames), OCTAVE)


VOICE_LEADING = {
    "notes out of range": notes_out_of_range,
    "voice crossings": voice_crossings,
    "parallel fifths": parallel_fifths,
    "parallel octaves": parallel_octaves,
}


def voice_leading(frames: np.ndarray) -> dict[str, float]:
    """Every rate by name, of frames [num_frames, 4] of keys, 0 for a rest; NaN without a value.

    Raises ValueError for another number of voices.
    """
    if frames.shape[1] != len(RANGES):
        raise ValueError(f"{frames.shape[1]} voices; voice leading is that of {len(RANGES)}")
    return {name: rate(frames) for name, rate in VOICE_LEADING.items()}


def _chords(frames: np.ndarray) -> np.ndarray:
    """The first frame [num_chords, voices] of each chord."""
    return frames[np.any(np.diff(frames, axis=0, prepend=-1) != 0, axis=1)]


def _parallels(chords: np.ndarray, interval: int) -> float:
    """Parallels at an interval and its compounds with octaves, per 100 chord changes."""
    moves = np.diff(chords, axis=0)
    count = 0
    for first, second in combinations(range(chords.shape[1]), 2):
        pair = chords[:, [first, second]]
        is_there = (pair.max(1) - pair.min(1)) % SEMITONES == interval
        is_there &= (pair != REST).all(1)
        together = moves[:, first] * moves[:, second] > 0  # a voice that stays is no parallel
        count += int(np.count_nonzero(is_there[:-1] & is_there[1:] & together))
    return _per_hundred(count, len(moves))


def _per_hundred(count: int, total: int) -> float:
    return 100 * count / total if total else math.nan
