"""Signs that a piece is not music: what generate.py warns about."""

from __future__ import annotations

import numpy as np

from pipeline.scores.notes import Score

FEWEST_PITCHES = 4
# Music repeats too; a model that is stuck plays the same few notes again and again to the end.
LOOP_REPEATS = 4
LOOP_SHARE = 0.95  # of the notes of the later half that equal the note one loop before
FEWEST_NOTES = 16  # of that half; too little says nothing


def degeneracies(score: Score) -> list[str]:
    """What is wrong with the piece, in words; nothing for a healthy one."""
    found = []
    num_pitches = np.unique(score.notes["pitch"]).size
    if num_pitches < FEWEST_PITCHES:
        found.append(f"only {num_pitches} different pitch{'es' if num_pitches > 1 else ''}")
    loop = loop_length(score)
    if loop:
        found.append(f"its later half repeats one loop of {loop} notes")
    return found


def loop_length(score: Score) -> int:
    """Notes of the loop that the later half of the piece repeats over and over; 0 for none."""
    notes = score.notes
    rows = np.stack(
        [
            np.diff(notes["onset"], prepend=notes["onset"][:1]),
            notes["program"],
            notes["pitch"],
            notes["duration"],
        ],
        axis=1,
    )[notes.size // 2 :]
    if len(rows) < FEWEST_NOTES:
        return 0
    for period in range(1, len(rows) // LOOP_REPEATS + 1):
        same = (rows[period:] == rows[:-period]).all(axis=1)
        if same.mean() >= LOOP_SHARE:
            return period
    return 0
