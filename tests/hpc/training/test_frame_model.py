"""The frame model through train.py: it goes on bit for bit, and its averages are what is used."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from hpc.train import main
from model.composing.composer import Composer
from model.networks.checkpoint import open_checkpoint, read_bundle, step_folder
from model.release import release
from pipeline.dataset.manifest import FILE_NAME, Manifest
from pipeline.dataset.records import write_shard
from pipeline.vocabulary.grid import GridVocabulary
from tests.hpc.launching import losses, run_training

VOCABULARY = GridVocabulary(lowest_pitch=55, highest_pitch=71, voices=2)
FLAGS = (
    *("--model=frames", "--preset=tiny", "--strategy=single", "--sequence-length=60"),
    *("--global-batch-size=4", "--log-every=1", "--eval-every=3", "--average=0.9"),
)
# Whole pieces of different lengths: each worker cuts its batches to a longest piece of its own.
WHOLE_PIECES = ("--windows=pieces", "--sequence-length=auto", "--recurrent-dropout=0.3")


@pytest.fixture(scope="module")
def duets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of scales in two voices, in two lanes."""
    folder = tmp_path_factory.mktemp("duets")
    shards = []
    for split, count in (("train", 8), ("valid", 2)):
        for lane in range(2):
            pieces = []
            for number in range(lane, count, 2):
                tune = (60 + (np.arange(40 - 3 * number) // 2 + number) % 7).repeat(2)
                frames = np.stack([tune, np.roll(tune, 4) - 4], 1)
                pieces.append((f"{split}-{number}", VOCABULARY.encode_frames(frames)))
            shards.append(write_shard(folder / f"{split}-{lane}.tfrecord", split, pieces))
    manifest = Manifest(VOCABULARY.to_dict(), 2, 0, {}, tuple(shards))
    (folder / FILE_NAME).write_text(manifest.to_json())
    return folder


@pytest.fixture(scope="module")
def finished(duets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "finished"
    assert train(run, duets) == 0
    return run


def train(run: Path, data: Path) -> int:
    return main([*FLAGS, f"--data={data}", f"--run={run}", "--steps=6", "--save-every=3"])


@pytest.mark.slow
def test_it_learns_and_a_killed_run_ends_bit_for_bit_as_one_left_alone(
    finished: Path, duets: Path, tmp_path: Path
) -> None:
    trained = losses(finished)
    assert np.isfinite(trained).all()
    assert trained[-1] < trained[0]

    killed = tmp_path / "killed"
    shutil.copytree(step_folder(finished, 3), step_folder(killed, 3))
    assert train(killed, duets) == 0
    ends = [read_bundle(step_folder(run, 6)) for run in (finished, killed)]
    for kind in ("weights", "optimizer"):
        one, other = (getattr(end, kind) for end in ends)
        assert one.keys() == other.keys()
        for path, values in one.items():
            np.testing.assert_array_equal(values, other[path], err_msg=path)


@pytest.fixture(scope="module")
def one_worker(duets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run on whole pieces that two workers must equal."""
    run = tmp_path_factory.mktemp("runs") / "one"
    flags = [*FLAGS, f"--data={duets}", "--steps=6", *WHOLE_PIECES]
    assert main([*flags, f"--run={run}"]) == 0
    return run


@pytest.mark.mpi
@pytest.mark.parametrize("strategy", ["horovod", "multiworker"])
def test_two_workers_train_it_as_one_does(
    strategy: str, one_worker: Path, duets: Path, tmp_path: Path
) -> None:
    flags = [*FLAGS, f"--data={duets}", "--steps=6", *WHOLE_PIECES]
    done = run_training(2, *flags, f"--run={tmp_path / 'two'}", f"--strategy={strategy}")
    assert done.returncode == 0, done.stdout + done.stderr
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(one_worker), rtol=1e-5)
    one, two = (read_bundle(step_folder(run, 6)).weights for run in (one_worker, tmp_path / "two"))
    for path, values in one.items():  # the averages
        np.testing.assert_allclose(two[path], values, rtol=1e-4, atol=1e-5, err_msg=path)


@pytest.mark.slow
def test_the_weights_to_use_are_the_averages_of_the_trained_ones(finished: Path) -> None:
    bundle = read_bundle(step_folder(finished, 6))
    differing = [
        path
        for path, values in bundle.weights.items()
        if (values != bundle.optimizer[f"trained/{path}"]).any()
    ]
    assert len(differing) == len(bundle.weights)


@pytest.mark.slow
def test_a_release_composes_from_half_the_bytes(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "given"
    out.mkdir()
    (out / "README.md").write_text("A card.")
    release(finished, out)
    assert sorted(file.name for file in out.iterdir()) == [
        "README.md",
        "bundle.json",
        "optimizer.npz",
        "weights.npz",
    ]
    given, run = read_bundle(out), open_checkpoint(finished)[1]
    assert not given.optimizer
    assert all(values.dtype == np.float16 for values in given.weights.values())
    weights = Composer.load(out).model.named_weights()
    for path, values in run.weights.items():
        np.testing.assert_allclose(weights[path], values, rtol=1e-3, atol=1e-4)
