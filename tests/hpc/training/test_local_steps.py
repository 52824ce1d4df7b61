"""Workers that meet after every few steps: the rule, and runs of one, two and more workers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from hpc.config.train_config import TrainConfig
from hpc.distributed.launcher import Place
from hpc.distributed.strategies import Single
from hpc.run_folder.layout import METRICS
from hpc.train import main
from hpc.training.local_steps import LocalSteps
from hpc.training.preemption import EXIT_PREEMPTED
from model.networks.checkpoint import list_checkpoints, read_bundle
from pipeline.runtime.files import read_lines
from tests.conftest import REPOSITORY
from tests.hpc.launching import (
    MPI_ENVIRONMENT,
    TINY_FLAGS,
    losses,
    mpi_command,
    refusal,
    run_training,
)
from tests.hpc.training.lives import Life, final_state, last_step

FLAGS = ("--local-steps=4", "--steps=24", "--log-every=1", "--eval-every=10", "--save-every=6")
FLAGS += ("--dropout=0.3", "--average=0.9", "--outer-learning-rate=0.7", "--outer-momentum=0.9")
EXCHANGES = [4, 8, 12, 16, 20, 24]

# Trains, and tells at every save what the weights of each rank are.
SAYING_THE_WEIGHTS = """
import hashlib, os, sys
sys.path[0] = sys.argv.pop(1)
from hpc import train
from hpc.training.run import Run
save = Run.save
def save_and_say(run):
    digest = hashlib.sha256()
    for weight in run.steps.model.trainable_variables:
        digest.update(weight.value.numpy().tobytes())
    os.write(1, f"weights {run.progress.step} {digest.hexdigest()}\\n".encode())
    save(run)
