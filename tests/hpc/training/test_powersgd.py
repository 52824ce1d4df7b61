"""Gradients that travel as thin matrices: the maths, and runs of one, two and more workers."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from hpc.config.train_config import TrainConfig
from hpc.distributed.launcher import Place
from hpc.distributed.messages import messages_of
from hpc.distributed.strategies import Single
from hpc.train import main
from hpc.training.gradient_mean import PowerSGD, gradient_mean
from hpc.training.preemption import EXIT_PREEMPTED
from model.networks.checkpoint import list_checkpoints, read_bundle
from tests.hpc.launching import TINY_FLAGS, losses, run_training
from tests.hpc.training.lives import Job, final_state

FLAGS = ("--steps=30", "--log-every=1", "--eval-every=15", "--save-every=8", "--dropout=0.3")
THIN = "--compression=powersgd:2"


def alone(*shapes: tuple[int, ...], rank: int = 2) -> PowerSGD:
    """The mean of one worker, of gradients of these shapes."""
    config = TrainConfig(compression=f"powersgd:{rank}")
    weights = [keras.Variable(np.zeros(shape, np.float32)) for shape in shapes]
    mean = gradient_mean(config, Single(Place(), config, []), weights, seed=1)
    assert isinstance(mean, PowerSGD)
    return mean


def test_a_gradient_of_the_rank_arrives_whole_and_biases_always_do() -> None:
    random = np.random.default_rng(1)
    thin = random.standard_normal([40, 2]) @ random.standard_normal([2, 30])
    bias = random.standard_normal(30)
    sent = [tf.constant(x, tf.float32) for x in (thin, bias)]
    mean = alone((40, 30), (30,))
    (got_thin, got_bias), scalars = mean(sent, tf.constant([7.0]))
    np.testing.assert_allclose(got_thin, thin, atol=1e-4)
    np.testing.assert_array_equal(got_bias, sent[1])
    assert scalars.numpy() == [7.0]


def test_what_a_step_loses_arrives_later() -> None:
    """The sum of what arrived is the sum of what was sent, less what is still to come."""
    random = np.random.default_rng(2)
    mean = alone((24, 20))
    sent, arrived = np.zeros([24, 20]), np.zeros([24, 20])
    for _ in range(10):
        gradient = random.standard_normal([24, 20]).astype(np.float32)
        [got], _ = mean([tf.constant(gradient)], tf.zeros([1]))
        assert np.linalg.matrix_rank(got.numpy(), tol=1e-3) == 2
        sent, arrived = sent + gradient, arrived + got.numpy()
    [lost] = mean.own_variables().values()
    np.testing.assert_allclose(arrived + lost.numpy(), sent, atol=1e-4)
    for _ in range(60):  # nothing new: the rest arrives
        [got], _ = mean([tf.zeros([24, 20])], tf.zeros([1]))
        arrived += got.numpy()
    np.testing.assert_allclose(arrived, sent, atol=1e-2)


def test_a_gradient_that_would_not_be_half_as_large_is_sent_whole() -> None:
    assert not alone((7, 8), (4, 100)).own_variables()
    assert messages_of("powersgd:2", [(7, 8), (4, 100)]) == [
        [tf.TensorSpec([4, 100]), tf.TensorSpec([7, 8])]
    ]
    [[whole, p], [q]] = messages_of("powersgd:2", [(40, 30), (30,)])
    assert (p.shape, whole.shape, q.shape) == ((40, 2), (30,), (30, 2))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--compression=powersgd"], "'powersgd'; give none, fp16 or powersgd:RANK, such as"),
        (["--compression=powersgd:0"], "'powersgd:0'; give none, fp16"),
        (["--compression=fp61"], "'fp61'; give none, fp16"),
        ([THIN, "--precision=mixed_float16"], "Use mixed_bfloat16 or float32"),
    ],
)
def test_other_texts_and_loss_scaling_are_refused(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags) == 1
    assert said in capsys.readouterr().err


@pytest.mark.mpi
@pytest.mark.timeout(900)
def test_runs_of_one_and_two_workers_are_one_run_and_continue_bit_for_bit(
    tiny_shards: Path, tmp_path: Path
) -> None:
    flags = (f"--data={tiny_shards}", THIN, *FLAGS)
    assert main([*TINY_FLAGS, f"--run={tmp_path / 'alone'}", *flags]) == 0
    expected = losses(tmp_path / "alone")
    for strategy in ("horovod", "multiworker"):
        run_dir = tmp_path / strategy
        done = run_training(2, f"--run={run_dir}", f"--strategy={strategy}", *flags)
        assert done.returncode == 0, done.stderr
        np.testing.assert_allclose(losses(run_dir), expected, rtol=1e-4)
    newest = read_bundle(list_checkpoints(tmp_path / "horovod")[-1])
    assert newest.workers
    assert all(rows.shape[0] == 2 for rows in newest.workers.values())
    assert any((rows[0] != rows[1]).any() for rows in newest.workers.values())

    # Stopped by a signal, and gone on with: what each worker still has to send is kept.
    stopped, moved = tmp_path / "stopped", tmp_path / "moved"
    job = Job(stopped, 2, "--strategy=horovod", *flags)
    assert job.wait_for_step(11)
    job.send(signal.SIGUSR2, rank=1)
    assert job.end() == EXIT_PREEMPTED, job.said()
    shutil.copytree(stopped, moved)
    job = Job(stopped, 2, "--strategy=horovod", *flags)
    assert job.end() == 0, job.said()
    assert final_state(stopped) == final_state(tmp_path / "horovod")

    # On one worker the run goes on with the mean of what two had to send.
    assert main([*TINY_FLAGS, f"--run={moved}", *flags]) == 0
    np.testing.assert_allclose(losses(moved), expected, rtol=1e-4)
