"""Composed pieces: how long they shall be, and a piece made of the ids that were drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.vocabulary.grammar import END
from pipeline.vocabulary.registry import Vocabulary

DEFAULT_MAX_TOKENS = 4096
# A chorale takes about 9 tokens a quarter. A piece of this many is stuck within one chord.
MAX_TOKENS_PER_QUARTER = 64
NEVER = 2**31 - 1  # a grid step that no piece reaches


@dataclass(frozen=True)
class Length:
    """When a piece is over: at END, at `steps` if given, at `max_tokens` anyway.

    Raises ValueError for a length below 1.
    """

    max_tokens: int = DEFAULT_MAX_TOKENS  # composed tokens; those of a primer do not count
    steps: int | None = None  # of the grid, from the start of the piece
    first_end: int = 0  # the first step in which the piece may end by itself

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or (self.steps is not None and self.steps < 1):
            raise ValueError(f"{self}: a piece needs a length of at least 1")

    @classmethod
    def of_steps(cls, steps: int, steps_per_quarter: int, room: int = 0) -> Length:
        """The length of `steps` grid steps; END is sampled only within the last `room` of them.

        Only a stuck model meets its bound on tokens.
        """
        max_tokens = MAX_TOKENS_PER_QUARTER * (-(-steps // steps_per_quarter) + 4)
        return cls(max_tokens, steps, max(0, steps - room) if room else NEVER)


@dataclass(frozen=True)
class ComposedPiece:
    """One composed piece."""

    index: int  # its number in the seed's series, from 0
    ids: np.ndarray  # [num_tokens] with START and the primer, END where it was sampled
    num_composed: int  # tokens after the primer
    complete: bool  # False: max_tokens came before the end that was wanted
    ended: bool = True  # by END; False: cut at the length
    num_drawn: int = 0  # tokens of all drafts from which it was chosen
    num_drafts: int = 1
    remarks: tuple[str, ...] = ()  # why the user should know that no better draft was found


def num_ids_to_end(ids: np.ndarray, vocabulary: Vocabulary, length: Length) -> int | None:
    """How many of the ids [num_tokens] belong to the piece; None if its end is not among them."""
    is_over = ids == END
    if length.steps is not None:
        is_over = is_over | (vocabulary.times(ids) >= length.steps)
    return int(is_over.argmax()) if is_over.any() else None


def whole_notes(ids: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """The ids up to the last one after which a piece may end: no half of a note."""
    may_end = np.flatnonzero(vocabulary.follows[ids, END])
    num_whole = may_end[-1] + 1 if may_end.size else 0
    return ids[: max(num_whole, vocabulary.opening.size)]


def finished_piece(
    index: int, primer_ids: np.ndarray, draft: np.ndarray, vocabulary: Vocabulary, length: Length
) -> ComposedPiece:
    """The piece of a draft [num_tokens] after its primer, cut at its end and to whole notes."""
    ids = np.concatenate([primer_ids, draft[: length.max_tokens]])
    end = num_ids_to_end(ids, vocabulary, length)
    num_composed = (ids.size if end is None else end) - primer_ids.size
    kept = np.append(whole_notes(ids[:end], vocabulary), END)
    ended = end is not None and bool(ids[end] == END)
    return ComposedPiece(index, kept, num_composed, end is not None, ended, num_composed)
