"""Signs that a piece is degenerate, of which generate.py warns."""

from __future__ import annotations

import numpy as np

from pipeline.scores.notes import Score

FEWEST_PITCHES = 4
# Music repeats too, but a stuck model repeats the same few notes to the end.
LOOP_REPEATS = 4
LOOP_SHARE = 0.95  # of the notes of the later half that equal the note one loop before
FEWEST_NOTES = 16  # of that half; fewer notes are no evidence


def degeneracies(score: Score) -> list[str]:
    """The signs found in the piece, in words; an empty list for a healthy piece."""
    found = []
    num_pitches = np.unique(score.notes["pitch"]).size
    if num_pitches < FEWEST_PITCHES:
        found.append(f"only {num_pitches} different pitch{'es' if num_pitches > 1 else ''}")
    loop = loop_length(score)
    if loop:
        found.append(f"its later half repeats one loop of {loop} notes")
    return found


def loop_length(score: Score) -> int:
    """The number of notes of the loop that fills the later half of the piece; 0 without one."""
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
