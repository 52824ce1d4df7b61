"""Trainings to be signalled and killed: forked from a loaded process, or under mpirun."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from hpc.run_folder.layout import METRICS
from model.networks.checkpoint import list_checkpoints, read_bundle
from pipeline.runtime.files import read_lines
from tests.hpc.launching import MPI_ENVIRONMENT, TINY_FLAGS, mpi_command

PATIENCE_SECONDS = 600.0  # for a machine that does much else


def _server() -> ForkServerContext:
    # A process forked from one that has imported TensorFlow starts in half the time.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.hpc.training.preloaded"])
    return context


def _live(flags: list[str], log: str) -> None:
    """What the forked process does; its exit code is the program's."""
    with Path(log).open("a") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    from hpc.train import main

    sys.argv = ["hpc/train.py", *flags]
    code = main(flags)
    sys.stdout.flush()
    os._exit(code)


class Running:
    """A training that goes on, in one process or several; what a test can do to it."""

    def __init__(self, run_dir: Path, log: Path | None = None) -> None:
        self.run_dir = run_dir
        self.log = log or run_dir.with_name(run_dir.name + ".log")
        self.log.touch()
        self._said_before = self.log.stat().st_size

    def exit_code(self) -> int | None:
        """The exit code, or minus the signal that ended it; None while it runs."""
        raise NotImplementedError

    def pid(self, rank: int) -> int:
        """The process of a rank."""
        raise NotImplementedError

    def send(self, number: signal.Signals, rank: int = 0) -> None:
        """Signal the process of a rank."""
        os.kill(self.pid(rank), number)

    def end(self) -> int:
        """Its exit code, when it has ended; minus the signal that ended it."""
        self.wait(lambda: False)
        code = self.exit_code()
        assert code is not None
        return code

    def wait(self, arrived: Callable[[], bool]) -> bool:
        """Wait until something has arrived; False where the training ends before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not arrived():
            if self.exit_code() is not None:
                return False
            assert time.monotonic() < deadline, f"still running: {self.said()}"
            time.sleep(0.002)
        return True

    def wait_for_step(self, step: int) -> bool:
        """Wait until the record has this step; False where the training ends before."""
        return self.wait(lambda: last_step(self.run_dir) >= step)

    def said(self) -> str:
        """All that this training has printed; the log keeps what earlier ones of the run did."""
        return self.log.read_bytes()[self._said_before :].decode()


class Life(Running):
    """One process that trains the run of a folder, from its start to its end by whatever cause."""

    def __init__(self, run_dir: Path, *flags: object, log: Path | None = None) -> None:
        super().__init__(run_dir, log)
        arguments = [*TINY_FLAGS, f"--run={run_dir}", *map(str, flags)]
        self.process: BaseProcess = _server().Process(
            target=_live, args=(arguments, str(self.log)), daemon=True
        )
        self.process.start()

    def exit_code(self) -> int | None:
        return self.process.exitcode

    def pid(self, rank: int) -> int:
        assert self.process.pid is not None
        return self.process.pid


class Job(Running):
    """The same under mpirun; its exit code is mpirun's."""

    def __init__(self, run_dir: Path, num_processes: int, *flags: object) -> None:
        super().__init__(run_dir)
        command = mpi_command(num_processes, *TINY_FLAGS, f"--run={run_dir}", *flags)
        with self.log.open("a") as stream:
            self.process = subprocess.Popen(
                command, env={**os.environ, **MPI_ENVIRONMENT}, stdout=stream, stderr=stream
            )

    def exit_code(self) -> int | None:
        return self.process.poll()

    def pid(self, rank: int) -> int:
        import psutil

        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                is_rank = child.environ().get("OMPI_COMM_WORLD_RANK") == str(rank)
                if is_rank and any("train.py" in word for word in child.cmdline()):
                    return child.pid  # not the tee of its log
        raise LookupError(f"rank {rank} is not running")


def last_step(run_dir: Path) -> int:
    """The last step that a run has recorded; 0 before the first."""
    try:
        entries = read_lines(run_dir / METRICS)
    except FileNotFoundError:  # just then replaced
        return 0
    return max((entry["step"] for entry in entries), default=0)


def history(run_dir: Path) -> list[dict[str, Any]]:
    """What a run has recorded, without what depends on the clock."""
    clock = ("time", "tokens_per_second")
    return [
        {k: v for k, v in entry.items() if k not in clock and not k.endswith("_seconds")}
        for entry in read_lines(run_dir / METRICS)  # without its checksums, which hold the time too
    ]


def final_state(run_dir: Path) -> dict[str, Any]:
    """Every bit that a run ends with: weights, optimizer, progress, record."""
    newest = read_bundle(list_checkpoints(run_dir)[-1])
    return {
        "weights": {path: array.tobytes() for path, array in newest.weights.items()},
        "optimizer": {path: array.tobytes() for path, array in newest.optimizer.items()},
        "workers": {path: array.tobytes() for path, array in newest.workers.items()},
        "progress": newest.progress,
        "history": history(run_dir),
    }
