"""Same maths whatever the strategy, with the real MPI, Horovod and MultiWorkerMirroredStrategy."""

import json
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from hpc.distributed.mpirun import EXIT_PEER_LOST
from hpc.distributed.processor import processor
from hpc.train import main
from hpc.training.preemption import EXIT_PREEMPTED
from model.networks.checkpoint import list_checkpoints
from tests.conftest import REPOSITORY
from tests.hpc.launching import (
    MPI_ENVIRONMENT,
    TINY_FLAGS,
    final_weights,
    losses,
    mpi_command,
    run_training,
)

pytestmark = pytest.mark.mpi

FLAGS = ("--steps=50", "--log-every=1", "--eval-every=25", "--dropout=0")
DROPOUT = ("--dropout=0.4", "--steps=12")
NO_PROXY_THERE = "http://127.0.0.1:9"  # gRPC would wait for an answer for ever
STRATEGIES = ["horovod", "multiworker"]  # those of several processes


def train(run_dir: Path, data: Path, size: int, *flags: str) -> Path:
    flags = (f"--data={data}", f"--run={run_dir}", *FLAGS, *flags)
    if size == 1:  # in this process, which has TensorFlow loaded
        assert main([*TINY_FLAGS, *flags]) == 0
    else:
        done = run_training(size, *flags)
        assert done.returncode == 0, done.stdout + done.stderr
    return run_dir


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "alone", tiny_shards, 1)


@pytest.fixture(scope="module")
def alone_with_dropout(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "alone", tiny_shards, 1, *DROPOUT)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_losses_and_weights_are_those_of_one_process(
    strategy: str, size: int, alone: Path, tiny_shards: Path, tmp_path: Path
) -> None:
    together = train(tmp_path / "run", tiny_shards, size, f"--strategy={strategy}")
    for split, count in (("train", 50), ("valid", 2)):
        found, expected = losses(together, split), losses(alone, split)
        assert len(expected) == count
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    weights = final_weights(together)
    for path, expected in final_weights(alone).items():
        np.testing.assert_allclose(weights[path], expected, atol=1e-4, err_msg=path)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("strategy", ["auto", *STRATEGIES])
