"""A time limit that holds also where Python itself stands still."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Waits for the end of its input, which comes when the one it guards goes on, or ends.
GUARD = """
import os, select, signal, sys
seconds, guarded, line = sys.argv[1:]
if not select.select([0], [], [], float(seconds))[0]:
    os.write(2, line.encode() + b"\\n")
    os.kill(int(guarded), signal.SIGKILL)
"""


@contextmanager
def hard_limit(seconds: float, line: str) -> Iterator[None]:
    """End this process, with a line on stderr, if the lines in here take longer.

    By a process of its own: mpi4py starts MPI with Python's interpreter locked, so that no thread
    of this one could.
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
