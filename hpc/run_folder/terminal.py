"""What the user of a run sees: short lines, and below them a bar with the time that is left."""

from __future__ import annotations

import os
import stat
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TextIO

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hpc.distributed.launcher import Place
from hpc.distributed.processor import MPIRUN
from pipeline.runtime.tables import broken

CLEAR_LINE = "\r\x1b[K"
CANNOT_CLEAR = ("", "dumb", "unknown")  # values of TERM
BAR_SECONDS = 0.5  # between two drawings


def open_terminal(place: Place) -> TextIO | None:
    """The terminal that shows what this process prints; None where that is not known.

    A rank's output goes through mpirun: the terminal is the one of mpirun, which the ranks on its
    host find. The others cannot know whether there is one.
    """
    if os.environ.get("TERM", "") in CANNOT_CLEAR or stat.S_ISREG(os.fstat(1).st_mode):
        return None
    try:
        if place.launcher == "none":
            descriptor = os.dup(1)
        else:
            parents = psutil.Process().parents()
            mpirun = next(parent.pid for parent in parents if parent.name() in MPIRUN)
            output = Path(f"/proc/{mpirun}/fd/1")
            if not stat.S_ISCHR(output.stat().st_mode):
                return None
            descriptor = os.open(output, os.O_WRONLY | os.O_NOCTTY)
    except (OSError, psutil.Error, StopIteration):
        return None
    if os.isatty(descriptor):
        return os.fdopen(descriptor, "w", encoding=sys.stdout.encoding)
    os.close(descriptor)
    return None


class Terminal:
    """Lines on standard output and, where a terminal shows them, a bar below them."""

    def __init__(self, place: Place, *, step: int, total_steps: int) -> None:
        """Draw nothing yet. The run begins or continues after `step`."""
        self._screen = open_terminal(place)
        # Not rich's live display: it hides the cursor, for good after a kill, and under mpirun its
        # output would also lie in the log of the rank.
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(file=self._screen, force_terminal=True) if self._screen else None,
            auto_refresh=False,
            speed_estimate_period=float("inf"),
        )
        self._task = self._progress.add_task("training", total=total_steps, completed=step)
        self._drawn = time.monotonic()

    @property
    def columns(self) -> int | None:
        """The width of the terminal; None without one, and where it says 0, as mpirun's do."""
        try:
            width = os.get_terminal_size(self._screen.fileno()).columns if self._screen else 0
            return width or None
        except OSError:  # it was closed
            self._screen = None
            return None

    @property
    def time_left(self) -> str:
        """The time that the remaining steps will take, as '0:12:30'; '' where it is not known."""
        (task,) = self._progress.tasks
        seconds = task.time_remaining
        return "" if seconds is None else str(timedelta(seconds=round(seconds)))

    def say(self, line: str) -> None:
        """Print a line, broken between words where the terminal is narrower."""
        self._write(CLEAR_LINE)
        print(broken(line, self.columns), flush=True)
        self._drawn = time.monotonic()  # mpirun may show the line a moment later

    def finish_step(self, step: int) -> None:
        """Count a step that is done, and draw the bar if some time has passed."""
        self._progress.update(self._task, completed=step)
        if time.monotonic() - self._drawn < BAR_SECONDS or not (columns := self.columns):
            return
        console = self._progress.console
        console.width = columns - 1
        with console.capture() as bar:
            console.print(self._progress.get_renderable(), end="")
        # The cursor goes back to the beginning, where other programs' lines cover the bar.
        self._write(f"{CLEAR_LINE}{bar.get().rstrip()}\r")
        self._drawn = time.monotonic()

    def close(self) -> None:
        """Take the bar away."""
        self._write(CLEAR_LINE)
        if self._screen:
            self._screen.close()
            self._screen = None

    def _write(self, text: str) -> None:
        try:
            if self._screen:
                self._screen.write(text)
                self._screen.flush()
        except OSError:  # the terminal was closed; training goes on
            self._screen = None
