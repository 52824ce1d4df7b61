"""A cost model of a training step, and the published figures that it is checked against.

A step of p workers that average gradients of n bytes takes

    T(p) = C + e R(p),    R(p) = s + 2 (p - 1) alpha + 2 (p - 1) / p n beta

where C is computing, R the allreduce of a ring (a reduce-scatter and an allgather, p - 1 messages
of n / p bytes each: Thakur, Rabenseifner and Gropp 2005, "Optimization of Collective Communication
Operations in MPICH"), s the seconds to start it, whatever p, alpha those to start a message, and
beta those for a byte, its addition included. e is the share of the allreduce that the step does
not hide behind computing: 0 if all of it overlaps, 1 if none does, more if it also slows the
computing down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np


@dataclass(frozen=True)
class Ring:
    """What an allreduce around a ring costs."""

    alpha: float  # seconds to start a message
    beta: float  # seconds for a byte
    start: float = 0.0  # seconds to start the allreduce

    def seconds(self, workers: int, num_bytes: float) -> float:
        """The time of an allreduce of so many bytes on each of so many workers."""
        return float(_ring_terms(workers, num_bytes) @ (self.start, self.alpha, self.beta))

    def over(self, gigabits: float, measured_on: float = 0.0) -> Ring:
        """The same workers on a link of so many Gbit/s: what hosts spend on a byte, and the wire.

        `measured_on` is the rate in Gbit/s of the link that this ring was measured on, whose part
        is taken out; 0 for one too fast to count. Host and wire are added, as if they never worked
        at the same time: a cautious prediction.
        """
        hosts = self.beta - (wire_seconds(measured_on) if measured_on else 0.0)
        return Ring(self.alpha, max(hosts, 0.0) + wire_seconds(gigabits), self.start)


@dataclass(frozen=True)
class Allreduce:
    """An allreduce that was timed by itself."""

    workers: int
    num_bytes: float
    seconds: float


@dataclass(frozen=True)
class Step:
    """A training step that was timed, and the same computing without communication."""

    workers: int
    num_bytes: float  # on the wire, of one worker
    seconds: float
    compute_seconds: float


@dataclass(frozen=True)
class CostModel:
    """A step's cost: the coefficients of T(p), as the head of this file names them."""

    compute_seconds: float  # C
    ring: Ring
    exposed: float  # e
    num_bytes: float  # n

    def step_seconds(self, workers: int) -> float:
        """T(p), of weak scaling: the work of each worker does not change."""
        return self.compute_seconds + self.exposed * self.ring.seconds(workers, self.num_bytes)

    def efficiency(self, workers: int) -> float:
        """C / T(p): the share of the speed of as many workers that need not communicate."""
        return self.compute_seconds / self.step_seconds(workers)


def wire_seconds(gigabits: float) -> float:
    """Seconds that a byte takes on a link of so many Gbit/s."""
    return 8e-9 / gigabits


def fit_ring(timed: Sequence[Allreduce], messages: Sequence[float] = ()) -> Ring:
    """The ring that comes nearest, by relative error, with no coefficient below 0.

    `messages` are seconds of single messages, which tell alpha from the start. Without them and
    with one number of workers all of both is taken for alpha, which makes many workers look worse
    than they are. Raises ValueError where there are not two sizes or two numbers of workers.
    """
    rows = [_ring_terms(one.workers, one.num_bytes) / one.seconds for one in timed]
    rows += [np.array([0.0, 1.0, 0.0]) / seconds for seconds in messages]
    terms = np.reshape(rows, [-1, 3])
    scale = np.linalg.norm(terms, axis=0)
    scale[scale == 0] = 1.0
    columns = [0, 1, 2]
    if np.linalg.matrix_rank(terms / scale, tol=1e-6) < 3:
        columns = [1, 2]
    if np.linalg.matrix_rank(terms[:, columns] / scale[columns], tol=1e-6) < 2:
        raise ValueError(
            "allreduces of one size over one number of workers do not tell latency from bandwidth"
        )
    ones = np.ones(len(terms))
    best, least = np.zeros(3), np.inf
    # The best solution above 0 is the free one of some of the coefficients, the others being 0.
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
    """The share e of the ring's time that the steps show, by least relative error; at least 0."""
    rings = np.array([ring.seconds(one.workers, one.num_bytes) / one.seconds for one in steps])
    excess = np.array([1 - one.compute_seconds / one.seconds for one in steps])
    return max(float(rings @ excess / (rings @ rings)), 0.0)


def relative_errors(steps: Sequence[Step], ring: Ring, exposed: float) -> list[float]:
    """Of each step, predicted over measured time, less 1."""
    return [
        CostModel(one.compute_seconds, ring, exposed, one.num_bytes).step_seconds(one.workers)
        / one.seconds
        - 1
        for one in steps
    ]


@dataclass(frozen=True)
class Published:
    """A network whose scaling to 512 GPUs was published, and its speed on one."""

    name: str
    parameters: float
    images_per_second: float  # of one P100
    efficiency: float  # at 512
    source: str  # of the speed

    def cost(self, exposed: float) -> CostModel:
        """Its step, if so much of the allreduce is exposed."""
        compute = BATCH / self.images_per_second
        return CostModel(compute, PUBLISHED_RING, exposed, 4 * self.parameters)

    def needed_exposure(self) -> float:
        """The share of the allreduce that must be exposed for exactly the published efficiency."""
        compute = BATCH / self.images_per_second
        ring = PUBLISHED_RING.seconds(PUBLISHED_WORKERS, 4 * self.parameters)
        return compute * (1 / self.efficiency - 1) / ring


PUBLISHED_WORKERS = 512  # 128 servers with 4 Pascal GPUs each
PUBLISHED_GIGABITS = 25.0  # RoCE; NCCL's ring crosses the link of each server once each way
BATCH = 64  # images for each GPU: the sources' own
ASSUMED_ALPHA = 5e-6  # of RDMA between servers; the paper tells none
PUBLISHED_RING = Ring(ASSUMED_ALPHA, wire_seconds(PUBLISHED_GIGABITS))
# Efficiencies: Sergeev and Del Balso 2018 (arXiv:1802.05799), and Horovod's docs/benchmarks.rst.
TENSORFLOW = "TensorFlow's benchmarks page, DGX-1, synthetic data, 1 GPU, May 2017"
PUBLISHED = (
    Published("Inception V3", 24e6, 142.0, 0.90, TENSORFLOW),
    Published("ResNet-101", 44e6, 1656.82 / 16, 0.90, "Horovod's docs/benchmarks.rst, 16 GPUs"),
    Published("VGG-16", 138e6, 154.0, 0.68, TENSORFLOW),
)


def published_exposure() -> float:
    """The one share of exposed allreduce with which the model comes nearest to all of PUBLISHED."""
    steps = []
    for case in PUBLISHED:
        compute = BATCH / case.images_per_second
        seconds = compute / case.efficiency
        steps.append(Step(PUBLISHED_WORKERS, 4 * case.parameters, seconds, compute))
    return fit_exposed(steps, PUBLISHED_RING)


def _ring_terms(workers: int, num_bytes: float) -> np.ndarray:
    """What start, alpha and beta are multiplied with."""
    return np.array([1.0, 2.0 * (workers - 1), 2.0 * (workers - 1) / workers * num_bytes])
