"""Sets of pieces compared: densities of distances, intervals, and what is copied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.metrics.copies import count_copies
from model.metrics.resemblance import bootstrap, compare_densities, resemblance
from pipeline.sources.json_frames import read_frames

GENERATOR = np.random.default_rng(3)
TRAIN, REAL = GENERATOR.normal(3.0, 0.2, 229), GENERATOR.normal(3.02, 0.2, 77)


def direct_density(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Gaussian kernels of Scott's width, summed one by one, as shares."""
    width = values.std(ddof=1) * values.size ** (-1 / 5)
    shares = np.exp(-0.5 * ((at[:, None] - values) / width) ** 2).sum(1)
    return shares / shares.sum()


def test_overlap_and_divergence_are_those_of_kernel_densities() -> None:
    first, second = GENERATOR.gamma(2.0, 1.0, 80), GENERATOR.gamma(3.0, 1.0, 50)
    at = np.linspace(-5, 20, 4001)
    left, right = direct_density(first, at), direct_density(second, at)
    overlap, divergence = compare_densities(first, second)
    assert overlap == pytest.approx(np.minimum(left, right).sum(), abs=2e-3)
    assert divergence == pytest.approx((left * np.log(left / right)).sum(), abs=2e-3)


def test_pieces_like_train_overlap_with_it_and_others_do_not() -> None:
    alike = resemblance(GENERATOR.normal(3.0, 0.2, 200), TRAIN, REAL)
    other = resemblance(GENERATOR.normal(3.6, 0.1, 200), TRAIN, REAL)
    assert alike.overlap and alike.overlap > 0.9
    assert alike.divergence is not None and alike.divergence < 0.05
    assert alike.inside
    assert other.overlap and other.overlap < 0.6
    assert other.divergence and other.divergence > 0.5
    assert not other.inside
    assert other.real_overlap == alike.real_overlap  # the measure is not what was composed


def test_the_interval_is_that_of_the_mean() -> None:
    values = GENERATOR.normal(10.0, 2.0, 400)
    low, high = bootstrap(lambda chosen: values[chosen].mean(1), values.size)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 2.0 / 20, rel=0.15)


def test_pieces_without_a_value_do_not_count() -> None:
    with_gap = np.append(REAL, np.nan)
    assert resemblance(with_gap, TRAIN, REAL) == resemblance(REAL, TRAIN, REAL)
    with pytest.raises(ValueError, match="0, 229, 77"):
        resemblance(np.array([np.nan]), TRAIN, REAL)


def test_a_metric_that_never_varies_is_the_same_or_cannot_be_compared() -> None:
    none, some = np.zeros(20), np.linspace(0, 0.1, 20)
    same = resemblance(none, none, none)
    assert (same.overlap, same.divergence, same.inside) == (1.0, 0.0, True)
    varied = resemblance(some, none, none)
    assert (varied.overlap, varied.divergence, varied.inside) == (None, None, False)


def test_real_chorales_copy_train_as_often_as_is_known(shared_data: Path) -> None:
    splits = read_frames(shared_data / "jsb" / "Jsb16thSeparated.json").splits
    keys = {name: [np.maximum(piece, 0) for piece in pieces] for name, pieces in splits.items()}
    for split, percent in (("valid", 2.3), ("test", 1.1)):
        copied, total = count_copies(keys["train"], keys[split], 4).sum(0)
        assert 100 * copied / total == pytest.approx(percent, abs=0.2)


def test_a_copy_is_known_in_any_key_and_a_changed_note_ends_it(shared_data: Path) -> None:
    piece = np.maximum(
        read_frames(shared_data / "jsb" / "Jsb16thSeparated.json").splits["test"][0], 0
    )
    others = np.where(piece > 0, piece + 3, 0)
    (whole,) = count_copies([piece], [others], 4)
    assert whole[0] == whole[1] == len(piece[::4]) - 7
    others[40:44, 1] += 1  # one quarter's alto, which eight windows hold
    (changed,) = count_copies([piece], [others], 4)
    assert changed[1] - changed[0] == 8
    assert count_copies([piece], [piece[:28]], 4).tolist() == [[0, 0]]  # shorter than a window
