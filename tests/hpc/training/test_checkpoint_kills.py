"""kill -9 at every file operation of a checkpoint, and disturbances in any order."""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hpc.config.train_config import TrainConfig
from hpc.training.checkpoints import newest_bundle
from model.networks.checkpoint import list_checkpoints
from tests.hpc.training.checkpointing import SmallRun, flip_byte, saved_steps, silent, state_after

CONFIG = TrainConfig(save_every=3, keep=2)


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # only a power cut would notice
    yield


def run_in_child(work: Callable[[], None]) -> int:
    """The signal that ended a process in which `work` was done; 0 for none."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.fsync = lambda descriptor: None  # only a power cut would see the difference
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def die_at_file_operation(number: int) -> None:
    """Let this process be killed when it is about to open, rename, remove, ... for that time."""
    count = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event == "open" or event.startswith(("os.", "shutil.")):
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def die_at_file_size(size: int) -> None:
    """Let this process be killed when a file of it is about to grow beyond so many bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def require_exact_continuation(run_dir: Path, fewest_steps: int) -> None:
    """The run goes on from a state it has had, loses no more than it may, and ends as it should."""
    again = SmallRun(run_dir, CONFIG)
    assert not again.said
    assert again.step >= fewest_steps
    assert (again.state == state_after(again.step)).all()
    assert again.marked_best() == again.progress["best_step"]
    again.train(20 - again.step)
    assert (again.state == state_after(20)).all()
    assert saved_steps(run_dir) == [12, 15, 18]
    assert again.marked_best() == 12
    assert not list((run_dir / "checkpoints").glob("*.partial"))


def test_a_kill_at_any_file_operation_loses_one_interval_at_most(tmp_path: Path) -> None:
    SmallRun(tmp_path / "begun", CONFIG).train(8)

    def life(run_dir: Path, number: int) -> None:
        run = SmallRun(run_dir, CONFIG)
        die_at_file_operation(number)
        run.train(2)  # saves step 9, and forgets step 4
        run.train(3)  # saves step 12, which is the best

    for number in itertools.count(1):
        run_dir = shutil.copytree(tmp_path / "begun", tmp_path / str(number))
        killed = run_in_child(partial(life, run_dir, number)) == signal.SIGKILL
        require_exact_continuation(run_dir, fewest_steps=8)
        shutil.rmtree(run_dir)
        if not killed:  # that life had fewer operations
            break
    assert number > 40


@pytest.mark.parametrize("size", [0, 1, 30, 130, 200, 330, 500, 800])
def test_a_kill_within_the_writing_of_a_file_loses_one_interval_at_most(
    size: int, tmp_path: Path
) -> None:
    SmallRun(tmp_path, CONFIG).train(8)

    def life() -> None:
        run = SmallRun(tmp_path, CONFIG)
        die_at_file_size(size)
        run.train(2)

    assert run_in_child(life) == signal.SIGXFSZ
    assert newest_bundle(tmp_path, silent).progress["step"] == 8  # type: ignore[union-attr]
    require_exact_continuation(tmp_path, fewest_steps=8)


# All together -----------------------------------------------------------------------------------


class Killed(BaseException):
    """Raised in place of a kill, so that thousands of them fit into a second."""


class Disturbances(RuleBasedStateMachine):
    """Train, kill, damage, move, change workers, in any order: the states stay those of peace."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.moves = 0
        self.run = SmallRun(self.folder / "run", CONFIG)
        self.whole: list[int] = []  # steps of undamaged checkpoints

    def teardown(self) -> None:
        self.run.start()
        self.run.train(max(40 - self.run.step, 0))
        assert (self.run.state == state_after(self.run.step)).all()
        shutil.rmtree(self.folder)

    @rule(num_steps=st.integers(1, 7))
    def train(self, num_steps: int) -> None:
        self.run.train(num_steps)
        self.whole = saved_steps(self.run.run_dir)

    @rule(num_steps=st.integers(3, 7), operations=st.integers(1, 60))
    def train_and_kill(self, num_steps: int, operations: int) -> None:
        before = self.run.step
        with kill_in(operations):
            self.run.train(num_steps)
        self.run.start()
        assert self.run.step >= before - before % CONFIG.save_every or not self.whole
        self.whole = saved_steps(self.run.run_dir)

    @rule(operations=st.integers(1, 30))
    def kill_at_the_start(self, operations: int) -> None:
        with kill_in(operations):
            self.run.start()
        self.run.start()
        assert self.run.step == max(self.whole, default=0)

    @precondition(lambda self: len(self.whole) >= 2)
    @rule(
        file=st.sampled_from(["weights.npz", "optimizer.npz", "bundle.json"]),
        position=st.integers(0, 10_000),
        cut=st.booleans(),
        operations=st.integers(1, 30),
    )
    def damage_newest_and_kill_at_the_start(
        self, file: str, position: int, cut: bool, operations: int
    ) -> None:
        path = list_checkpoints(self.run.run_dir)[-1] / file
        if cut:
            os.truncate(path, position % path.stat().st_size)
        else:
            flip_byte(path, position, mask=128)
        self.whole.pop()
        with kill_in(operations):
            self.run.start()
        self.run.start()
        assert self.run.step == self.whole[-1]

    @rule(workers=st.sampled_from([1, 2, 4]))
    def change_workers(self, workers: int) -> None:
        self.run.workers = workers
        self.run.start()

    @rule()
    def move_to_another_folder(self) -> None:
        self.moves += 1
        moved = self.run.run_dir.rename(self.folder / f"run-{self.moves}")
        self.run.run_dir = moved
        self.run.start()

    @invariant()
    def state_is_that_of_an_undisturbed_run(self) -> None:
        assert (self.run.state == state_after(self.run.step)).all()

    @invariant()
    def as_many_are_kept_as_asked_for(self) -> None:
        assert len(saved_steps(self.run.run_dir)) <= CONFIG.keep + 1
        assert not list(self.folder.glob("*/checkpoints/*.partial"))
        assert self.run.marked_best() in (0, self.run.progress["best_step"])


class kill_in:  # noqa: N801, a statement: with kill_in(3): ...
    """Raise Killed at the given file operation of the enclosed lines, on whichever thread."""

    left = 0
    hooked = False

    def __init__(self, operations: int) -> None:
        self.operations = operations

    def __enter__(self) -> None:
        if not kill_in.hooked:
            sys.addaudithook(kill_in._watch)
            kill_in.hooked = True
        kill_in.left = self.operations

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        kill_in.left = 0
        return kind is Killed

    @staticmethod
    def _watch(event: str, arguments: tuple[object, ...]) -> None:
        if kill_in.left and (event == "open" or event.startswith(("os.", "shutil."))):
            kill_in.left -= 1
            if not kill_in.left:
                raise Killed


def test_disturbances_in_any_order_change_nothing() -> None:
    run_state_machine_as_test(
        Disturbances,
        settings=settings(max_examples=25, stateful_step_count=12, deadline=None),
    )
