"""Which token may follow which: the table for events, and the check that any vocabulary uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

from pipeline.vocabulary.conditions import CHORDS, METRE

PAD, START, END = 0, 1, 2  # START begins every piece, END ends it

MARKS = 3  # the first id that is music


class Tokens(Protocol):
    """The part of a vocabulary that the check needs."""

    @property
    def size(self) -> int:
        """Number of ids."""

    @property
    def follows(self) -> np.ndarray:
        """[size, size] bool: may the column's token follow the row's?"""

    def token_name(self, token: int) -> str:
        """Readable name of an id. Raises ValueError for one that is not in the vocabulary."""


def check_grammar(vocabulary: Tokens, ids: np.ndarray, ends: bool = True) -> None:
    """Raise ValueError, naming the place, if an id may not follow the one before it.

    `ids` [num_tokens] are without marks; they stand after START and, where the piece `ends`,
    before END.
    """
    if not ids.size:
        return
    if ids.max() >= vocabulary.size:
        raise ValueError(f"id {ids.max()} is not in a vocabulary of {vocabulary.size}")
    chain = np.concatenate([[START], ids, [END][:ends]]).astype(np.int64)
    wrong = np.flatnonzero(~vocabulary.follows[chain[:-1], chain[1:]])
    if wrong.size:
        before, after = (vocabulary.token_name(int(chain[wrong[0] + i])) for i in (0, 1))
        raise ValueError(
            f"{after} may not follow {before} (token {wrong[0]} of {ids.size}): not a sequence "
            "of this vocabulary"
        )


def event_grammar(
    size: int, blocks: Mapping[str, range], conditions: Sequence[str] = ()
) -> np.ndarray:
    """[size, size] bool for events: may the column's token follow the row's?"""

    def ids(kind: str) -> slice:
        return slice(blocks[kind].start, blocks[kind].stop)

    allowed = np.zeros((size, size), bool)
    between_notes = ("shift", "program", "note", "drum")
    ends_note = "velocity" if blocks["velocity"] else "duration"
    after = {
        "shift": between_notes,
        "program": ("note",),
        "note": ("duration",),
        "drum": ("duration",),
        "duration": ("velocity",),
        ends_note: between_notes,
    }
    for kind, followers in after.items():
        for follower in followers:
            allowed[ids(kind), ids(follower)] = True
    allowed[ids(ends_note), END] = True
    # After START, and where time has moved on: each condition in turn, then the music. Where time
    # has moved on, a bar line may be missing: it has its own places.
    chain = [slice(START, START + 1), *map(ids, conditions)]
    for before, following in pairwise(chain):
        allowed[before, following] = True
    lasts = [name for name in conditions if name != METRE][-1:]
    for last in (chain[-1], *map(ids, lasts)):
        for follower in between_notes:
            allowed[last, ids(follower)] = True
    # All of them, or a chord, or a bar line.
    begin = [name for name in conditions if name in (conditions[0], CHORDS, METRE)]
    for first in begin:
        allowed[ids("shift"), ids(first)] = True
    allowed[END, START] = True
    return allowed
