"""Signals that ask for a stop: heard at once, answered once. (test_resume.py has whole runs.)"""

import os
import signal
from collections.abc import Iterator

import pytest

from hpc.distributed.launcher import Place
from hpc.training.preemption import SIGNALS, StopRequest


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_a_signal_is_a_request_and_is_confirmed(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    request = StopRequest(Place())
    assert request.asked == 0
    os.kill(os.getpid(), number)
    assert request.asked == 1
    assert (
        capfd.readouterr().err
        == f"{number.name}: this run will save after its next step, and end\n"
    )


def test_a_launcher_may_repeat_itself(capfd: pytest.CaptureFixture[str]) -> None:
    request = StopRequest(Place())
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM, signal.SIGUSR2):
        os.kill(os.getpid(), number)
    assert request.asked == 1
    assert capfd.readouterr().err.count("\n") == 1


def test_a_second_ctrl_c_ends_at_once() -> None:
    StopRequest(Place())
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
