"""The resemblance of composed and real pieces: one metric's values in three sets. NumPy.

Overlap and divergence follow Yang and Lerch, "On the evaluation of generative models in music",
Neural Computing and Applications 32 (2020), and their toolbox mgeval. They compare distances, not
the values themselves: the distances from a set's pieces to those of the training set against the
distances within the training set. Both densities are estimated with Gaussian kernels (Scott's
rule). Here both are compared on one grid; mgeval's divergence samples each on a grid of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

GRID = 2048  # bins of a density
MARGIN = 4  # kernels' standard deviations beyond the outermost distance
RESAMPLES = 2000
CONFIDENCE = 0.95
CONSTANT = 1e-9  # distances with a smaller spread count as one value


@dataclass(frozen=True)
class Resemblance:
    """One metric of composed pieces beside train and another real split, the reference."""

    composed: float  # mean over pieces
    interval: tuple[float, float]  # bootstrap, 95 %
    train: float
    real: float
    inside: bool  # does the interval touch the gap between train and the other real split?
    overlap: float | None  # of the densities of distances; 1 for equal ones
    real_overlap: float | None
    divergence: float | None  # Kullback-Leibler, nats; 0 for equal densities
    real_divergence: float | None


def resemblance(composed: np.ndarray, train: np.ndarray, real: np.ndarray) -> Resemblance:
    """The comparison of values [num_pieces] each; pieces without a value (NaN) do not count.

    Raises ValueError if a set has no value.
    """
    sets = [values[np.isfinite(values)] for values in (composed, train, real)]
    if not all(values.size for values in sets):
        raise ValueError(
            f"{[values.size for values in sets]} pieces with a value of those composed, of train "
            "and of the other split; each needs one at least"
        )
    composed, train, real = sets
    means = [float(values.mean()) for values in sets]
    interval = bootstrap(lambda chosen: composed[chosen].mean(1), composed.size)
    low, high = min(means[1:]), max(means[1:])
    within = _within(train)
    overlap, divergence = compare_densities(within, _between(composed, train))
    real_overlap, real_divergence = compare_densities(within, _between(real, train))
    return Resemblance(
        composed=means[0],
        interval=interval,
        train=means[1],
        real=means[2],
        inside=interval[0] <= high and low <= interval[1],
        overlap=overlap,
        real_overlap=real_overlap,
        divergence=divergence,
        real_divergence=real_divergence,
    )


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], num_pieces: int
) -> tuple[float, float]:
    """The 95 % percentile interval of a statistic over pieces; the same pieces give the same one.

    `statistic` gives values [resamples] for indices of pieces [resamples, num_pieces].
    """
    chosen = np.random.default_rng(0).integers(0, num_pieces, [RESAMPLES, num_pieces])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(statistic(chosen), [tail, 1 - tail])
    return float(low), float(high)


def compare_densities(within: np.ndarray, between: np.ndarray) -> tuple[float | None, float | None]:
    """Overlapping area of two densities, and the divergence of the second from the first.

    Both are None if one set of distances is a single value and the other is not.
    """
    constant = [np.ptp(distances) < CONSTANT for distances in (within, between)]
    if any(constant):
        same = all(constant) and abs(within[0] - between[0]) < CONSTANT
        return (1.0, 0.0) if same else (None, None)
    widths = [_bandwidth(distances) for distances in (within, between)]
    low = min(within.min(), between.min()) - MARGIN * max(widths)
    high = max(within.max(), between.max()) + MARGIN * max(widths)
    edges = np.linspace(low, high, GRID + 1)
    first, second = (
        _density(distances, width, edges)
        for distances, width in zip((within, between), widths, strict=True)
    )
    # The smallest number, added so that no density is rounded to 0; it changes no result.
    tiny = np.finfo(np.float64).tiny
    divergence = float((first * np.log((first + tiny) / (second + tiny))).sum())
    return float(np.minimum(first, second).sum()), max(divergence, 0.0)


def density(values: np.ndarray, edges: np.ndarray) -> np.ndarray | None:
    """Estimated shares [bins] of values in equal bins; None if they are all one value."""
    if np.ptp(values) < CONSTANT:
        return None
    return _density(values, _bandwidth(values), edges)


def _density(values: np.ndarray, width: float, edges: np.ndarray) -> np.ndarray:
    """Shares [bins] of Gaussian kernels of a width; binning the values first makes it fast."""
    counts, _ = np.histogram(values, edges)
    step = edges[1] - edges[0]
    offsets = step * np.arange(-len(counts) + 1, len(counts))
    # A kernel narrower than a bin would fall between two bin centres.
    kernel = np.exp(-0.5 * (offsets / max(width, step)) ** 2)
    shares = np.convolve(counts, kernel)[len(counts) - 1 : 2 * len(counts) - 1]
    return shares / shares.sum()


def _bandwidth(values: np.ndarray) -> float:
    """The kernel's width by Scott's rule for one dimension."""
    return float(values.std(ddof=1)) * values.size ** (-1 / 5)


def _within(values: np.ndarray) -> np.ndarray:
    """The distances of all pairs of a set; for a single piece its distance to itself."""
    first, second = np.triu_indices(values.size, k=1 if values.size > 1 else 0)
    return np.abs(values[first] - values[second])


def _between(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The distances of each value to each of the others."""
    return np.abs(values[:, None] - others).ravel()
