"""A blind listening test: composed and real excerpts in an order that tells nothing, and its key.

All excerpts are openings of pieces, of one length, on the model's grid, with the same tempo and
dynamics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model.evaluation.likelihood import voices_of
from model.rendering.dynamics import with_dynamics
from model.rendering.listening_test import render_alike, write_test_page
from pipeline.runtime.files import new_file
from pipeline.runtime.tables import aligned_lines
from pipeline.scores.notes import DEFAULT_TEMPO, Score
from pipeline.vocabulary.grid import QUARTERS_PER_BAR, GridVocabulary

if TYPE_CHECKING:
    from model.composing.composer import Composer
    from model.composing.sampling import Sampling
    from pipeline.sources.json_frames import FrameSet

QUARTERS = 32  # of an excerpt: 19 seconds
SECONDS = QUARTERS * 60 / DEFAULT_TEMPO
COMPOSED_AT_MOST = 8  # times as many pieces as are wanted
SELDOM = 0.05  # the share of tests in which guesses may be as good as a listener who hears it


@dataclass(frozen=True)
class Excerpt:
    """The opening of a piece."""

    frames: np.ndarray  # [num_frames, voices] of keys, 0 for a rest
    kind: str  # composed or real
    origin: str  # which piece, for the key


def write_listening_test(
    page: Path,
    key: Path,
    excerpts: Sequence[Excerpt],
    vocabulary: GridVocabulary,
    soundfont: Path,
    seed: int,
) -> None:
    """Write the page of the excerpts in an order drawn by the seed, and the file of its key.

    Raises OSError and ValueError, with advice, where they cannot be played or written.
    """
    order = np.random.default_rng(seed).permutation(len(excerpts))
    shuffled = [excerpts[place] for place in order]
    scores = [_score(excerpt.frames, vocabulary) for excerpt in shuffled]
    write_test_page(page, render_alike(scores, SECONDS, soundfont), SECONDS)
    with new_file(key) as partial:
        partial.write_text("\n".join(_key(page.name, shuffled)) + "\n", encoding="utf-8")


def composed_excerpts(
    composer: Composer, count: int, sampling: Sampling, seed: int
) -> tuple[list[Excerpt], int]:
    """`count` openings composed by the model, and how many of its pieces ended too early.

    Nothing else is chosen among them. Raises ValueError for a model that ends nearly all of them.
    """
    from model.composing.pieces import Length

    vocabulary = composer.vocabulary
    assert isinstance(vocabulary, GridVocabulary)
    num_frames = QUARTERS * vocabulary.steps_per_quarter
    length = Length((num_frames + 1) * vocabulary.tokens_per_frame, num_frames)
    found: list[Excerpt] = []
    num_short = 0
    for first in range(0, COMPOSED_AT_MOST * count, count):
        for piece in composer.compose(range(first, first + count), sampling, length, seed):
            frames = vocabulary.decode_frames(piece.ids)
            if len(frames) < num_frames or not frames.any():
                num_short += len(found) < count
                continue
            origin = f"piece {piece.index + 1} of seed {seed}, {composer.checkpoint}"
            found.append(Excerpt(frames, "composed", origin))
        if len(found) >= count:
            return found[:count], num_short
    raise ValueError(
        f"of {COMPOSED_AT_MOST * count} pieces that {composer.checkpoint} composed, {len(found)} "
        f"last {QUARTERS} quarters; {count} are needed. Train longer, or ask for fewer"
    )


def real_excerpts(
    frame_set: FrameSet, split: str, vocabulary: GridVocabulary, count: int, seed: int
) -> list[Excerpt]:
    """The openings of `count` pieces of a split, drawn by the seed.

    Raises ValueError if too few are long enough, or for frames that the model cannot express.
    """
    pieces = frame_set.splits[split]
    num_frames = QUARTERS * vocabulary.steps_per_quarter
    long_enough = [index for index, piece in enumerate(pieces) if len(piece) >= num_frames]
    if len(long_enough) < count:
        raise ValueError(
            f"{len(long_enough)} of the {len(pieces)} pieces of {split} last {QUARTERS} quarters; "
            f"{count} are needed. Ask for fewer, or take another --split"
        )
    chosen = np.random.default_rng([seed, 1]).choice(long_enough, count, replace=False)
    return [
        Excerpt(
            voices_of(pieces[index][:num_frames], frame_set.has_voices, vocabulary.voices),
            "real",
            f"piece {index + 1} of {split}",
        )
        for index in sorted(chosen.tolist())
    ]


def least_right(num_excerpts: int) -> int:
    """The least number of right answers that guesses reach in at most `SELDOM` of all tests."""
    tail = 0
    for num_right in range(num_excerpts, -1, -1):
        tail += math.comb(num_excerpts, num_right)
        if tail > SELDOM * 2**num_excerpts:
            return num_right + 1
    return 0


def _score(frames: np.ndarray, vocabulary: GridVocabulary) -> Score:
    score = vocabulary.decode(vocabulary.encode_frames(frames))
    return with_dynamics(score, QUARTERS_PER_BAR)


def _key(page: str, shuffled: Sequence[Excerpt]) -> list[str]:
    """The lines of the key: the right answers as the page shows a listener's, and the pieces."""
    letters = "".join(excerpt.kind[0].upper() for excerpt in shuffled)
    fives = " ".join(letters[place : place + 5] for place in range(0, len(letters), 5))
    rows = [
        (str(number), excerpt.kind, excerpt.origin) for number, excerpt in enumerate(shuffled, 1)
    ]
    return [
        f"The key to {page}. Keep it from the listeners.",
        "",
        f"Right:   {fives}",
        "",
        f"C composed, R real, - no answer. Guesses get {least_right(len(letters))} or more of "
        f"{len(letters)} right in at most {SELDOM:.0%} of all tests.",
        "",
        *aligned_lines((">excerpt", "kind", "from"), rows),
    ]
