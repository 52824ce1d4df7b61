"""Train in processes of their own, from a notebook or another program."""

from __future__ import annotations

import os
import subprocess
import sys

from hpc.distributed.hosts import parse_hosts
from hpc.distributed.mpirun import last_error, mpi_environment, mpirun_command, running
from pipeline.runtime.provenance import REPOSITORY


def train_in_processes(*flags: str, hosts: str = "") -> None:
    """Run hpc/train.py with these flags to its end, and print its lines as they come.

    In one process here, or with `hosts`, such as 'localhost:2' or 'dorchester,bath', under mpirun
    with a process for each slot. An interrupt ends all processes. Raises RuntimeError with the
    run's last error line if the training fails, ValueError if there is no mpirun.
    """
    command = [sys.executable, str(REPOSITORY / "hpc/train.py"), *flags]
    environ = {**os.environ}
    if hosts:
        command = mpirun_command(command, len(parse_hosts(hosts)), hosts)
        environ = mpi_environment()
    environ["FORCE_COLOR"] = ""  # a notebook sets it, and a progress bar would fill pages
    lines = []
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with running(command, environ, **streams) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(str(line))
        code = process.wait()
    if code:
        raise RuntimeError(last_error("".join(lines)) or f"the training ended with code {code}")
