"""hpc/launch.py on two hosts: one dies twice, and the run ends as one that was moved by hand."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpc.run_folder.layout import STRETCHES
from model.networks.checkpoint import list_checkpoints
from pipeline.runtime.files import read_lines
from tests.hpc.launching import TINY_FLAGS, final_weights, losses
from tests.testbed.cluster import Testbed
from tests.testbed.processes import Command, Process, poll

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(1800)]

STEPS = 300
FLAGS = (*TINY_FLAGS, f"--steps={STEPS}", "--log-every=1", "--eval-every=50", "--save-every=10")
FLAGS += ("--keep=100", "--dropout=0.1")
PATIENCE = 300
# train.py, whose process asks itself to stop so that it ends after this step.
STOP_AT = """
import os, signal, sys
from hpc import train
last, finite = int(sys.argv[1]), train.require_finite
def require_finite(run, step, loss):
    finite(run, step, loss)
    if step == last - 1 and last < run.config.steps:
        os.kill(os.getpid(), signal.SIGUSR2)
train.require_finite = require_finite
sys.exit(train.main(sys.argv[2:]))
"""


def stretches(run: Path) -> list[dict[str, Any]]:
    """The stretches of a run so far."""
    return read_lines(run / STRETCHES) if (run / STRETCHES).exists() else []


def newest(run: Path) -> int:
    """The step of a run's newest checkpoint; 0 without one."""
    found = list_checkpoints(run)
    return int(found[-1].name[-8:]) if found else 0


def wait(command: Command, arrived: Callable[[], bool], what: str) -> None:
    """Wait until something has arrived; fail, with what was said, where the command ends before."""
    poll(lambda: arrived() or not command.is_running, PATIENCE, what)
    assert arrived(), command.stdout + command.stderr


def trainer(testbed: Testbed, name: str) -> Process:
    """The process that trains on a host."""
    found = [p for p in testbed.processes(name) if "hpc/train.py" in p.command]
    return next(p for p in found if "mpirun" not in p.command and "launch.py" not in p.command)


def by_hand(testbed: Testbed, checkout: Path, workers: int, last: int) -> None:
    """Train runs/moved on so many hosts until its step `last` is saved."""
    hosts = ",".join(("bath", "dorchester")[:workers])
    launch = ["mpirun", "-np", str(workers), "-H", hosts, "--bind-to", "none"]
    program = ["python", "-c", STOP_AT, str(last), "--run=runs/moved", *FLAGS]
    done = testbed.run("bath", [*launch, *program], cwd=checkout, timeout=PATIENCE)
    assert done.returncode == (0 if last == STEPS else 85), done.stdout + done.stderr
    assert newest(checkout / "runs/moved") == last


def test_a_run_whose_second_host_died_twice_ends_as_one_that_was_moved_by_hand(
    testbed: Testbed, checkout: Path
) -> None:
    run = checkout / "runs/both"
    launch = ["python", "hpc/launch.py", "-H", "dorchester,bath", "--check-every=1"]
    command = testbed.popen("bath", [*launch, "--", "--run=runs/both", *FLAGS], cwd=checkout)

    # Both train until a checkpoint of theirs is there; then dorchester is cut off.
    wait(command, lambda: newest(run) > 0, "nothing saved by both")
    testbed.cut("dorchester")
    wait(command, lambda: stretches(run)[-1]["workers"] == 1, "bath does not go on alone")

    # Bath alone stands still until dorchester is back, however fast this machine is.
    wait(command, lambda: newest(run) > stretches(run)[-1]["first_step"], "nothing saved by bath")
    alone = trainer(testbed, "bath")
    alone.send(signal.SIGSTOP)
    testbed.mend("dorchester")
    wait(command, lambda: "saving to grow" in command.stderr, "dorchester is not taken in")
    alone.send(signal.SIGCONT)
    wait(command, lambda: stretches(run)[-1]["workers"] == 2, "the run does not grow")
    wait(command, lambda: newest(run) > stretches(run)[-1]["first_step"], "nothing saved by both")
    testbed.cut("dorchester")
    done = command.wait(PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "launch: without dorchester: " in done.stderr
    found = stretches(run)
    assert [(s["workers"], s["hosts"][0]) for s in found] == [
        (2, "bath"),
        (1, "bath"),
        (2, "bath"),
        (1, "bath"),
    ]

    # The same moves by hand.
    testbed.mend("dorchester")
    ends = [stretch["first_step"] - 1 for stretch in found[1:]] + [STEPS]
    for stretch, last in zip(found, ends, strict=True):
        by_hand(testbed, checkout, stretch["workers"], last)
    moved = checkout / "runs/moved"
    assert [s["first_step"] for s in stretches(moved)] == [s["first_step"] for s in found]
    np.testing.assert_array_equal(losses(run), losses(moved))
    # Not equal bit for bit: what a cut interrupted was evaluated by one worker, here by two.
    np.testing.assert_allclose(losses(run, "valid"), losses(moved, "valid"), rtol=1e-6)
    expected, weights = final_weights(moved), final_weights(run)
    assert weights.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(weights[name], expected[name])
