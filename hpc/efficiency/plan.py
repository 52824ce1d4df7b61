"""The trainings that a scaling measurement needs, their hosts, and what is compared with what."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from hpc.distributed.processor import gpus
from hpc.reports.spread import counted

ALONE = "single"  # the strategy of processes that do not communicate
SCALINGS = {
    "weak": "the batch of each worker is held",
    "strong": "the batch of all workers together is held",
}


@dataclass(frozen=True)
class Cell:
    """One training to measure: all workers at the same time, each on its share of the cores."""

    strategy: str
    hosts: tuple[str, ...]  # one for each worker, in rank order
    batch: int  # windows a step on each worker

    @property
    def workers(self) -> int:
        """The number of processes."""
        return len(self.hosts)

    @property
    def is_alone(self) -> bool:
        """Whether its processes train independently, each a model of its own."""
        return self.strategy == ALONE

    @property
    def slots(self) -> str:
        """Hosts with their workers, as mpirun takes them behind -H: 'dorchester:1,bath:1'."""
        return ",".join(f"{host}:{len(list(same))}" for host, same in groupby(self.hosts))

    def __str__(self) -> str:
        how = self.strategy
        if self.is_alone:
            how = "one process alone" if self.workers == 1 else "independent processes"
        return f"{how} on {counted(self.hosts)}, {self.batch} windows each"


@dataclass(frozen=True)
class Comparison:
    """A cell, and the cells that its speed is divided by."""

    scaling: str
    cell: Cell
    solo: tuple[Cell, ...]  # for each worker, one process alone on that worker's host
    independent: Cell | None  # as many independent processes; None for one worker


def plan(
    hosts: Sequence[str],
    workers: Sequence[int],
    strategies: Sequence[str],
    scalings: Sequence[str],
    batches: Mapping[str, int],
) -> list[Comparison]:
    """All comparisons, by scaling, then by workers; a reference comes before what refers to it.

    `hosts` names the host of each slot; the first ones are used. `batches` has, by scaling, the
    batch that is held. Raises ValueError if the workers cannot share it evenly.
    """
    found = []
    for scaling in scalings:
        held = batches[scaling]
        for num_workers in workers:
            if scaling == "strong" and held % num_workers:
                raise ValueError(
                    f"--global-batch-size {held} cannot be shared by {num_workers} workers; use a "
                    "multiple of every number in --workers"
                )
            batch = held if scaling == "weak" else held // num_workers
            used = tuple(hosts[:num_workers])
            solo = tuple(Cell(ALONE, (host,), held) for host in used)
            if num_workers == 1:
                found.append(Comparison(scaling, solo[0], solo, None))
                continue
            independent = Cell(ALONE, used, batch)
            found.append(Comparison(scaling, independent, solo, independent))
            found += [
                Comparison(scaling, Cell(strategy, used, batch), solo, independent)
                for strategy in strategies
            ]
    return found


def cells_of(comparisons: Sequence[Comparison]) -> list[Cell]:
    """The cells of all comparisons and of their references, each once."""
    needed = [cell for found in comparisons for cell in (*found.solo, found.cell)]
    return list(dict.fromkeys(needed))


def local_slots() -> int:
    """Workers that fit this machine: one a GPU, else one a core."""
    return len(gpus()) or len(os.sched_getaffinity(0))


def default_workers(num_slots: int) -> list[int]:
    """1, 2, 4, ... up to the number of slots, which is always among them."""
    powers = [2**k for k in range(num_slots.bit_length()) if 2**k < num_slots]
    return [*powers, num_slots]


def require_slots(workers: Sequence[int], hosts: Sequence[str]) -> None:
    """Raise ValueError unless there are two workers or more, each with a slot of its own."""
    if max(workers) > len(hosts):
        raise ValueError(
            f"{max(workers)} workers for {len(hosts)} slots ({counted(hosts)}) would take turns on "
            f"the same cores. Lower --workers, or give more slots: -H {hosts[0]}:{max(workers)}"
        )
    if max(workers) < 2:
        raise ValueError(
            "--workers is 1, one worker only; scaling needs two or more, as in --workers 1,2"
        )


def most_on_a_host(cells: Sequence[Cell]) -> int:
    """Workers on the fullest host; every worker of every cell gets this share of the cores."""
    return max(count for cell in cells for count in Counter(cell.hosts).values())
