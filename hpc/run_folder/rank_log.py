"""The log of each rank, logs/rank-N.log in the run folder: what it prints, C++ libraries included.

Where a launcher started the rank, its stdout and stderr go to `tee`, which writes them into the
file and to where they went before. As a program of its own it also gets the last words of a rank
that is killed, and needs no interpreter, which a library may block.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from hpc.distributed.launcher import Place
from hpc.run_folder.layout import LOGS
from pipeline.runtime.files import new_file
from pipeline.runtime.tables import print_line

KEPT_BYTES = 2**18  # of what earlier starts wrote
SHOWN_LINES = 20
DRAIN_SECONDS = 1.0
# Slurm signals every process of a job, and the rank that saves then must still be able to print.
OUTLIVING = ("env", "--ignore-signal=HUP,INT,TERM,USR1,USR2")


class RankLog:
    """The log of this rank; nothing is written before `keep`."""

    def __init__(self) -> None:
        self._run_dir = Path()
        self._diverted: list[tuple[int, int, subprocess.Popen[bytes]]] = []

    def keep(self, run_dir: Path, place: Place) -> None:
        """Write what this process prints from now on into the log too; warn where that fails.

        A process without a launcher has a terminal of its own, and no log.
        """
        self._run_dir = run_dir
        if place.launcher == "none":
            return
        path = _path(run_dir, place.rank)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _shorten(path)
            with path.open("a") as stream:
                stream.write(_heading(place.rank, place.host, os.getpid()))
                stream.write(time.strftime(", %Y-%m-%d %H:%M:%S\n"))
            for descriptor in (1, 2):
                self._divert(descriptor, path)
        except OSError as error:
            print_line(f"warning: {place} keeps no log ({error})", sys.stderr)

    def last_words(self, facts: dict[str, Any]) -> str:
        """The last lines of another rank's log, or where it lies if it cannot be read here."""
        rank, host = facts["rank"], facts["host"]
        path = _path(self._run_dir, rank)
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        heading = _heading(rank, host, facts["pid"])
        starts = [number for number, line in enumerate(lines) if line.startswith(heading)]
        if not starts:  # none, or of another start: the hosts do not share this folder
            return f"the log of rank {rank} is {path} on {host}"
        shown = lines[starts[-1] + 1 :][-SHOWN_LINES:]
        if not shown:
            return f"rank {rank} had printed nothing ({path})"
        return "\n".join([f"the end of {path}:", *(f"    {line}" for line in shown)])

    def close(self) -> None:
        """Wait until all is written; before os._exit, else mpirun may miss the last line."""
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, terminal, _ in self._diverted:
            os.dup2(terminal, descriptor)
        deadline = time.monotonic() + DRAIN_SECONDS
        for _, _, tee in self._diverted:
            try:
                tee.wait(max(deadline - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:  # a child of this process still holds its other end
                continue

    def _divert(self, descriptor: int, path: Path) -> None:
        terminal = os.dup(descriptor)
        tee = subprocess.Popen(
            [*OUTLIVING, "tee", "--append", "--output-error=warn-nopipe", str(path)],
            stdin=subprocess.PIPE,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,  # mpirun ends all processes of the rank's group at once
        )
        assert tee.stdin is not None
        os.dup2(tee.stdin.fileno(), descriptor)
        tee.stdin.close()
        self._diverted.append((descriptor, terminal, tee))


def _path(run_dir: Path, rank: int) -> Path:
    return run_dir / LOGS / f"rank-{rank}.log"


def _heading(rank: int, host: str, pid: int) -> str:
    """How the part of a log begins that one process wrote."""
    return f"--- rank {rank} on {host}, process {pid}"


def _shorten(path: Path) -> None:
    """Keep the last lines of earlier starts only, so that restarts do not fill the disk."""
    if path.exists() and path.stat().st_size > KEPT_BYTES:
        kept = path.read_bytes()[-KEPT_BYTES:].partition(b"\n")[2]
        with new_file(path) as partial:
            partial.write_bytes(kept)
