"""Start mpirun from a command, end all its processes, and find the reason why it failed."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

PR_SET_PDEATHSIG = 1  # linux/prctl.h
STOP_SECONDS = 15.0  # that mpirun has to end its workers on all hosts
# TCP keepalive between mpirun and its daemons, in seconds: a host may be cut off for 20 s, and is
# given up after 5 + 11 x 2 s. With the defaults of Open MPI 4 and 5 it takes 300 + 9 x 20 s.
KEEPALIVE = {
    "oob_tcp_keepalive_time": "5",
    "oob_tcp_keepalive_intvl": "2",
    "oob_tcp_keepalive_probes": "11",
}
KEEPALIVE_SECONDS = 27.0  # the first, and the second for each probe
# The same for ssh, by which mpirun starts its daemons: 45 s. Without it a host that is cut off
# meanwhile makes mpirun wait for hours. After a cut of 20 s TCP may repeat a message only after 40.
SSH_OPTIONS = "-o ConnectTimeout=40 -o ServerAliveInterval=5 -o ServerAliveCountMax=8"
# The settings of the launchers of Open MPI 4 and 5, by the prefix of their environment variables.
LAUNCHER_SETTINGS = {
    "OMPI": KEEPALIVE | {"plm_rsh_args": SSH_OPTIONS},
    "PRTE": KEEPALIVE | {"plm_ssh_args": SSH_OPTIONS},
}
EXIT_PEER_LOST = 76  # sysexits' EX_PROTOCOL: the other side did not do its part
# mpirun's exit codes where a rank or a host was lost: that of a rank which noticed it, of one that
# SIGKILL ended (with Open MPI 5 also 14, MPI_ERR_UNKNOWN, of a rank whose connection to that one
# broke), and of Open MPI 4 without its daemon there: 205 where the connection broke, 255
# where the daemon was killed. slurm/requeue.sh has the same.
HOST_LOST = 205
LOST_CODES = (EXIT_PEER_LOST, 14, 128 + signal.SIGKILL, HOST_LOST, 255)
KILL_SECONDS = 2.0  # that workers left on this host have after mpirun's end


def mpi_environment() -> dict[str, str]:
    """The environment for mpirun: that of make setup's MPI if there is no other; root may run it.

    Raises ValueError if there is no mpirun.
    """
    environ = {
        f"{prefix}_MCA_{name}": value
        for prefix, settings in LAUNCHER_SETTINGS.items()
        for name, value in settings.items()
    }
    environ |= os.environ
    if shutil.which("mpirun") is None:
        environ["PATH"] = f"{environ.get('PATH', '')}:{Path(sys.executable).parent}"
        if shutil.which("mpirun", path=environ["PATH"]) is None:
            raise ValueError("there is no mpirun on the PATH: run make setup, or load the MPI")
    if os.geteuid() == 0:
        environ |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return environ


def mpirun_command(program: Sequence[str], num_ranks: int, hosts: str) -> list[str]:
    """The command line that starts a program of ours on `num_ranks` ranks of HOST:SLOTS,...

    The hosts are filled in their order, and the ranks of a host share its cores out themselves.
    """
    ranks = ["-np", str(num_ranks), "-H", hosts]
    return ["mpirun", *ranks, "--map-by", "slot", "--bind-to", "none", *program]


def run_to_the_end(
    argv: Sequence[str],
    environ: Mapping[str, str] | None = None,
    timeout: float | None = None,
    **streams: Any,
) -> int:
    """The exit code of a program that starts others; none of them is left on this host.

    Also where an exception ends the waiting. Raises subprocess.TimeoutExpired after `timeout`
    seconds. Without `environ` the program gets this process's environment.
    """
    with running(argv, environ, **streams) as process:
        return process.wait(timeout)


@contextmanager
def running(
    argv: Sequence[str], environ: Mapping[str, str] | None = None, **streams: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that starts others; the end of the block leaves none of them on this host."""
    process = subprocess.Popen(
        argv,
        env=environ,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others in order
        preexec_fn=_end_with_parent,
        **streams,
    )
    try:
        yield process
    finally:
        _stop(process)


def _end_with_parent() -> None:
    """Have the kernel send this process SIGTERM when its parent ends, even by SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End mpirun, which ends its workers on all hosts, and kill what is left on this one."""
    if process.poll() is not None:
        return
    # mpirun puts each worker into a process group of its own: list them while they are children.
    workers = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for worker in psutil.wait_procs(workers, timeout=KILL_SECONDS)[1]:
        with suppress(psutil.NoSuchProcess):
            worker.kill()


def last_error(stderr: str) -> str:
    """The last line that begins with 'error: ', without these words; else the last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip(" -\t")]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1]
