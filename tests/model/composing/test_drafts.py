"""Pieces chosen among drafts: they end by themselves near the wanted length, and none freezes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from model.composing import drafts
from model.composing.composer import Composer
from model.composing.drafts import compose_pieces, longest_gap
from model.composing.pieces import NEVER, ComposedPiece, Length
from model.composing.sampling import Sampling
from pipeline.scores.notes import Score, make_notes
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.grammar import END
from pipeline.vocabulary.grid import GridVocabulary
from tests.model.tiny_run import write_tiny_run

CHORALES = Path(__file__).resolve().parents[3] / "model" / "pretrained" / "chorales"
BAR = 16


@pytest.fixture(scope="module")
def chorales() -> Composer:
    return Composer.load(CHORALES)


def test_the_shipped_model_ends_its_pieces_within_the_last_bar_and_never_freezes(
    chorales: Composer,
) -> None:
    length = Length.of_steps(4 * BAR, 4, drafts.ROOM * BAR)
    pieces = compose_pieces(chorales, range(2), Sampling(0.9), length, 1, BAR)
    assert [piece.index for piece in pieces] == [0, 1]
    for piece in pieces:
        assert piece.ended and piece.ids[-1] == END and not piece.remarks
        assert piece.num_drafts >= drafts.FIRST_DRAFTS
        score = chorales.score(piece, length, 100.0)
        assert 3 * BAR < score.end <= 4 * BAR
        assert longest_gap(score) < 2 * BAR
    (alone,) = compose_pieces(chorales, [1], Sampling(0.9), length, 1, BAR)
    assert alone.ids.tolist() == pieces[1].ids.tolist()


def test_a_piece_of_any_length_is_the_first_draft_unless_it_freezes(chorales: Composer) -> None:
    plain = chorales.compose(range(8), Sampling(0.9), Length(600), 3)
    chosen = compose_pieces(chorales, range(8), Sampling(0.9), Length(600), 3, BAR)
    for first, piece in zip(plain, chosen, strict=True):
        frozen = longest_gap(chorales.score(first, Length(600), 100.0)) >= 2 * BAR
        assert (piece.num_drafts > 1) == frozen
        assert frozen or piece.ids.tolist() == first.ids.tolist()


@pytest.mark.parametrize("room", [0, 2 * BAR])
def test_a_piece_of_the_grid_may_end_only_within_the_room_before_its_length(
    tmp_path: Path, room: int
) -> None:
    composer = Composer.load(write_tiny_run(tmp_path / "run", GridVocabulary()))
    length = Length.of_steps(4 * BAR, 4, room)
    pieces = composer.compose(range(64), Sampling(), length, 1)
    ends = {len(composer.vocabulary.decode_frames(piece.ids)) for piece in pieces}
    # The untrained network ends a piece in one frame of 17 or so, wherever it may.
    assert max(ends) == 4 * BAR
    assert (min(ends) > 2 * BAR) if room else ends == {4 * BAR}
    assert bool(room) == any(piece.ended for piece in pieces)


def test_a_piece_of_events_may_end_only_within_the_room_before_its_length(tmp_path: Path) -> None:
    composer = Composer.load(write_tiny_run(tmp_path / "run", EventVocabulary(conditions=("key",))))
    length = Length.of_steps(4 * 48, 12, 2 * 48)
    pieces = composer.compose(range(64), Sampling(), length, 1)
    ended = [composer.vocabulary.times(piece.ids)[-1] for piece in pieces if piece.ended]
    assert ended and min(ended) >= 2 * 48
    assert len(ended) < len(pieces)


class Drafts:
    """A composer of prepared drafts: where notes begin, and whether the draft ends by itself."""

    def __init__(self, *prepared: tuple[Sequence[int], bool]) -> None:
        self.vocabulary, self.prepared, self.asked = GridVocabulary(), prepared, 0

    def compose(
        self, numbers: Sequence[int], sampling: Sampling, length: Length, *_: object
    ) -> list[ComposedPiece]:
        self.asked += len(numbers)
        pieces = []
        for number in numbers:
            onsets, ended = self.prepared[number // drafts.SERIES % len(self.prepared)]
            if length.first_end == NEVER:
                onsets, ended = ENDLESS
            frames = np.full([onsets[-1], 4], 60)
            for begin, end in pairwise(onsets):
                frames[begin:end] += onsets.index(begin) % 2
            ids = self.vocabulary.encode_frames(frames)
            pieces.append(ComposedPiece(number, ids, ids.size, True, ended, ids.size))
        return pieces

    def score(self, piece: ComposedPiece, *_: object) -> Score:
        return self.vocabulary.decode(piece.ids)


ENDLESS = list(range(0, 65, 4)), False
LIVELY, FROZEN, SHORT = range(0, 65, 8), [0, 8, 64], range(0, 49, 8)


@pytest.mark.parametrize(
    ("prepared", "taken", "said"),
    [
        ([(FROZEN, True), (LIVELY, False), (LIVELY, True)], 2, ""),
        ([(SHORT, True), (LIVELY, True)], 1, ""),  # 3 bars of 4: it ends before the last bar
        ([(FROZEN, True), (SHORT, True), (LIVELY, False)], 2, "this one is cut"),
        ([(SHORT, True)], None, "none of 144 drafts ends within the last bar: this one is cut"),
        ([(FROZEN, True)], 0, "stands still for 2 bars, like every draft of its length"),
    ],
)
def test_the_first_good_draft_is_taken_else_the_best_with_a_remark(
    prepared: list[tuple[Sequence[int], bool]], taken: int | None, said: str
) -> None:
    composer = Drafts(*[(list(onsets), ended) for onsets, ended in prepared])
    num_drafts = (128 if said else 16) + (16 if taken is None else 0)
    length = Length.of_steps(4 * BAR, 4, drafts.ROOM * BAR)
    (piece,) = compose_pieces(composer, [7], Sampling(), length, 1, BAR)  # type: ignore[arg-type]
    onsets, ended = ENDLESS if taken is None else composer.prepared[taken]
    score = composer.score(piece)
    assert (score.notes["onset"].max(), score.end) == (onsets[-2], onsets[-1])
    assert (piece.index, piece.ended) == (7, ended)
    assert composer.asked == piece.num_drafts == num_drafts
    assert said in "".join(piece.remarks) and bool(said) == bool(piece.remarks)


@pytest.mark.parametrize(
    ("prepared", "num_drafts"),
    [([LIVELY, FROZEN], 1), ([FROZEN, LIVELY], 2), ([FROZEN, FROZEN, FROZEN, LIVELY], 4)],
)
def test_a_frozen_draft_of_any_length_is_drawn_again_until_one_is_lively(
    prepared: list[Sequence[int]], num_drafts: int
) -> None:
    composer = Drafts(*[(list(onsets), True) for onsets in prepared])
    (piece,) = compose_pieces(composer, [7], Sampling(), Length(600), 1, BAR)  # type: ignore[arg-type]
    assert composer.score(piece).notes["onset"].max() == 56
    assert (piece.num_drafts, composer.asked, piece.remarks) == (num_drafts, num_drafts, ())


def test_the_longest_gap_counts_from_the_primer_to_the_end() -> None:
    score = Score(make_notes([(0, 0, 60, 4, 80), (30, 0, 62, 4, 80), (40, 0, 64, 50, 80)]), 4)
    assert longest_gap(score) == 50  # from 40 to 90, the end of the last note
    assert longest_gap(score, begins=20) == 50
    assert longest_gap(score, begins=35, ends=44) == 5
    assert longest_gap(score, ends=44) == 30
