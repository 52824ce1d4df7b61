"""The threads of this process, while some of them end."""

from __future__ import annotations

import os
import threading

from hpc.distributed.threads import keep_threads_on, own_threads


def test_no_thread_is_missed_while_others_end() -> None:
    cores = os.sched_getaffinity(0)
    for _ in range(1000):
        end_early, end_late = threading.Event(), threading.Event()
        early = [threading.Thread(target=end_early.wait) for _ in range(6)]
        late = threading.Thread(target=end_late.wait)
        for thread in (*early, late):
            thread.start()
        assert late.native_id is not None
        os.sched_setaffinity(late.native_id, {min(cores)})
        end_early.set()
        keep_threads_on(sorted(cores))
        found, kept_on = own_threads(), os.sched_getaffinity(late.native_id)
        end_late.set()
        for thread in (*early, late):
            thread.join()
        assert late.native_id in found
        assert kept_on == cores
