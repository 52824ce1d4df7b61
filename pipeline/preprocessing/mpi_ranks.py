"""Parsing on all ranks of an mpirun, on one host or many: each rank has its own worker pool."""

from __future__ import annotations

import os
import pickle
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pipeline.preprocessing.killable_pool import Failure, ParsePool
from pipeline.runtime.tables import print_line

# Variables of Open MPI and the MPICH family: the number of processes, in all and on this host.
SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
LOCAL_SIZES = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
# Files sent to a worker process at once: 0.1 s of MIDI, while sending takes 1 ms.
SHARE = 16
SHARES_UNDER_WAY = 2  # per rank: the next share has arrived when one is done


def num_ranks(environment: Mapping[str, str] = os.environ) -> int:
    """Processes that the launcher started; 1 without a launcher."""
    return _first_of(SIZES, environment)


def cores_of_this_process(environment: Mapping[str, str] = os.environ) -> int:
    """Cores that this process may use: those it is bound to, else its share of the host's."""
    cores = len(os.sched_getaffinity(0))
    is_bound = cores < (os.cpu_count() or 1)
    return cores if is_bound else max(1, cores // _first_of(LOCAL_SIZES, environment))


def _first_of(names: Iterable[str], environment: Mapping[str, str]) -> int:
    return int(next((environment[name] for name in names if name in environment), "1"))


@contextmanager
def open_ranks() -> Iterator[Ranks | None]:
    """The other ranks, on the first rank; elsewhere work for it, and then yield None.

    Raises RuntimeError where mpi4py is missing.
    """
    try:
        from mpi4py import MPI
        from mpi4py.futures import MPICommExecutor
    except ImportError as error:
        raise RuntimeError(
            f"under mpirun with {num_ranks()} processes mpi4py is needed ({error}): pip install "
            "-c constraints.txt -e '.[horovod]', or start one process with --processes N"
        ) from None
    hosts = Counter(MPI.COMM_WORLD.gather(socket.gethostname()) or ())
    if hosts:  # on the first rank
        found = ", ".join(f"{host} ({count})" for host, count in sorted(hosts.items()))
        print_line(f"{hosts.total()} processes under mpirun: {found}")
    with MPICommExecutor(MPI.COMM_WORLD, root=0) as executor:
        yield None if executor is None else Ranks(executor, MPI.COMM_WORLD.size - 1)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Ranks:
    """All ranks but this one."""

    executor: Executor
    number: int

    def run(
        self, pool: ParsePool[Any, Any], tasks: Iterable[Any]
    ) -> Iterator[tuple[Any, Any | Failure]]:
        """Yield each task with its result or failure, from copies of `pool` on this and all ranks.

        A rank that has done a share of the tasks gets the next one, so slow files delay no other
        rank. The order is not fixed. Raises RuntimeError where a host cannot see a task's `path`.
        """
        waiting = iter(tasks)
        under_way: dict[Future[list[tuple[Any, Any]]], Executor] = {}

        def give(executor: Executor) -> None:
            if share := list(islice(waiting, SHARE * pool.num_processes)):
                under_way[executor.submit(_parse_share, pool, share)] = executor

        with ThreadPoolExecutor(1) as here:
            try:
                # Every rank has its first shares before any rank has done one.
                for _ in range(SHARES_UNDER_WAY):
                    for executor in (here, *[self.executor] * self.number):
                        give(executor)
                while under_way:
                    for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                        give(under_way.pop(future))
                        yield from future.result()
            finally:
                for future in under_way:
                    future.cancel()


# This rank's pool by its pickled form. Global, because mpi4py calls a plain function for each
# share, and the workers have to live from share to share.
_pools: dict[bytes, ParsePool[Any, Any]] = {}


def _parse_share(pool: ParsePool[Any, Any], share: list[Any]) -> list[tuple[Any, Any]]:
    """The tasks with their outcomes, parsed by this rank's copy of the pool."""
    outcomes = list(_pools.setdefault(pickle.dumps(pool), pool).run(share))
    for task, outcome in outcomes:
        if isinstance(outcome, Failure) and not os.path.lexists(task.path):
            raise RuntimeError(
                f"{socket.gethostname()} has no {task.path}: all hosts must see the sources. Copy "
                "them to a shared folder; for an archive, set TMPDIR to one"
            )
    return outcomes