Run.save = save_and_say
sys.exit(train.main())
"""


class OneBigram:
    """A model whose logits are its three weights, whatever it is given."""

    def __init__(self) -> None:
        self.weight = keras.Variable(np.zeros(3, np.float32), name="weight")
        self.trainable_variables = [self.weight]

    def __call__(self, tokens: tf.Tensor, dropout_seeds: None) -> tuple[tf.Tensor, None]:
        return tf.tile(self.weight.value[None, None], [*tf.unstack(tf.shape(tokens)), 1]), None


class OtherStaysWhereItIs(Single):
    """Two workers, of which the other one never changes anything."""

    def __init__(self) -> None:
        super().__init__(Place(size=2), TrainConfig(), [])


@pytest.mark.parametrize(
    ("strategy", "outer", "expected"),
    [
        (Single(Place(), TrainConfig(), []), (0.7, 0.9), [0.3325, 0.80675]),
        (OtherStaysWhereItIs(), (0.7, 0.9), [0.16625, 0.403375]),
        (OtherStaysWhereItIs(), (1.0, 0.0), [0.125, 0.25]),
    ],
)
def test_an_exchange_moves_the_weights_by_nesterov_momentum(
    strategy: Single, outer: tuple[float, float], expected: list[float]
) -> None:
    """Two rounds of two inner steps, each of which moves the weight by 1/8.

    The outer gradient g is -0.25; with another worker, which stays where it is, -0.125. By hand,
    for -0.25 at rate 0.7 and momentum 0.9: v = -0.7 g = 0.175, w = 0.9 v - 0.7 g = 0.3325; then
    v = 0.9 v - 0.7 g = 0.3325 and w = 0.3325 + 0.9 v - 0.7 g = 0.80675. At 1 and 0: w - g.
    """
    # The gradient points from token 2 to token 1 and is longer than the norm to which it is cut.
    config = TrainConfig(
        local_steps=2,
        dropout=0.0,
        clip_norm=2**0.5 / 8,
        outer_learning_rate=outer[0],
        outer_momentum=outer[1],
    )
    plan: Any = SimpleNamespace(
        manifest=SimpleNamespace(num_lanes=1),
        local_lanes=[0],
        local_batch_size=1,
        rows_per_lane=1,
        sequence_length=2,
    )
    model: Any = OneBigram()
    model.weight.assign([-1e9, 0.0, 0.0])  # token 0 is out of the question
    steps = LocalSteps(model, keras.optimizers.SGD(1.0), strategy, config, plan)
    tokens = tf.constant([[2, 2, 2]])
    found = []
    for step in range(1, 5):
        steps.train(tokens, step, 0, 0)
        found.append(model.weight.numpy()[2])
    np.testing.assert_allclose(found[1::2], expected, rtol=1e-5)
    np.testing.assert_allclose(found[::2], [0.125, expected[0] + 0.125], rtol=1e-5)


@pytest.mark.mpi
@pytest.mark.timeout(900)
def test_two_workers_meet_in_the_same_weights_and_continue_bit_for_bit(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script, flags = tmp_path / "said.py", (f"--data={tiny_shards}", *FLAGS)
    script.write_text(SAYING_THE_WEIGHTS)
    left_alone = tmp_path / "left-alone"
    train = mpi_command(2, REPOSITORY, *TINY_FLAGS, f"--run={left_alone}", *flags, script=script)
    environment = {**os.environ, **MPI_ENVIRONMENT}
    done = subprocess.run(train, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr

    # Log lines, evaluations and saves come after exchanges, when both ranks have equal weights.
    recorded = read_lines(left_alone / METRICS)
    assert [line["step"] for line in recorded if line["split"] == "train"] == EXCHANGES
    assert [line["step"] for line in recorded if line["split"] == "valid"] == [12, 20, 24]
    said = re.findall(r"weights (\d+) ([0-9a-f]{64})", done.stdout)
    assert Counter(int(step) for step, _ in said) == {8: 2, 12: 2, 20: 2, 24: 4}
    assert len(set(said)) == 4

    # The other strategy: the same run.
    other = run_training(2, f"--run={tmp_path / 'other'}", "--strategy=multiworker", *flags)
    assert other.returncode == 0, other.stderr
    for split in ("train", "valid"):
        found = losses(tmp_path / "other", split)
        np.testing.assert_allclose(found, losses(left_alone, split), rtol=1e-5)

    # From an earlier checkpoint: each worker has its own moments back.
    newest = read_bundle(list_checkpoints(left_alone)[-1])
    moments = newest.workers.values()
    assert any((rows[0] != rows[1]).any() for rows in moments)
    killed, moved = tmp_path / "killed", tmp_path / "moved"
    shutil.copytree(left_alone, killed)
    for path in list_checkpoints(killed)[1:]:
        shutil.rmtree(path)
    shutil.copytree(killed, moved)
    again = run_training(2, f"--run={killed}", *flags)
    assert again.returncode == 0, again.stderr
    assert final_state(killed) == final_state(left_alone)

    # On one worker: with the mean of the moments.
    assert main([*TINY_FLAGS, f"--run={moved}", *flags]) == 0
    assert "the checkpoint is of 2 workers: the mean of what each had" in capsys.readouterr().out
    assert len(losses(moved)) == len(EXCHANGES)


def test_a_signal_is_obeyed_at_the_next_exchange(tiny_shards: Path, tmp_path: Path) -> None:
    flags = (f"--data={tiny_shards}", "--local-steps=4", "--log-every=1", "--eval-every=400")
    life = Life(tmp_path / "run", *flags, "--steps=4000")
    assert life.wait_for_step(8)
    life.send(signal.SIGUSR2)
    assert life.end() == EXIT_PREEMPTED, life.said()
    assert "SIGUSR2: this run will save within 4 steps, and end" in life.said()
    step = last_step(tmp_path / "run")
    assert step % 4 == 0
    assert read_bundle(list_checkpoints(tmp_path / "run")[-1]).progress["step"] == step


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--local-steps=4", "--steps=31"), "Use --steps 32"),
        (("--local-steps=16", "--steps=3"), "Use --steps 16"),
        (("--local-steps=0",), "--local-steps is 0; it must be above 0"),
        (("--outer-momentum=0.9",), "there are none. Give their number, such as --local-steps 20"),
    ],
)
def test_flags_that_do_not_fit_together_are_refused(
    flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refusal(main, capsys, *flags)
