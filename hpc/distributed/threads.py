"""The threads of this process: which there are, and on which cores they run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

MOST_READINGS = 100
BACKGROUND_NICENESS = 10  # a tenth of a core that computes: 9.7 % by Linux's weights


def own_threads() -> set[int]:
    """The ids of all threads of this process.

    If a thread ends while Linux lists them, the list stops there and lacks later threads. So the
    list is read again until it has as many threads as Linux counted just before, which a system
    that counts otherwise may never reach.
    """
    found: set[int] = set()
    for _ in range(MOST_READINGS):
        status = Path("/proc/self/status").read_text()
        count = int(status.split("Threads:")[1].split()[0])
        found = {int(thread.name) for thread in Path("/proc/self/task").iterdir()}
        if len(found) == count:
            break
    return found


def keep_threads_on(cores: Sequence[int]) -> None:
    """Let the threads of this process run on these cores only."""
    for thread in own_threads():
        with suppress(ProcessLookupError):  # it has ended since
            os.sched_setaffinity(thread, cores)


def keep_off_the_compute(thread: int, cores: Sequence[int]) -> None:
    """Give a thread that waits by spinning a low priority, on its own worker's cores.

    Horovod's thread polls MPI on the cores that compute, and would otherwise take half of one. At
    the lowest priority it would send hardly anything while they compute. On another worker's core
    it would delay that worker's step, and so every worker's, since all wait for the slowest.
    """
    with suppress(ProcessLookupError):  # a thread that was needed only at the start has ended
        os.setpriority(os.PRIO_PROCESS, thread, BACKGROUND_NICENESS)
        os.sched_setaffinity(thread, cores)
