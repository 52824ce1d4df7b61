"""The cores that a rank computes on: under mpirun, and by the variables that it sets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpc.distributed.launcher import Place
from hpc.distributed.processor import (
    binding_was_asked_for,
    by_core,
    cores_of_job,
    share_of_cores,
)
from tests.conftest import REPOSITORY
from tests.hpc.launching import MPI_ENVIRONMENT

BOUND = {"OMPI_MCA_orte_bound_at_launch": "1"}  # Open MPI 4.1.4 sets it, whoever asked for it
CORES = sorted(os.sched_getaffinity(0))
REPORT = """
import json, os
from hpc.distributed.launcher import find_place
from hpc.distributed.processor import binding_was_asked_for, share_of_cores
asked = binding_was_asked_for(os.environ)
found = [asked, share_of_cores(find_place(os.environ), unbind=asked is False)]
os.write(1, (json.dumps(found) + "\\n").encode())
"""


def shares_under_mpirun(*flags: str) -> list[tuple[bool | None, list[int]]]:
    """For every rank: whether a binding was asked for, and its share of the cores."""
    environ = {**os.environ, **MPI_ENVIRONMENT, "PYTHONPATH": str(REPOSITORY)}
    for name in ("OMPI_MCA_rmaps_base_oversubscribe", "PRTE_MCA_rmaps_default_mapping_policy"):
        del environ[name]  # with it mpirun binds nothing
    argv = ["mpirun", *flags, sys.executable, "-c", REPORT]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return sorted(tuple(json.loads(line)) for line in done.stdout.splitlines())


@pytest.mark.mpi
@pytest.mark.skipif(len(CORES) < 2, reason="this machine has one core")
def test_a_rank_alone_takes_all_cores_unless_the_user_asked_for_a_binding() -> None:
    ((asked, cores),) = shares_under_mpirun("-np", "1")
    assert asked is False
    assert sorted(cores) == CORES
    ((asked, cores),) = shares_under_mpirun("-np", "1", "--bind-to", "core")
    assert asked is True
    assert len(cores) < len(CORES)


@pytest.mark.mpi
@pytest.mark.skipif(len(CORES) < 2, reason="this machine has one core")
def test_two_ranks_take_half_of_the_cores_each() -> None:
    (_, first), (_, second) = shares_under_mpirun("-np", "2")
    assert len(first) == len(second) == len(CORES) // 2
    assert not {*first} & {*second}


@pytest.mark.parametrize(
    ("environ", "argv", "asked"),
    [
        # Open MPI 4: by a variable on every host; on mpirun's own, by its command line too.
        (BOUND, ["orted", "-mca", "ess", "env"], False),
        ({**BOUND, "OMPI_MCA_hwloc_base_binding_policy": "core"}, ["orted"], True),
        ({**BOUND, "OMPI_MCA_hwloc_base_cpu_set": "0-3"}, ["orted"], True),
        (BOUND, ["mpirun", "-np", "2", "python", "hpc/train.py"], False),
        (BOUND, ["/usr/bin/mpirun", "-np", "2", "-rf", "ranks", "python"], True),
        (BOUND, ["mpirun", "-np", "2", "taskset", "-c", "0", "python"], True),
        # Open MPI 5: by the command line alone, which its daemon on another host does not have.
        ({}, ["prterun", "-np", "2", "python", "hpc/train.py"], False),
        ({}, ["/opt/bin/prterun", "-np", "2", "--bind-to", "core", "python"], True),
        ({}, ["prted", "--prtemca", "ess", "env"], None),
        ({}, ["bash"], None),
        ({}, [], None),
    ],
)
def test_a_rank_knows_whether_the_user_asked_for_a_binding(
    environ: dict[str, str], argv: list[str], asked: bool | None
) -> None:
    assert binding_was_asked_for(environ, argv) is asked


@pytest.fixture
def bound_to_core_5(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process may use core 5, its parent cores 0 to 7 of the machine's 16."""
    parent = os.getppid()
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    monkeypatch.setattr("os.sched_getaffinity", lambda p: {*range(8)} if p == parent else {5})


@pytest.mark.usefixtures("bound_to_core_5")
def test_a_rank_frees_itself_to_its_share_of_what_its_job_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second = Place(1, 2, local_rank=1, local_size=2, launcher="mpirun")
    assert share_of_cores(second) == [5]
    assert len(share_of_cores(second, unbind=True)) == 4
    assert {*share_of_cores(second, unbind=True)} < {*range(8)}
    # Eight ranks have one core each already.
    assert share_of_cores(Place(1, 8, local_rank=1, local_size=8), unbind=True) == [5]
    # Slurm gave the job two of the eight cores, and does not say to mpirun which.
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "2")
    assert share_of_cores(second, unbind=True) == [5]


@pytest.mark.usefixtures("bound_to_core_5")
def test_slurm_may_grant_all_cores_that_mpirun_has() -> None:
    assert sorted(cores_of_job({"SLURM_CPUS_ON_NODE": "8"})) == [*range(8)]
    assert cores_of_job({"SLURM_CPUS_ON_NODE": "7"}) == [5]


def test_the_two_threads_of_a_core_are_neighbours_in_a_share(tmp_path: Path) -> None:
    # Two sockets of two cores; as Linux numbers them, the second threads come after all first.
    for number in range(8):
        topology = tmp_path / f"cpu{number}/topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text(f"{number // 2 % 2}\n")
        (topology / "core_id").write_text(f"{number % 2}\n")
    assert by_core(range(8), tmp_path) == [0, 4, 1, 5, 2, 6, 3, 7]
    assert by_core([3, 1], tmp_path / "unknown") == [1, 3]
