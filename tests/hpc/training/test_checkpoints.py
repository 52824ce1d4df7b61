"""Checkpoints on small arrays: what is kept, what is gone back to, what is said."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc.config.train_config import TrainConfig
from model.networks.checkpoint import list_checkpoints, open_checkpoint, read_bundle
from tests.hpc.training.checkpointing import (
    SmallRun,
    flip_byte,
    saved_steps,
    state_after,
    valid_loss,
)

CONFIG = TrainConfig(save_every=3, keep=2)


@pytest.fixture
def run(tmp_path: Path) -> SmallRun:
    return SmallRun(tmp_path / "run", CONFIG)


# What is kept -----------------------------------------------------------------------------------


def test_the_newest_and_the_best_are_kept(run: SmallRun) -> None:
    run.train(16)
    best = min(range(4, 17, 4), key=valid_loss)
    assert best == 12  # evaluated and saved; older than the two newest
    run.train(14)
    assert run.marked_best() == 12
    assert saved_steps(run.run_dir) == [12, 27, 30]
    assert open_checkpoint(run.run_dir)[0].name == "step-00000012"


def test_minutes_ask_for_a_checkpoint_between_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("hpc.training.checkpoints.time.monotonic", lambda: now)
    config = TrainConfig(save_every=1000, save_minutes=10, keep=9)
    run = SmallRun(tmp_path, config, eval_every=1000)
    run.train(2)
    now += 601
    run.train(2)
    now += 599
    run.train(2)
    assert saved_steps(tmp_path) == [3]


def test_training_goes_on_while_a_checkpoint_is_written(
    run: SmallRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    written = threading.Event()
    monkeypatch.setattr(
        "hpc.training.checkpoints.write_bundle", lambda path, bundle: written.wait(300)
    )
    run.checkpoints.save(3, run.bundle)  # returns, though nothing can be written yet
    assert not run.checkpoints.due(4)
    written.set()
    run.checkpoints.wait()


def test_what_became_known_of_a_saved_step_is_saved_too(run: SmallRun) -> None:
    run.train(3)
    run.start()
    run.progress |= {"best_loss": 1.5, "best_step": 3}  # an evaluation broken off and made up for
    run.checkpoints.save(3, run.bundle)
    run.checkpoints.wait()
    run.start()
    assert run.progress == {"step": 3, "best_loss": 1.5, "best_step": 3}
    assert run.marked_best() == 3


# Damage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip_byte(path / "weights.npz", 400),
        lambda path: flip_byte(path / "optimizer.npz", -1),
        lambda path: os.truncate(path / "weights.npz", 300),
        lambda path: os.truncate(path / "bundle.json", 300),
        lambda path: (path / "bundle.json").write_text("{}"),
        lambda path: (path / "bundle.json").unlink(),
        lambda path: (path / "optimizer.npz").unlink(),
    ],
    ids=["weights", "optimizer", "cut-arrays", "cut-json", "other-json", "no-json", "no-arrays"],
)
def test_the_one_before_a_damaged_checkpoint_is_used_and_that_is_said(
    damage: Callable[[Path], object], run: SmallRun
) -> None:
    run.train(13)
    damage(list_checkpoints(run.run_dir)[-1])
    run.start()
    assert run.step == 9
    assert (run.state == state_after(9)).all()
    assert len(run.said) == 1
    assert "step-00000012" in run.said[0]
    assert "the one before it" in run.said[0]
    run.train(11)  # over the place of the damaged one
    run.start()
    assert run.step == 18
    assert (run.state == state_after(18)).all()


def test_any_flipped_byte_is_found(run: SmallRun) -> None:
    run.train(3)
    path = list_checkpoints(run.run_dir)[-1]
    whole = read_bundle(path)
    for file in sorted(path.iterdir()):
        for position in range(0, file.stat().st_size, 7):
            flip_byte(file, position, mask=4)
            try:
                found = read_bundle(path)
            except ValueError:
                found = None  # noticed; only a blank between two words of JSON means nothing
            assert found is None or found.progress == whole.progress
            assert found is None or file.name == "bundle.json"
            flip_byte(file, position, mask=4)
    assert read_bundle(path).progress == whole.progress


def test_without_a_whole_checkpoint_a_run_never_begins_anew(run: SmallRun) -> None:
    run.train(13)
    for path in list_checkpoints(run.run_dir):
        (path / "weights.npz").write_bytes(b"")
    for _ in range(2):  # also not at the second try
        with pytest.raises(ValueError, match=r"no checkpoint in .* is whole"):
            run.start()


def test_a_run_that_saved_nothing_begins(run: SmallRun) -> None:
    run.train(2)
    run.start()
    assert run.step == 0
    assert not run.said


def test_a_disk_that_cannot_be_written_is_named_at_the_next_step(run: SmallRun) -> None:
    run.train(5)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))  # as a full disk does, for any user
    try:
        run.checkpoints.save(6, run.bundle)
        deadline = time.monotonic() + 300
        with pytest.raises(OSError, match=r"step-00000006 could not be written .*earlier"):
            while time.monotonic() < deadline:
                run.checkpoints.due(7)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    run.start()
    assert run.step == 4  # the best so far
    run.train(5)
    assert saved_steps(run.run_dir) == [8, 9]
