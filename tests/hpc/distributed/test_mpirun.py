"""Processes under mpirun end with the program that started them."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from hpc.distributed.mpirun import mpi_environment, run_to_the_end
from tests.conftest import REPOSITORY


def test_nothing_that_was_started_outlives_an_interruption() -> None:
    program = (
        "import subprocess, sys; child = subprocess.Popen(['sleep', '60'], start_new_session=True);"
        "print(child.pid, flush=True); child.wait()"
    )
    read, write = os.pipe()
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 1.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_to_the_end([sys.executable, "-c", program], stdout=write)
    finally:
        signal.signal(signal.SIGALRM, before)
    child = int(os.read(read, 100))
    deadline = time.monotonic() + 120
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


KEEPALIVE = {
    "oob_tcp_keepalive_time": "5",
    "oob_tcp_keepalive_intvl": "2",
    "oob_tcp_keepalive_probes": "11",
}
SSH = "-o ConnectTimeout=40 -o ServerAliveInterval=5 -o ServerAliveCountMax=8"


def test_every_mpirun_of_ours_notices_a_cut_link_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mpirun").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    environ = mpi_environment()
    for family in ("OMPI", "PRTE"):  # Open MPI 4 reads the first, the launcher of 5 the second
        assert {name: environ[f"{family}_MCA_{name}"] for name in KEEPALIVE} == KEEPALIVE
    assert environ["OMPI_MCA_plm_rsh_args"] == environ["PRTE_MCA_plm_ssh_args"] == SSH


def test_slurm_and_the_testbed_have_the_same_settings() -> None:
    site = (REPOSITORY / "slurm/site.env").read_text()
    testbed = REPOSITORY / "tests/testbed/etc/openmpi"
    open_mpi = (testbed / "openmpi-mca-params.conf").read_text()
    launcher_of_5 = (testbed / "prte-mca-params.conf").read_text()
    for name, value in KEEPALIVE.items():
        assert f"OMPI_MCA_{name}={value} PRTE_MCA_{name}={value}\n" in site
        assert f"{name} = {value}\n" in open_mpi and f"{name} = {value}\n" in launcher_of_5
    assert f'SSH_OPTIONS="{SSH}"\n' in site
    assert f"plm_rsh_args = {SSH}\n" in open_mpi
    assert f"plm_ssh_args = {SSH}\n" in launcher_of_5
