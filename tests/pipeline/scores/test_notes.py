"""Notes on a grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.scores.notes import Score, make_notes, one_note_per_key, quantise

rows = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.sampled_from([0, 40, 128]),
        st.integers(55, 60),
        st.integers(1, 200),
        st.integers(1, 127),
    ),
    max_size=40,
)


def test_a_score_ends_with_its_last_sounding_note_and_knows_its_seconds() -> None:
    score = Score(make_notes([(0, 0, 60, 960, 80), (480, 0, 64, 240, 80)]), 480, tempo=120.0)
    assert (score.end, score.seconds) == (960, 1.0)
    assert Score(make_notes([]), 480).end == 0


def test_quantising_rounds_halves_up_and_keeps_touching_notes_touching() -> None:
    # 480 units a quarter on a grid of 4: a step is 120 units, halves lie at 60, 180, ...
    score = Score(make_notes([(0, 0, 60, 180, 80), (180, 0, 62, 119, 80)]), 480)
    notes = quantise(score, 4).notes
    assert notes[["onset", "duration"]].tolist() == [(0, 2), (2, 1)]  # 299 rounds down to step 2


def test_quantising_keeps_the_shortest_notes_as_one_step() -> None:
    notes = quantise(Score(make_notes([(10, 0, 60, 0, 80), (20, 0, 62, 3, 80)]), 480), 12).notes
    assert notes["duration"].tolist() == [1, 1]


def test_quantising_is_exact_beyond_32_bits_of_intermediate_values() -> None:
    far = 100_000 * 10080
    assert (
        quantise(Score(make_notes([(far, 0, 60, 10080, 80)]), 10080), 12).notes["onset"]
        == 1_200_000
    )


def test_quantising_refuses_a_note_before_the_piece() -> None:
    with pytest.raises(ValueError, match="starts at -3 of 1/480 quarter"):
        quantise(Score(make_notes([(-3, 0, 60, 10, 80)]), 480), 12)


@given(rows)
def test_no_key_sounds_twice_at_once_and_every_struck_key_stays(
    given_rows: list[tuple[int, int, int, int, int]],
) -> None:
    notes = make_notes(given_rows)
    kept, doubled, cut = one_note_per_key(notes)
    strikes = {row[:3] for row in given_rows}
    assert {tuple(row)[:3] for row in kept.tolist()} == strikes
    assert len(kept) == len(strikes) == len(notes) - doubled
    assert cut <= len(kept)
    for program, pitch in {row[1:3] for row in given_rows}:
        key = kept[(kept["program"] == program) & (kept["pitch"] == pitch)]
        assert (key["onset"][:-1] + key["duration"][:-1] <= key["onset"][1:]).all()
    assert (np.sort(kept, order=["onset", "program", "pitch", "duration"]) == kept).all()


def test_of_doubled_notes_the_longest_stays() -> None:
    kept, doubled, cut = one_note_per_key(make_notes([(0, 0, 60, 5, 70), (0, 0, 60, 9, 80)]))
    assert (kept["duration"].tolist(), doubled, cut) == ([9], 1, 0)
