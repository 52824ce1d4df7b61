"""Starting mpirun from a command, ending all its processes, and the reason why it failed."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

PR_SET_PDEATHSIG = 1  # linux/prctl.h

STOP_SECONDS = 15.0


def last_error(complaints: str) -> str:
    """The last line that begins as our errors do, without that word; else the last line."""
    lines = [line.strip() for line in complaints.splitlines() if line.strip(" -\t")]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1]


def run_to_the_end(argv: Sequence[str], **streams: Any) -> int:
    """The exit code of a program; whatever happens here meanwhile, none of its processes stays."""
    process = subprocess.Popen(
        argv,
        env=mpi_environment(),
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C comes to us alone, and we end it in order
        preexec_fn=_end_with_parent,
        **streams,
    )
    try:
        return process.wait()
    finally:
        _stop(process)


def mpi_environment() -> dict[str, str]:
    """The environment for mpirun: that of make setup's MPI if there is no other; root may run it.

    Raises ValueError without an mpirun.
    """
    environ = dict(os.environ)
    if shutil.which("mpirun") is None:
        environ["PATH"] = f"{environ.get('PATH', '')}:{Path(sys.executable).parent}"
        if shutil.which("mpirun", path=environ["PATH"]) is None:
            raise ValueError("there is no mpirun on the PATH: run make setup, or load the MPI")
    if os.geteuid() == 0:
        environ |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return environ


def _end_with_parent() -> None:
    """Have the kernel send this process SIGTERM when its parent ends, even by SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End mpirun, which ends its workers on all hosts; what is left here after that is killed."""
    if process.poll() is not None:
        return
    # mpirun puts each worker into a process group of its own.
    workers = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for worker in psutil.wait_procs(workers, timeout=2)[1]:
        worker.kill()
