"""Rank, size and host of this process, and its strategy, from the launcher's variables."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from hpc.distributed.hosts import parse_tasks_per_node


@dataclass(frozen=True)
class Launcher:
    """The environment variables in which a launcher gives a process its place."""

    name: str
    rank: str
    size: str
    local_rank: str
    local_size: str


# mpirun inside a Slurm job leaves both families set, and SLURM_PROCID is then the batch step,
# the same for every rank on a host: ask Open MPI first. Slurm's own size is that of the step
# (SLURM_NTASKS is also set in the batch script, where only one process runs). Under
# `srun --mpi=pmix` Slurm's variables are there too; PMIX_RANK has no size beside it.
LAUNCHERS = (
    Launcher(
        "mpirun",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    Launcher("mpiexec", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    Launcher(
        "srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"
    ),
)


@dataclass(frozen=True)
class Place:
    """One process of a run: its rank, its host, and the launcher that started it."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    host: str = "localhost"
    launcher: str = "none"

    @property
    def is_chief(self) -> bool:
        """Does this process write the files?"""
        return self.rank == 0

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host}"


def find_place(environ: Mapping[str, str]) -> Place:
    """The place of this process by the launcher's variables; rank 0 of 1 without a launcher.

    Raises ValueError where the variables contradict each other.
    """
    host = socket.gethostname()
    for launcher in LAUNCHERS:
        if launcher.rank not in environ or launcher.size not in environ:
            continue
        rank, size = _number(environ, launcher.rank), _number(environ, launcher.size)
        local_rank = _number(environ, launcher.local_rank, default=0)
        local_size = _tasks_here(environ, launcher.local_size, default=local_rank + 1)
        if not 0 <= rank < size:
            raise ValueError(
                f"{launcher.rank}={rank} with {launcher.size}={size}: a rank must be below the "
                f"size. Start the program again with {launcher.name}"
            )
        return Place(rank, size, local_rank, local_size, host, launcher.name)
    return Place(host=host)


def choose_strategy(asked: str, place: Place, environ: Mapping[str, str]) -> tuple[str, str]:
    """The strategy of the run, and the reason in words.

    Raises ValueError where the strategy that was asked for does not fit the number of processes.
    """
    several = place.size > 1
    if asked == "auto":
        if not several:
            _refuse_solo_run(environ)
            return "single", "one process"
        if _lacks_mpi(place, environ):
            return "multiworker", (
                f"{place.size} processes under srun without --mpi=pmix, which Horovod needs"
            )
        if has_horovod():
            return "horovod", f"{place.size} processes under {place.launcher}, Horovod installed"
        return "multiworker", (
            f"{place.size} processes under {place.launcher}; Horovod is not installed here "
            "(make setup builds it)"
        )
    if asked == "single" and several:
        raise ValueError(
            f"--strategy single with {place.size} processes would train {place.size} separate "
            "models into one folder. Use --strategy auto, or start one process"
        )
    if asked == "horovod" and not has_horovod():
        raise ValueError(
            "--strategy horovod, but Horovod is not installed in this environment. Run make setup "
            "with a compiler and an MPI on the machine, or use --strategy multiworker"
        )
    if asked == "horovod" and _lacks_mpi(place, environ):
        raise ValueError(
            f"--strategy horovod, but srun started the {place.size} processes without MPI. Use "
            "srun --mpi=pmix, or mpirun in its place, or --strategy multiworker"
        )
    return asked, "asked for"


def _lacks_mpi(place: Place, environ: Mapping[str, str]) -> bool:
    """Did srun start several processes without what MPI_Init needs? It would end them."""
    return place.launcher == "srun" and place.size > 1 and "PMIX_RANK" not in environ


def has_horovod() -> bool:
    """Is Horovod installed? It is not imported."""
    from importlib.util import find_spec

    return find_spec("horovod") is not None


def _refuse_solo_run(environ: Mapping[str, str]) -> None:
    """Raise ValueError where a Slurm job has several tasks, but this process is alone."""
    tasks = environ.get("SLURM_NTASKS", "1")
    if "SLURM_STEP_NUM_TASKS" not in environ and tasks.isdecimal() and int(tasks) > 1:
        raise ValueError(
            f"this Slurm job has {tasks} tasks, but the program was started as a single process. "
            "Put srun or mpirun before it, or use --strategy single"
        )


def _tasks_here(environ: Mapping[str, str], name: str, default: int) -> int:
    """Processes on this host: the value itself, or this node's part of Slurm's '2(x3),1'."""
    per_node = parse_tasks_per_node(environ.get(name, ""))
    node = _number(environ, "SLURM_NODEID", default=0) if len(per_node) > 1 else 0
    return per_node[node] if node < len(per_node) else default


def _number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    """A variable as a number. Raises ValueError where it is not one and there is no default."""
    value = environ.get(name, "")
    if value.isdecimal():
        return int(value)
    if default is not None:
        return default
    raise ValueError(f"{name} is {value!r}; the launcher should have set it to a number")