def test_every_strategy_starts_at_the_flags_that_a_user_does_not_give(
    strategy: str, size: int, tiny_shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/bach").symlink_to(tiny_shards)
    done = subprocess.run(
        mpi_command(size, f"--strategy={strategy}", "--steps=1"),
        cwd=tmp_path,
        env={**os.environ, **MPI_ENVIRONMENT, "http_proxy": NO_PROXY_THERE},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [run_dir] = (tmp_path / "runs").iterdir()
    assert list(losses(run_dir, "valid").shape) == [1]


@contextmanager
def two_workers(
    data: Path, run: Path, *flags: str
) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """mpirun with two ranks that have begun to train, and the process of rank 1."""
    flags = (f"--data={data}", f"--run={run}", "--steps=1000000", "--log-every=1", *flags)
    mpirun = subprocess.Popen(
        mpi_command(2, *TINY_FLAGS, *flags),
        env={**os.environ, **MPI_ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 600
        while num_lines(run) < 3:
            assert mpirun.poll() is None, mpirun.communicate()
            assert time.monotonic() < until, "no step taken"
            time.sleep(0.2)
        [rank_1] = [
            process
            for process in psutil.Process(mpirun.pid).children(recursive=True)
            if process.environ().get("OMPI_COMM_WORLD_RANK") == "1"
            and any("train.py" in word for word in process.cmdline())  # its log's tee is another
        ]
        yield mpirun, rank_1
    finally:
        mpirun.kill()
        mpirun.wait()


def num_lines(run: Path) -> int:
    metrics = run / "metrics.jsonl"
    return metrics.read_text().count("\n") if metrics.is_file() else 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_stall_of_20_seconds_is_survived(
    strategy: str, tiny_shards: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with two_workers(tiny_shards, run, f"--strategy={strategy}") as (mpirun, rank_1):
        rank_1.suspend()
        time.sleep(20)
        rank_1.resume()
        time.sleep(3)
        before = num_lines(run)
        time.sleep(12)  # the strategy's own judgement would come by now
        assert num_lines(run) > before
        mpirun.send_signal(signal.SIGUSR2)
        output, errors = mpirun.communicate(timeout=300)
        assert mpirun.returncode == EXIT_PREEMPTED, output + errors


def test_a_worker_that_hangs_is_named_after_longer_than_tensorflow_would_wait(
    tiny_shards: Path, tmp_path: Path
) -> None:
    flags = "--strategy=multiworker", "--timeout=44"
    with two_workers(tiny_shards, tmp_path / "run", *flags) as (mpirun, rank_1):
        rank_1.suspend()
        output, errors = mpirun.communicate(timeout=300)
        assert mpirun.returncode == EXIT_PEER_LOST, output + errors
        # Woken by mpirun to be ended, rank 1 may repeat what rank 0 said of it.
        lines = [line for line in errors.splitlines() if line.startswith("error:")]
        assert lines, errors
        assert all(line.startswith("error: rank 1 on ") for line in lines), errors
        assert "has been silent for 2" in lines[0]
        assert lines[0].endswith("The same command begins anew: there is no checkpoint yet")
        assert "Traceback" not in errors


def test_a_signal_to_every_process_of_the_job_as_slurm_sends_it_saves(
    tiny_shards: Path, tmp_path: Path
) -> None:
    with two_workers(tiny_shards, tmp_path / "run") as (mpirun, _):
        for process in psutil.Process(mpirun.pid).children(recursive=True):
            process.terminate()  # the programs that write the ranks' logs too
        output, errors = mpirun.communicate(timeout=300)
        assert mpirun.returncode == EXIT_PREEMPTED, output + errors
        assert "asked to stop: saved" in output + errors
        assert list_checkpoints(tmp_path / "run")


def test_what_no_rank_can_do_is_said_once(tiny_shards: Path, tmp_path: Path) -> None:
    done = run_training(3, f"--data={tiny_shards}", f"--run={tmp_path / 'run'}")
    assert done.returncode == 1
    assert "error: rank 0 on " in done.stderr
    assert done.stderr.count("do not divide the 4 lanes") == 1, done.stderr
    assert "SIGTERM" not in done.stderr  # which mpirun sends to the others


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_masks_of_dropout_do_not_depend_on_the_workers_either(
    strategy: str, alone_with_dropout: Path, tiny_shards: Path, tmp_path: Path
) -> None:
    together = train(tmp_path / "run", tiny_shards, 2, *DROPOUT, f"--strategy={strategy}")
    np.testing.assert_allclose(losses(together), losses(alone_with_dropout), rtol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("flags", "tolerance"),
    [
        # Parts of the batch: the same sums in another order.
        (("--accumulation=2",), 1e-5),
        # 11 bits of every gradient: the losses drift apart, slowly.
        (("--compression=fp16",), 2e-3),
        # 8 bits in the products, here of one process too: the strategies must not add to that.
        (("--precision=mixed_bfloat16", "--compression=fp16", "--accumulation=2"), 3e-2),
    ],
)
def test_accumulation_compression_and_precision_stay_near_the_plain_run(
    strategy: str,
    flags: tuple[str, ...],
    tolerance: float,
    alone: Path,
    tiny_shards: Path,
    tmp_path: Path,
) -> None:
    together = train(tmp_path / "run", tiny_shards, 2, *flags, f"--strategy={strategy}")
    np.testing.assert_allclose(losses(together), losses(alone), rtol=tolerance)


def test_horovod_tells_its_settings_and_writes_its_timeline_where_it_says(
    tiny_shards: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    flags = ("--steps=4", "--log-every=2", "--strategy=horovod", "--timeline", "--cycle-time=2")
    done = run_training(2, f"--data={tiny_shards}", f"--run={run_dir}", *flags)
    assert done.returncode == 0, done.stderr
    (told,) = [line for line in done.stdout.splitlines() if "collectives:" in line]
    for setting in ("Horovod over MPI, which yields", "cycle 2", "128 MiB (default)", "nice 10"):
        assert setting in told
    recorded = (run_dir / "horovod-timeline.json").read_text().rstrip().rstrip(",")
    events = json.loads(recorded if recorded.endswith("]") else recorded + "]")
    names = {event.get("name") for event in events}
    assert "NEGOTIATE_ALLREDUCE" in names
    assert "MPI_ALLREDUCE" in names

    # A step's gradient leaves in two groups, and never in one buffer: logits' weights and bias, the
    # LSTM's bias and recurrent kernel with the scalars; then its kernel and the embedding.
    tensors = {
        event["pid"]: event["args"].get("name", "")
        for event in events
        if event.get("name") == "process_name"
    }
    fused = [
        tensors[event["pid"]] for event in events if event.get("name") == "MEMCPY_IN_FUSION_BUFFER"
    ]
    assert Counter(name.rpartition("of")[2] for name in fused) == {"5": 5 * 4, "2": 2 * 4}


def test_horovods_timeline_is_refused_where_another_strategy_runs(
    tiny_shards: Path, tmp_path: Path
) -> None:
    done = run_training(1, f"--data={tiny_shards}", f"--run={tmp_path}/run", "--timeline")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "--timeline is a record that only Horovod makes, and the strategy is single" in line


def test_horovods_thread_gives_way_and_stays_on_the_cores_of_its_own_worker() -> None:
    done = subprocess.run(
        mpi_command(2, script="tests/hpc/distributed/horovod_threads.py"),
        env={**os.environ, **MPI_ENVIRONMENT, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    workers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(workers) == 2
    for worker in workers:
        assert worker["of_horovod"]
        # One computes while the other begins to send what has been computed.
        assert worker["of_tensorflow"] == max(len(worker["cores"]), 2)
        for niceness, cores in worker["of_horovod"]:
            assert (niceness, cores) == (10, worker["cores"])
        assert all(set(cores) <= set(worker["cores"]) for _, cores in worker["others"])
    if len(os.sched_getaffinity(0)) > 1:
        assert not set(workers[0]["cores"]) & set(workers[1]["cores"])


def test_workers_on_different_devices_are_named(tiny_shards: Path, tmp_path: Path) -> None:
    flags = (*TINY_FLAGS, f"--data={tiny_shards}", f"--run={tmp_path / 'run'}", "--dry-run")
    done = subprocess.run(
        mpi_command(2, *flags, script="tests/hpc/distributed/other_device.py"),
        env={**os.environ, **MPI_ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = f"{socket.gethostname()}: CPU ({processor()}) + NVIDIA H100 80GB HBM3"
    line = f"warning: the workers differ, and the slowest sets the pace: {found}"
    assert " ".join(done.stdout.split()).count(line) == 1  # broken for mpirun's terminal
