"""Objective metrics of a score, by the definitions of MusPy 0.5.

Dong et al., "MusPy: A Toolkit for Symbolic Music Generation", ISMIR 2020 (arXiv 2008.01951),
module `muspy.metrics`. Percussion is left out as in MusPy. A metric without a value (no notes, say)
is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from pipeline.runtime.tables import aligned_lines
from pipeline.scores.notes import DRUMS, Score, quantise

NUM_PITCHES = 128
NUM_PITCH_CLASSES = 12
SIXTEENTHS_PER_QUARTER = 4
MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
# MusPy's minor scale is the natural one, so every minor scale is also some major scale's set of
# pitch classes: the 12 major ones stand for all 24.
SCALES = np.zeros((NUM_PITCH_CLASSES, NUM_PITCH_CLASSES), bool)
for _root in range(NUM_PITCH_CLASSES):
    SCALES[_root, [(_root + step) % NUM_PITCH_CLASSES for step in MAJOR_SCALE]] = True


def pitches_used(score: Score) -> int:
    """Number of different pitches."""
    return np.unique(melodic(score)["pitch"]).size


def pitch_range(score: Score) -> int:
    """Semitones from the lowest to the highest pitch; 0 without notes."""
    pitch = melodic(score)["pitch"]
    return int(np.ptp(pitch)) if pitch.size else 0


def pitch_entropy(score: Score) -> float:
    """Shannon entropy of the notes' pitches, in bits."""
    return _entropy(np.bincount(melodic(score)["pitch"], minlength=NUM_PITCHES))


def pitch_class_entropy(score: Score) -> float:
    """Shannon entropy of the notes' pitch classes, in bits: at most log2(12) = 3.585."""
    return _entropy(_pitch_classes(score))


def scale_consistency(score: Score) -> float:
    """The largest share of notes that lie within one major or natural minor scale (Mogren 2016)."""
    counts = _pitch_classes(score)
    return float((SCALES @ counts).max() / counts.sum()) if counts.sum() else math.nan


def polyphony(score: Score) -> float:
    """Mean number of pitches that sound, over the time where at least one does."""
    sounding = _sounding(score)
    return float(sounding.sum() / (sounding > 0).sum()) if sounding.any() else math.nan


def polyphony_rate(score: Score) -> float:
    """Share of the time in which three or more pitches sound.

    MusPy's default: its threshold is 2, and more than the threshold must sound.
    """
    sounding = _sounding(score)
    return float((sounding > 2).mean()) if sounding.size else math.nan


def empty_beat_rate(score: Score) -> float:
    """Share of the beats (quarters) that no note touches, not even with its end."""
    if not score.end:
        return math.nan
    num_beats = score.end // score.resolution + 1
    first = score.notes["onset"] // score.resolution
    last = (score.notes["onset"] + score.notes["duration"]) // score.resolution
    return 1.0 - np.count_nonzero(_covered(first, last + 1, num_beats)) / num_beats


def groove_consistency(score: Score, beats_per_bar: int = 4) -> float:
    """1 - mean Hamming distance of the onsets of neighbouring bars (Wu and Yang 2020).

    A finer grid gives larger values: compare only scores of one resolution.
    """
    bar = score.resolution * beats_per_bar
    num_bars = score.end // bar + 1
    if num_bars < 2:
        return math.nan
    onsets = np.zeros(num_bars * bar, bool)
    onsets[score.notes["onset"]] = True
    bars = onsets.reshape(num_bars, bar)
    return 1.0 - np.count_nonzero(bars[:-1] != bars[1:]) / (bar * (num_bars - 1))


def groove_consistency_16ths(score: Score, beats_per_bar: int = 4) -> float:
    """Groove consistency on a grid of 16ths, comparable between scores of any resolution."""
    return groove_consistency(quantise(score, SIXTEENTHS_PER_QUARTER), beats_per_bar)


METRICS: dict[str, Callable[[Score], float]] = {
    "pitch-class entropy": pitch_class_entropy,
    "pitch entropy": pitch_entropy,
    "scale consistency": scale_consistency,
    "groove consistency": groove_consistency_16ths,
    "polyphony": polyphony,
    "polyphony rate": polyphony_rate,
    "empty-beat rate": empty_beat_rate,
    "pitches used": pitches_used,
    "pitch range": pitch_range,
}


def measure_score(score: Score) -> dict[str, float]:
    """Every metric of one score, by name."""
    return {name: float(metric(score)) for name, metric in METRICS.items()}


def mean_metrics(scores: Iterable[Score]) -> dict[str, float]:
    """The mean of every metric over the pieces that have a value of it."""
    rows = [measure_score(score) for score in scores]
    means = {}
    for name in METRICS:
        values = [row[name] for row in rows if not math.isnan(row[name])]
        means[name] = float(np.mean(values)) if values else math.nan
    return means


def compare_table(columns: dict[str, dict[str, float]]) -> str:
    """A table of metrics as lines of text, with a column for each set of pieces."""
    rows = [(name, *(f"{means[name]:.3f}" for means in columns.values())) for name in METRICS]
    return "\n".join(aligned_lines(("", *(f">{title:>8}" for title in columns)), rows))


def melodic(score: Score) -> np.ndarray:
    """The notes that are no percussion."""
    return score.notes[score.notes["program"] != DRUMS]


def _pitch_classes(score: Score) -> np.ndarray:
    return np.bincount(melodic(score)["pitch"] % NUM_PITCH_CLASSES, minlength=NUM_PITCH_CLASSES)


def _entropy(counts: np.ndarray) -> float:
    if not counts.sum():
        return math.nan
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


def _sounding(score: Score) -> np.ndarray:
    """The number of different pitches that sound at each time step [num_steps]."""
    notes = melodic(score)
    sounding = np.zeros(score.end, np.int64)
    for pitch in np.unique(notes["pitch"]):
        of_pitch = notes[notes["pitch"] == pitch]
        onset = of_pitch["onset"]
        sounding += _covered(onset, onset + of_pitch["duration"], score.end)
    return sounding


def _covered(first: np.ndarray, end: np.ndarray, size: int) -> np.ndarray:
    """[size] bool: the places that lie in at least one of the ranges [first, end)."""
    change = np.zeros(size + 1, np.int64)
    np.add.at(change, first, 1)
    np.add.at(change, end, -1)
    return np.cumsum(change)[:size] > 0
