"""The choice of the next id: what may be chosen, how often, and by which random numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.composing.sampling import Sampling, sample, uniforms

SHARES = np.array([0.05, 0.5, 0.15, 0.3])
EVENLY = np.linspace(0, 1, 1000, endpoint=False)  # every share of it falls on the same share of ids


def choose(
    logits: np.ndarray,
    sampling: Sampling,
    draws: np.ndarray = EVENLY,
    allowed: np.ndarray | None = None,
) -> np.ndarray:
    """The ids that the draws choose from one row of logits."""
    rows = np.repeat(logits[None].astype(np.float32), draws.size, axis=0)
    allowed_rows = (
        np.ones(rows.shape, bool) if allowed is None else np.tile(allowed, (len(rows), 1))
    )
    settings_ = sampling.tensors(logits.size)
    return sample(rows, allowed_rows, draws.astype(np.float32), *settings_).numpy()


def shares(ids: np.ndarray) -> np.ndarray:
    """How often each of four ids was chosen."""
    return np.bincount(ids, minlength=4) / ids.size


def test_ids_are_chosen_as_often_as_they_are_likely() -> None:
    assert shares(choose(np.log(SHARES), Sampling())) == pytest.approx(SHARES, abs=0.002)


def test_temperature_sharpens_and_flattens_the_distribution() -> None:
    for temperature in (0.5, 2.0):
        expected = SHARES ** (1 / temperature)
        chosen = choose(np.log(SHARES), Sampling(temperature))
        assert shares(chosen) == pytest.approx(expected / expected.sum(), abs=0.002)


def test_temperature_zero_takes_the_likeliest_id_whatever_the_draw() -> None:
    assert set(choose(np.log(SHARES), Sampling(temperature=0))) == {1}


def test_top_k_keeps_the_likeliest_ids_in_their_proportion() -> None:
    chosen = choose(np.log(SHARES), Sampling(top_k=2))
    assert shares(chosen) == pytest.approx([0, 5 / 8, 0, 3 / 8], abs=0.002)


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.01, {1}), (0.49, {1}), (0.51, {1, 3}), (0.79, {1, 3}), (0.9, {1, 2, 3})]
)
def test_top_p_keeps_the_fewest_ids_that_reach_the_probability(top_p: float, kept: set) -> None:
    assert set(choose(np.log(SHARES), Sampling(top_p=top_p))) == kept


def test_top_p_counts_the_probability_of_what_top_k_kept() -> None:
    # Of the two likeliest, the first alone has 5/8.
    assert set(choose(np.log(SHARES), Sampling(top_k=2, top_p=0.6))) == {1}
    assert set(choose(np.log(SHARES), Sampling(top_k=2, top_p=0.65))) == {1, 3}


@settings(max_examples=60, deadline=None)
@given(
    logits=st.lists(st.floats(-80, 80, width=32), min_size=4, max_size=4),
    allowed=st.lists(st.booleans(), min_size=4, max_size=4).filter(any),
    temperature=st.sampled_from([0.0, 0.1, 1.0, 5.0]),
    top_k=st.integers(0, 5),
    top_p=st.sampled_from([0.01, 0.9, 1.0]),
)
def test_what_the_grammar_forbids_is_never_chosen(
    logits: list[float], allowed: list[bool], temperature: float, top_k: int, top_p: float
) -> None:
    extremes = np.array([0.0, 0.5, 1 - 2.0**-24])
    chosen = choose(
        np.array(logits), Sampling(temperature, top_k, top_p), extremes, np.array(allowed)
    )
    assert all(allowed[token] for token in chosen)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"top_k": -1}, "top-k is -1"),
        ({"top_p": 0.0}, "top-p is 0.0"),
        ({"top_p": 1.01}, "top-p is 1.01"),
    ],
)
def test_a_setting_that_leaves_nothing_to_choose_is_named(wrong: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Sampling(**wrong)


def test_a_draw_depends_on_seed_piece_and_position_alone() -> None:
    together = uniforms(7, [0, 1, 2], 0, 100)
    assert (uniforms(7, [2], 0, 100)[:, 0] == together[:, 2]).all()
    assert (uniforms(7, [0, 1, 2], 40, 60) == together[40:]).all()
    assert (uniforms(8, [0], 0, 100)[:, 0] != together[:, 0]).all()
    assert len(np.unique(together)) == together.size


def test_draws_are_even_and_below_one() -> None:
    draws = uniforms(0, range(10), 0, 1000)
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = np.histogram(draws, bins=10, range=(0, 1))[0]
    assert counts == pytest.approx(np.full(10, 1000), abs=150)  # 5 standard deviations


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_outside_64_bits_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="seed"):
        uniforms(seed, [0], 0, 1)
