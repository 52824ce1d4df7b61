"""The limits of a task: processor time, however busy the machine; and a far one of wall time."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pipeline.preprocessing.killable_pool import Failure, Limits, ParsePool
from tests.pipeline.preprocessing import odd_readers


def outcomes(
    work: Callable[[float], str], *tasks: float, limit: float
) -> dict[float, str | Failure]:
    with ParsePool(work, 1, Limits(seconds=limit)) as pool:
        return dict(pool.run(tasks))


def test_waiting_does_not_count_as_time_of_a_task() -> None:
    assert outcomes(odd_readers.wait, 1.5, limit=0.3) == {1.5: "done"}


def test_a_task_that_computes_for_too_long_is_killed_and_the_next_is_done() -> None:
    assert outcomes(odd_readers.compute, 60, 0, limit=0.3) == {
        60: Failure("timeout", "took more than 0.3 seconds of processor time"),
        0: "done",
    }


def test_every_task_has_the_whole_limit() -> None:
    found = outcomes(odd_readers.compute, 0.31, 0.32, 0.33, limit=0.5)
    assert found == dict.fromkeys((0.31, 0.32, 0.33), "done")


def test_a_task_that_waits_without_end_is_killed_too() -> None:
    assert outcomes(odd_readers.wait, 60, limit=0.05) == {
        60: Failure("timeout", "was not done after 1 seconds, nearly all of them spent waiting"),
    }


@pytest.fixture
def stopped_for_a_second(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every worker is stopped for a second as soon as it has a task, as on a crowded machine."""
    threads = []
    start = ParsePool.__dict__["_new_worker"]

    def new_worker(pool: ParsePool[float, str]) -> object:
        worker = start(pool)
        pid = worker._process.pid

        def stop() -> None:
            time.sleep(0.1)
            os.kill(pid, signal.SIGSTOP)
            time.sleep(1)
            os.kill(pid, signal.SIGCONT)

        threads.append(threading.Thread(target=stop))
        threads[-1].start()
        return worker

    monkeypatch.setattr(ParsePool, "_new_worker", new_worker)
    yield
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("stopped_for_a_second")
def test_a_busy_machine_rejects_no_file() -> None:
    assert outcomes(odd_readers.compute, 0.4, limit=0.8) == {0.4: "done"}
