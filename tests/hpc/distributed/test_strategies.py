"""Same maths whatever the strategy, with the real MPI, Horovod and MultiWorkerMirroredStrategy."""

import json
import os
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from hpc.distributed.strategies import own_threads
from hpc.train import main
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
WORKERS = [("horovod", 2), ("multiworker", 2), ("horovod", 4), ("multiworker", 4)]


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


@pytest.mark.parametrize(("strategy", "size"), WORKERS)
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
@pytest.mark.parametrize("strategy", ["auto", "horovod", "multiworker"])
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


@pytest.mark.parametrize("strategy", ["horovod", "multiworker"])
def test_the_masks_of_dropout_do_not_depend_on_the_workers_either(
    strategy: str, alone_with_dropout: Path, tiny_shards: Path, tmp_path: Path
) -> None:
    together = train(tmp_path / "run", tiny_shards, 2, *DROPOUT, f"--strategy={strategy}")
    np.testing.assert_allclose(losses(together), losses(alone_with_dropout), rtol=1e-5)


@pytest.mark.parametrize("strategy", ["horovod", "multiworker"])
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
    for setting in ("Horovod over MPI, which yields", "cycle 2", "128 MiB (default)", "nice 19"):
        assert setting in told
    recorded = (run_dir / "horovod-timeline.json").read_text().rstrip().rstrip(",")
    events = json.loads(recorded if recorded.endswith("]") else recorded + "]")
    names = {event.get("name") for event in events}
    assert "NEGOTIATE_ALLREDUCE" in names
    assert "MPI_ALLREDUCE" in names


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
        for niceness, cores in worker["of_horovod"]:
            assert (niceness, cores) == (19, worker["cores"])
        assert all(set(cores) <= set(worker["cores"]) for _, cores in worker["others"])
    if len(os.sched_getaffinity(0)) > 1:
        assert not set(workers[0]["cores"]) & set(workers[1]["cores"])


def test_own_threads_lacks_none_while_others_end() -> None:
    for _ in range(1000):
        end_early, end_late = threading.Event(), threading.Event()
        early = [threading.Thread(target=end_early.wait) for _ in range(6)]
        late = threading.Thread(target=end_late.wait)
        for thread in (*early, late):
            thread.start()
        end_early.set()
        found = own_threads()
        end_late.set()
        for thread in (*early, late):
            thread.join()
        assert late.native_id in found
