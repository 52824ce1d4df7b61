"""Runs that are stopped, killed and moved end bit for bit as runs that were left alone."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpc.config.train_config import TrainConfig
from hpc.run_folder.layout import STRETCHES, lock_run
from hpc.train import main
from hpc.training.preemption import EXIT_PREEMPTED
from model.networks.checkpoint import (
    Bundle,
    list_checkpoints,
    read_bundle,
    step_folder,
    write_bundle,
)
from pipeline.dataset.manifest import Manifest
from pipeline.runtime.files import read_lines
from tests.hpc.launching import TINY_FLAGS, losses, mpi_command
from tests.hpc.training.lives import Job, Life, Running, final_state, last_step

# Ten epochs of six steps; dropout is on.
FLAGS = ("--steps=60", "--log-every=1", "--eval-every=20", "--save-every=8", "--dropout=0.3")


@pytest.fixture(scope="module")
def left_alone(tiny_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "left-alone"
    life = Life(run_dir, f"--data={tiny_shards}", *FLAGS)
    assert life.end() == 0, life.said()
    return run_dir


def require_stopped(running: Running) -> int:
    """The step after which a training was stopped by a signal: the last one recorded and saved."""
    assert running.end() == EXIT_PREEMPTED, running.said()
    step = last_step(running.run_dir)
    newest = list_checkpoints(running.run_dir)[-1]
    assert newest == step_folder(running.run_dir, step)
    assert read_bundle(newest).progress["step"] == step
    assert running.said().count("The same command continues") == 1
    return step


@pytest.mark.slow
def test_a_signal_after_the_last_step_does_not_spoil_the_exit_code(
    tiny_shards: Path, tmp_path: Path
) -> None:
    """Slurm may warn of its time limit when all is saved, and the process is about to exit."""
    flags = (*TINY_FLAGS, f"--data={tiny_shards}", f"--run={tmp_path / 'run'}", "--steps=2")
    process = subprocess.Popen(mpi_command(1, *flags), stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert any(line.startswith("done.") for line in process.stdout)
    while process.poll() is None:
        process.send_signal(signal.SIGUSR2)
        time.sleep(0.001)
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_stopped_killed_and_moved_ends_as_one_left_alone(
    left_alone: Path, tiny_shards: Path, tmp_path: Path
) -> None:
    flags = (f"--data={tiny_shards}", *FLAGS)
    run_dir = tmp_path / "disturbed"

    life = Life(run_dir, *flags)  # stopped before its first step
    assert life.wait((run_dir / "lock").exists)
    life.send(signal.SIGUSR2)
    assert require_stopped(life) == 1

    life = Life(run_dir, *flags)  # in an evaluation
    assert life.wait_for_step(20)
    life.send(signal.SIGTERM)
    life.send(signal.SIGTERM)  # a second one is no more than the first
    assert require_stopped(life) == 20
    assert read_bundle(step_folder(run_dir, 20)).progress["evaluated"] == 0

    run_dir = run_dir.rename(tmp_path / "moved")
    life = Life(run_dir, *flags)  # in the steps
    assert life.wait_for_step(27)
    life.send(signal.SIGINT)
    assert 27 <= require_stopped(life) < 60

    life = Life(run_dir, *flags)
    assert life.wait_for_step(48)
    life.send(signal.SIGKILL)
    assert life.end() == -signal.SIGKILL

    assert Life(run_dir, *flags).end() == 0
    assert final_state(run_dir) == final_state(left_alone)
    stretches = read_lines(run_dir / STRETCHES)
    assert [stretch["first_step"] for stretch in stretches[:3]] == [1, 2, 21]
    assert len(stretches) == 5
    assert all(stretch["versions"]["tensorflow"] for stretch in stretches)
    assert all(stretch["workers"] == 1 and len(stretch["hosts"]) == 1 for stretch in stretches)


@pytest.mark.mpi
@pytest.mark.timeout(900)
def test_two_workers_killed_stopped_and_changed_over_end_as_two_left_alone(
    tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = (f"--data={tiny_shards}", *FLAGS)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    left_alone = Job(tmp_path / "left-alone", 2, *flags, "--strategy=horovod")
    run_dir = tmp_path / "disturbed"

    job = Job(run_dir, 2, *flags, "--strategy=horovod")
    assert job.wait_for_step(18)
    job.send(signal.SIGKILL, rank=1)
    assert job.end() not in (0, EXIT_PREEMPTED)
    assert "begins anew" not in job.said()  # step 8 or 16 was saved

    job = Job(run_dir, 2, *flags, "--strategy=multiworker")
    assert job.wait_for_step(26)
    job.send(signal.SIGUSR2, rank=1)
    assert 26 <= require_stopped(job) < 60

    job = Job(run_dir, 2, *flags, "--strategy=horovod")
    assert job.wait_for_step(36)
    job.send(signal.SIGTERM, rank=0)
    assert 36 <= require_stopped(job) < 60

    job = Job(run_dir, 2, *flags, "--strategy=multiworker")
    assert job.wait_for_step(45)
    job.send(signal.SIGKILL, rank=0)
    assert job.end() not in (0, EXIT_PREEMPTED)

    # All other settings are the run's own, which rank 0 alone has read.
    job = Job(run_dir, 2, f"--data={tiny_shards}", "--strategy=multiworker")
    assert job.end() == 0, job.said()
    assert left_alone.end() == 0, left_alone.said()
    assert final_state(run_dir) == final_state(left_alone.run_dir)
    strategies = [stretch["strategy"] for stretch in read_lines(run_dir / STRETCHES)]
    # Functions that autograph converted would lie here: a killed process cannot remove them.
    assert list(temporary.iterdir()) == []
    assert strategies == ["horovod", "multiworker", "horovod", "multiworker", "multiworker"]


@pytest.mark.mpi
@pytest.mark.timeout(900)
def test_the_loss_does_not_show_that_a_run_moved_from_1_to_2_to_4_workers_and_back(
    left_alone: Path, tiny_shards: Path, tmp_path: Path
) -> None:
    flags = (f"--data={tiny_shards}", *FLAGS)
    run_dir = tmp_path / "moving"
    for workers, step in ((1, 8), (2, 22), (4, 36)):
        running = Job(run_dir, workers, *flags) if workers > 1 else Life(run_dir, *flags)
        assert running.wait_for_step(step)
        running.send(signal.SIGUSR2, rank=workers - 1)
        assert step <= require_stopped(running) < 60
    assert Life(run_dir, *flags).end() == 0
    for split in ("train", "valid"):
        np.testing.assert_allclose(losses(run_dir, split), losses(left_alone, split), rtol=1e-5)
    stretches = read_lines(run_dir / STRETCHES)
    assert [stretch["workers"] for stretch in stretches] == [1, 2, 4, 1]


@pytest.mark.slow
def test_other_weights_begin_a_new_run(left_alone: Path, tiny_shards: Path, tmp_path: Path) -> None:
    flags = ("--steps=2", "--log-every=1", "--dropout=0.1", f"--from={left_alone}")
    life = Life(tmp_path / "tuned", f"--data={tiny_shards}", *flags)
    assert life.end() == 0, life.said()
    assert losses(tmp_path / "tuned")[0] < losses(left_alone)[0] - 1
    assert last_step(tmp_path / "tuned") == 2
    assert f"begins with the weights of {left_alone}" in life.said()


# A full disk ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB; skips for users who may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, *, but_bytes: int) -> Path:
    """A file that leaves so much space on its disk."""
    filler = folder / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(folder).free - but_bytes))
    return filler


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_full_disk_costs_no_checkpoint_and_the_same_command_goes_on(
    left_alone: Path, tiny_shards: Path, small_disk: Path, tmp_path: Path
) -> None:
    flags = (f"--data={tiny_shards}", *FLAGS, "--keep=1")
    run_dir = small_disk / "run"
    life = Life(run_dir, *flags, log=tmp_path / "before")
    assert life.wait_for_step(10)
    life.send(signal.SIGUSR2)
    stopped = require_stopped(life)

    filler = fill(small_disk, but_bytes=400_000)  # a checkpoint takes 570 kB
    life = Life(run_dir, *flags, log=tmp_path / "full")
    assert life.end() == 1
    error = life.said().splitlines()[-1]
    assert "could not be written (No space left on device)" in error
    assert "run the same command again" in error
    assert "Traceback" not in life.said()
    assert [read_bundle(path).progress["step"] for path in list_checkpoints(run_dir)] == [stopped]
    assert not list(run_dir.glob("checkpoints/*.partial"))

    filler.unlink()
    assert Life(run_dir, *flags, log=tmp_path / "after").end() == 0
    assert final_state(run_dir) == final_state(left_alone)


@pytest.mark.mpi
@pytest.mark.timeout(900)
@pytest.mark.parametrize("strategy", ["horovod", "multiworker"])
def test_a_full_disk_ends_both_ranks_with_one_line_and_code_1(
    strategy: str, tiny_shards: Path, small_disk: Path
) -> None:
    # Without a checkpoint on the way: hpc/results/faults.md shows how such a run goes on.
    flags = (f"--data={tiny_shards}", "--steps=100000", "--log-every=1", f"--strategy={strategy}")
    job = Job(small_disk, 2, *flags)
    assert job.wait_for_step(3)
    with suppress(OSError):  # full before it is written, since the run writes too
        fill(small_disk, but_bytes=0)
    assert job.end() == 1, job.said()  # 76 would be a lost rank, after which a launcher goes on
    assert job.said().count("could not be written (") == 1
    assert "No space left on device" in job.said()
    assert "Traceback" not in job.said()


# What is refused: in one line, before TensorFlow is loaded --------------------------------------


@pytest.fixture
def saved_run(tiny_shards: Path, tmp_path: Path) -> Path:
    """A run folder with one checkpoint, of small arrays."""
    config = TrainConfig(data=tiny_shards, preset="tiny", dropout=0.25)
    manifest = Manifest.load(tiny_shards)
    bundle = Bundle(
        model={},
        vocabulary=manifest.vocabulary,
        weights={"a": np.ones(3)},
        progress={"step": 8},
        run={
            "config": config.to_json(),
            "data": manifest.digest(),
            "global_batch_size": 64,
            "sequence_length": 32,
        },
    )
    write_bundle(step_folder(tmp_path / "run", 8), bundle)
    return tmp_path / "run"


def refusal(capsys: pytest.CaptureFixture[str], *flags: object) -> str:
    """The one line with which train.py refuses to begin."""
    assert main(list(map(str, flags))) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    return output.err


def test_flags_that_do_not_fit_the_checkpoint_are_listed(
    saved_run: Path, tiny_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--dropout=0.5", "--seed=7", "--steps=99", "--keep=9", "--log-every=3")
    line = refusal(capsys, f"--data={tiny_shards}", f"--run={saved_run}", *flags)
    assert "--dropout 0.5 (begun with 0.25)" in line
    assert "--seed 7 (begun with 1)" in line
    assert "--steps" not in line
    assert "--keep" not in line
    assert "--log-every" not in line
    assert "--preset" not in line  # which was not given


def test_a_moved_data_set_that_is_not_named_is_asked_for(
    saved_run: Path,
    tiny_shards: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # where there is no data/bach
    folder = step_folder(saved_run, 8)
    bundle = read_bundle(folder)
    bundle.run["config"]["data"] = str(tmp_path / "gone")
    write_bundle(folder, bundle)
    line = refusal(capsys, f"--run={saved_run}")
    assert f"begun with the data set {tmp_path / 'gone'}, and there is none in data/bach" in line
    assert "--data" in line


def test_a_run_does_not_go_on_with_other_data(
    saved_run: Path, tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(tiny_shards, tmp_path / "data")
    manifest = Manifest.load(data)
    (data / "manifest.json").write_text(replace(manifest, seed=5).to_json())
    line = refusal(capsys, f"--data={data}", f"--run={saved_run}")
    assert f"was begun with the data set {tiny_shards}, which had other contents" in line
    assert "--from" in line


def test_weights_of_another_vocabulary_are_refused_with_the_difference(
    saved_run: Path, tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    description = step_folder(saved_run, 8)
    bundle = read_bundle(description)
    other = replace(bundle, vocabulary={**bundle.vocabulary, "bars": 12})
    write_bundle(description, other)
    new_run = tmp_path / "new"
    line = refusal(capsys, f"--data={tiny_shards}", f"--run={new_run}", f"--from={saved_run}")
    assert "vocabulary" in line
    assert "bars 12 there, None here" in line


def test_weights_of_another_preset_are_refused(
    saved_run: Path, tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (f"--run={tmp_path / 'new'}", f"--from={saved_run}", "--preset=base")
    assert "--preset tiny" in refusal(capsys, f"--data={tiny_shards}", *flags)


def test_a_run_that_is_being_trained_is_not_trained_twice(
    saved_run: Path,
    tiny_shards: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hpc.run_folder.layout.LOCK_SECONDS", 0.1)
    (saved_run / STRETCHES).write_text(json.dumps({"hosts": ["bath", "dorchester"]}) + "\n")
    with lock_run(saved_run):
        line = refusal(capsys, f"--data={tiny_shards}", f"--run={saved_run}")
    assert "another process is training" in line
    assert "bath, dorchester" in line


def test_a_run_whose_checkpoints_are_all_damaged_is_refused(
    saved_run: Path, tiny_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (step_folder(saved_run, 8) / "weights.npz").write_bytes(b"")
    flags = [f"--data={tiny_shards}", f"--run={saved_run}", "--preset=tiny", "--dropout=0.25"]
    assert main(flags) == 1
    warning, error = capsys.readouterr().err.splitlines()
    assert "step-00000008" in warning
    assert "no checkpoint in" in error
