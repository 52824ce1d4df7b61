"""Time limits: that hold while the Python interpreter is blocked, and longer on a busy machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Of the main thread: nanoseconds on a core, nanoseconds of waiting for one, number of turns (Linux,
# Documentation/scheduler/sched-stats.rst).
SCHEDSTAT = Path("/proc/self/schedstat")
LONGEST_STRETCH = 5.0
# Waits for the end of its input, which comes when the guarded process leaves the block, or ends.
GUARD = """
import os, select, signal, sys
seconds, guarded, line = sys.argv[1:]
if not select.select([0], [], [], float(seconds))[0]:
    os.write(2, line.encode() + b"\\n")
    os.kill(int(guarded), signal.SIGKILL)
"""


@contextmanager
def hard_limit(seconds: float, line: str) -> Iterator[None]:
    """End this process, with a line on stderr, if the block takes longer than `seconds`.

    Another process keeps the time: mpi4py holds the interpreter's lock while it starts MPI, so that
    no thread of this process can run.
    """
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", GUARD, str(seconds), str(os.getpid()), line],
        stdin=subprocess.PIPE,
    )
    assert guard.stdin is not None
    try:
        yield
    finally:
        guard.stdin.close()
        guard.wait()


def stretched(seconds: float) -> float:
    """The seconds for work of this process that takes `seconds` at most on an idle machine.

    So much longer as this process has taken so far because other programs had the core; at most
    five times as long.
    """
    try:
        ran, waited, _ = map(int, SCHEDSTAT.read_text().split())
    except (OSError, ValueError):  # a kernel without these numbers
        return seconds
    return seconds * min(1 + waited / max(ran, 1), LONGEST_STRETCH)
