"""A cost model of a training step.

A step of p workers that average gradients of n bytes takes

    T(p) = C + e R(p),    R(p) = s + 2 (p - 1) alpha + 2 (p - 1) / p n beta

where C is computing, R the allreduce of a ring (a reduce-scatter and an allgather, p - 1 messages
of n / p bytes each: Thakur, Rabenseifner and Gropp 2005, "Optimization of Collective Communication
Operations in MPICH"), s the seconds to start it, whatever p, alpha those to start a message, and
beta those for a byte, its addition included. e is the share of the allreduce that the step does
not hide behind computing: 0 if all of it overlaps, 1 if none does, more if it also slows the
computing down. docs/scaling.md checks the model against published figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np


@dataclass(frozen=True)
class Ring:
    """The cost of an allreduce around a ring."""

    alpha: float  # seconds to start a message
    beta: float  # seconds for a byte
    start: float = 0.0  # seconds to start the allreduce

    def seconds(self, workers: int, num_bytes: float) -> float:
        """The time of an allreduce of `num_bytes` on each of `workers`."""
        return float(_ring_terms(workers, num_bytes) @ (self.start, self.alpha, self.beta))

    def over(self, gigabits: float, measured_on: float = 0.0) -> Ring:
        """The ring of the same workers on a link of another rate, in Gbit/s.

        `measured_on` is the rate in Gbit/s of the link that this ring was measured on, or 0 for one
        too fast to count. The time of a byte is the hosts' part of it, without that link, plus
        the time on the new link, as if host and link never worked at the same time: a cautious
        prediction.
        """
        hosts = self.beta - (wire_seconds(measured_on) if measured_on else 0.0)
        return Ring(self.alpha, max(hosts, 0.0) + wire_seconds(gigabits), self.start)


@dataclass(frozen=True)
class Allreduce:
    """An allreduce that was timed outside a step."""

    workers: int
    num_bytes: float
    seconds: float


@dataclass(frozen=True)
class Step:
    """A training step that was timed, beside the same computing without communication."""

    workers: int
    num_bytes: float  # of the gradient on one worker, as it is sent
    seconds: float
    compute_seconds: float


@dataclass(frozen=True)
class CostModel:
    """The cost of a step: the coefficients of T(p), as the docstring of this file names them."""

    compute_seconds: float  # C
    ring: Ring
    exposed: float  # e
    num_bytes: float  # n

    def step_seconds(self, workers: int) -> float:
        """T(p) under weak scaling: the work of each worker does not change."""
        return self.compute_seconds + self.exposed * self.ring.seconds(workers, self.num_bytes)

    def efficiency(self, workers: int) -> float:
        """C / T(p): speed as a share of that of as many workers that do not communicate."""
        return self.compute_seconds / self.step_seconds(workers)


def wire_seconds(gigabits: float) -> float:
    """Seconds that a byte takes on a link of a rate in Gbit/s."""
    return 8e-9 / gigabits


def fit_ring(timed: Sequence[Allreduce], messages: Sequence[float] = ()) -> Ring:
    """The ring with the least squared relative error, with no coefficient below 0.

    `messages` are seconds of single messages, which separate alpha from s. Without them and with
    one number of workers both are taken for alpha, which makes many workers look worse than they
    are. Raises ValueError unless there are two sizes or two numbers of workers.
    """
    # One row an allreduce or message, [rows, 3]: seconds predicted by each coefficient, relative to
    # the measured seconds. The best answer makes every row sum to 1.
    rows = [_ring_terms(one.workers, one.num_bytes) / one.seconds for one in timed]
    rows += [np.array([0.0, 1.0, 0.0]) / seconds for seconds in messages]
    terms = np.reshape(rows, [-1, 3])
    scale = np.linalg.norm(terms, axis=0)
    scale[scale == 0] = 1.0

    # s is left out where the rows cannot separate it from alpha.
    columns = [0, 1, 2]
    if np.linalg.matrix_rank(terms / scale, tol=1e-6) < 3:
        columns = [1, 2]
    if np.linalg.matrix_rank(terms[:, columns] / scale[columns], tol=1e-6) < 2:
        raise ValueError(
            "allreduces of one size over one number of workers do not tell latency from bandwidth"
        )

    # Non-negative least squares over 3 coefficients: the best answer is the unconstrained one of
    # some of the coefficients, the others being 0.
    ones = np.ones(len(terms))
    best, least = np.zeros(3), np.inf
    for count in range(1, len(columns) + 1):
        for chosen in map(list, combinations(columns, count)):
            answer = np.linalg.lstsq(terms[:, chosen] / scale[chosen], ones, rcond=None)[0]
            found = np.zeros(3)
            found[chosen] = answer / scale[chosen]
            error = float(((terms @ found - 1) ** 2).sum())
            if error < least and (found >= 0).all():
                best, least = found, error
    start, alpha, beta = map(float, best)
    return Ring(alpha, beta, start)


def fit_exposed(steps: Sequence[Step], ring: Ring) -> float:
    """The share e of the ring's time with the least squared relative error; at least 0."""
    rings = np.array([ring.seconds(one.workers, one.num_bytes) / one.seconds for one in steps])
    excess = np.array([1 - one.compute_seconds / one.seconds for one in steps])
    return max(float(rings @ excess / (rings @ rings)), 0.0)


def relative_errors(steps: Sequence[Step], ring: Ring, exposed: float) -> list[float]:
    """For each step, predicted by measured time, less 1."""
    return [
        CostModel(one.compute_seconds, ring, exposed, one.num_bytes).step_seconds(one.workers)
        / one.seconds
        - 1
        for one in steps
    ]


def _ring_terms(workers: int, num_bytes: float) -> np.ndarray:
    """The factors of s, alpha and beta in R(p)."""
    return np.array([1.0, 2.0 * (workers - 1), 2.0 * (workers - 1) / workers * num_bytes])
