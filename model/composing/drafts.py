"""Pieces chosen among drafts: one that ends by itself near the wanted length, and seldom freezes.

A network that may not end a piece often holds its last chord instead. Therefore several drafts of
a piece of a wanted length are composed side by side. They may end by themselves within the last two
bars, and the first one that ends within the last bar is the piece. That is rejection sampling: a
draft that would rather have ended a bar before is no candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from model.composing.composer import Composer
from model.composing.pieces import NEVER, ComposedPiece, Length
from model.composing.sampling import Sampling
from pipeline.scores.notes import DEFAULT_TEMPO, Score

FROZEN_BARS = 2  # without the onset of a note
FIRST_DRAFTS = 16  # of a piece of a wanted length; one of any length is drawn again only if frozen
MOST_DRAFTS = 128
ROOM = 2  # bars before the wanted end in which a draft may end
TOO_SHORT = 2
GOOD = (False, 0, 0)  # too short, frozen, away
SIDE_BY_SIDE = 512  # drafts in one batch: a bound on memory
# Draft d of piece i has the random numbers of piece i + d * SERIES: the first draft is the piece
# that `Composer.compose` makes. Fewer than those of `harmonising.CHOOSING`.
SERIES = 2**32


def length_of_bars(
    bars: int, bar: int, steps_per_quarter: int, primer_end: int = 0, upbeat: int = 0
) -> Length:
    """The length of `bars` bars of `bar` grid steps; the one in which a primer ends is the first.

    The first bar line lies after `upbeat` steps. A piece may end by itself within the last `ROOM`
    bars.
    """
    steps = upbeat + ((primer_end - upbeat) // bar + bars) * bar
    return Length.of_steps(steps, steps_per_quarter, ROOM * bar)


def compose_pieces(
    composer: Composer,
    pieces: Sequence[int],
    sampling: Sampling,
    length: Length,
    seed: int,
    bar: int,
    primer: Score | None = None,
) -> list[ComposedPiece]:
    """Pieces of the given numbers, each chosen among up to `MOST_DRAFTS` drafts.

    A draft is taken if it ends by itself within the last bar, where the length has `steps`, and if
    no `FROZEN_BARS` bars of `bar` grid steps after the primer pass without an onset. Without such a
    draft the best one is taken, or, where all ended before, one that may not end and is cut; the
    piece's remarks say so. A piece depends on (seed, its number), as in `Composer.compose`.
    """
    drafts: dict[int, list[ComposedPiece]] = {index: [] for index in pieces}
    chosen: dict[int, ComposedPiece] = {}
    num_new = FIRST_DRAFTS if length.steps is not None else 1
    begins = primer.end if primer else 0

    def badness(draft: ComposedPiece) -> tuple[bool, int, int]:
        score = composer.score(draft, length, DEFAULT_TEMPO)
        gap = longest_gap(score, begins, None if draft.ended else length.steps)
        away = _away(composer, draft, length, bar)
        return away == TOO_SHORT, gap if gap >= FROZEN_BARS * bar else 0, away

    def add_drafts(waiting: Sequence[int], numbers: range, wanted: Length) -> None:
        series = [index + number * SERIES for index in waiting for number in numbers]
        for first in range(0, len(series), SIDE_BY_SIDE):
            part = series[first : first + SIDE_BY_SIDE]
            for draft in composer.compose(part, sampling, wanted, seed, primer):
                index = draft.index % SERIES
                drafts[index].append(replace(draft, index=index))

    while waiting := [index for index in pieces if index not in chosen]:
        done = len(drafts[waiting[0]])
        add_drafts(waiting, range(done, done + num_new), length)
        done += num_new
        num_new = min(done, MOST_DRAFTS - done)
        if not num_new:
            too_short = [index for index in waiting if min(map(badness, drafts[index]))[0]]
            add_drafts(too_short, range(FIRST_DRAFTS), replace(length, first_end=NEVER))
        for index in waiting:
            best = min(drafts[index], key=badness)  # the first of equals
            if badness(best) == GOOD or not num_new:
                chosen[index] = _chosen(best, drafts[index], *badness(best)[1:])
    return [chosen[index] for index in pieces]


def longest_gap(score: Score, begins: int = 0, ends: int | None = None) -> int:
    """The most grid steps from `begins` to `ends` that pass without an onset.

    Without `ends` the score ends with its last note.
    """
    onsets = score.notes["onset"][score.notes["onset"] >= begins]
    last = score.end if ends is None else ends
    return int(np.diff([begins, *onsets, max(last, begins)]).max())


def _away(composer: Composer, piece: ComposedPiece, length: Length, bar: int) -> int:
    """0 for a piece that ends by itself within the last bar, 1 for one that is cut there.

    `TOO_SHORT` for one that ends before, or did not reach its end.
    """
    if length.steps is None:
        return 0
    last = composer.vocabulary.times(piece.ids[:-1])[-1]  # [:-1]: without END
    if not piece.complete or (piece.ended and last < length.steps - bar):
        return TOO_SHORT
    return 0 if piece.ended else 1


def _chosen(
    piece: ComposedPiece, drafts: Sequence[ComposedPiece], frozen: int, away: int
) -> ComposedPiece:
    """The piece, with remarks on what is wrong with it and with all other drafts."""
    remarks = []
    if frozen:
        remarks.append(f"stands still for {FROZEN_BARS} bars, like every draft of its length")
    if away and piece.complete:
        remarks.append(f"none of {len(drafts)} drafts ends within the last bar: this one is cut")
    num_drawn = sum(draft.num_composed for draft in drafts)
    return replace(piece, num_drawn=num_drawn, num_drafts=len(drafts), remarks=tuple(remarks))
