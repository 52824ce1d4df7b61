"""Signals that ask for a stop: heard at once, answered once. (test_resume.py has whole runs.)"""

import fcntl
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpc.distributed.launcher import Place
from hpc.training.preemption import EXIT_PREEMPTED, SIGNALS, StopRequest
from model.networks.checkpoint import list_checkpoints, step_folder
from tests.hpc.launching import TINY_FLAGS, mpi_command
from tests.hpc.training.lives import last_step


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
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


def test_ctrl_c_of_mpirun_is_not_answered_with_a_promise(
    capfd: pytest.CaptureFixture[str],
) -> None:
    # mpirun hands it on as SIGTERM, and kills the ranks a second later.
    StopRequest(Place(0, 2, launcher="mpirun"))
    os.kill(os.getpid(), signal.SIGTERM)
    said = capfd.readouterr().err
    assert said == (
        "SIGTERM: this run will save after its next step, if mpirun leaves it the time (kill -USR2 "
        "to mpirun does), and end\n"
    )
    StopRequest(Place(0, 2, launcher="mpirun"))
    os.kill(os.getpid(), signal.SIGUSR2)
    assert capfd.readouterr().err == "SIGUSR2: this run will save after its next step, and end\n"


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


def test_nohup_keeps_a_run_from_the_hang_up_of_its_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as a program that nohup starts finds it
    request = StopRequest(Place())
    os.kill(os.getpid(), signal.SIGHUP)
    assert request.asked == 0
    os.kill(os.getpid(), signal.SIGTERM)
    assert request.asked == 1


@pytest.mark.slow
def test_a_run_whose_terminal_closes_saves_and_ends(tiny_shards: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()

    def control_terminal() -> None:
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    flags = (*TINY_FLAGS, f"--data={tiny_shards}", f"--run={tmp_path / 'run'}", "--steps=100000")
    process = subprocess.Popen(
        mpi_command(1, *flags, "--log-every=1"),
        env={**os.environ, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=control_terminal,
    )
    os.close(theirs)
    shown = b""
    try:
        while b"step 2/" not in shown:  # what is not read would stop the program in the end
            shown += os.read(ours, 4096)
        os.close(ours)
        assert process.wait(300) == EXIT_PREEMPTED
    finally:
        process.kill()
    assert list_checkpoints(tmp_path / "run") == [
        step_folder(tmp_path / "run", last_step(tmp_path / "run"))
    ]
