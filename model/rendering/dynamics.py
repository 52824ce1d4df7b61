"""How loud the notes of a score without velocities are: by their place in the bar."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.scores.bars import measures_of
from pipeline.scores.notes import DEFAULT_VELOCITY, Score

DOWNBEAT, BEAT, BETWEEN = 82, 76, 70  # velocities
TOP = 8  # more for the highest of the notes that begin together: the tune is heard


def with_dynamics(score: Score, beats_per_bar: int) -> Score:
    """The score with velocities: highest on the first beat of a bar, lowest between the beats.

    The highest of the notes that begin together is louder than the others. A score whose velocities
    differ, or are not `DEFAULT_VELOCITY`, is returned as it is: they were played or learned.
    """
    notes = score.notes
    if (notes["velocity"] != DEFAULT_VELOCITY).any():
        return score
    shaped = notes.copy()
    measures = measures_of(score, beats_per_bar)
    starts = np.array([bar.start for bar in measures])
    bar = np.searchsorted(starts, notes["onset"], side="right") - 1
    on_bar = (notes["onset"] == starts[bar]) & (np.array([m.before for m in measures])[bar] == 0)
    in_bar = notes["onset"] - starts[bar] + np.array([m.before for m in measures])[bar]
    on_beat = in_bar % np.array([m.beat(score.resolution) for m in measures])[bar] == 0
    shaped["velocity"] = np.where(on_bar, DOWNBEAT, np.where(on_beat, BEAT, BETWEEN))
    highest: dict[int, int] = {}
    for onset, pitch in notes[["onset", "pitch"]].tolist():
        highest[onset] = max(highest.get(onset, 0), pitch)
    is_top = [highest[onset] == pitch for onset, pitch in notes[["onset", "pitch"]].tolist()]
    shaped["velocity"][is_top] += TOP
    return replace(score, notes=shaped)
