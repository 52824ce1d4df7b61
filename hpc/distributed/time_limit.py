"""A time limit that also holds while the Python interpreter is blocked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
