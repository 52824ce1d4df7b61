"""Where condition tokens stand in a piece: chord changes, bar lines, insertion between notes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.scores.bars import UNKNOWN_METRE, BarLine, bar_lines, time_signatures_of
from pipeline.scores.labels import Features
from pipeline.scores.notes import Score, TimeSignature
from pipeline.vocabulary.conditions import (
    METRES,
    UNKNOWN,
    chord_number,
    is_understood,
    metre_number,
)


def chord_changes(
    features: Features, steps_per_quarter: int, first_step: int = 0
) -> list[tuple[int, int]]:
    """(grid step, value) where each chord begins, the first at step 0.

    Steps count from the first note, which is `first_step` steps after the first chord. The value of
    a symbol that is not understood is UNKNOWN.
    """
    found: list[tuple[int, int]] = [(0, UNKNOWN)]
    for eighth, symbol in enumerate(features.chords):
        step = max(0, eighth * steps_per_quarter // 2 - first_step)
        value = chord_number(symbol) if is_understood(symbol) else UNKNOWN
        if step == found[-1][0]:
            found.pop()
        if not found or found[-1][1] != value:
            found.append((step, value))
    return found


def bars_of(score: Score) -> dict[int, int]:
    """Grid step -> value of the metre, of each bar line up to the last onset of a fitted score.

    The first one is at step 0; its metre is UNKNOWN where the score has no bar line there.
    """
    last = int(score.notes["onset"].max(initial=0))
    found = bar_lines(score.time_signatures, score.resolution, last + 1)
    return {0: UNKNOWN, **{step: metre_number(upper, lower) for step, upper, lower in found}}


def time_signatures(
    steps: Sequence[int], values: Sequence[int], steps_per_quarter: int
) -> list[TimeSignature]:
    """The time signatures that metre tokens at these grid steps say; none for a single UNKNOWN."""
    lines: list[BarLine] = [
        (step, *(METRES[value - 1] if value else UNKNOWN_METRE))
        for step, value in zip(steps, values, strict=True)
    ]
    if [metre for _, *metre in lines] == [[*UNKNOWN_METRE]]:
        return []
    return time_signatures_of(lines, steps_per_quarter)


def insert_at_steps(
    ids: np.ndarray, tokens: Iterable[tuple[int, int]], steps: np.ndarray, first_shift: int
) -> np.ndarray:
    """Ids [num_tokens] of notes, with condition tokens inserted at their grid steps.

    `tokens` are (grid step, id), sorted by step. `steps` [size] says by how many steps each id
    moves time on, and `first_shift` is the id that moves it by one. A shift over the step of a
    condition token becomes two. Tokens after the last shift are left out: no note follows them.
    """
    waiting = deque(tokens)
    out: list[int] = []
    time = 0

    def insert_due() -> None:
        while waiting and waiting[0][0] <= time:
            out.append(waiting.popleft()[1])

    insert_due()
    for token in ids.tolist():
        left = int(steps[token])
        if not left:
            out.append(token)
        while left:
            step = min(left, waiting[0][0] - time) if waiting else left
            out.append(first_shift + step - 1)
            time, left = time + step, left - step
            insert_due()
    return np.array(out, np.int32)
