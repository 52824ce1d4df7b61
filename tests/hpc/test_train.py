"""train.py as a user starts it, on one process: what it writes, says and refuses."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpc.config.train_config import TrainConfig
from hpc.distributed.devices import slow_settings
from hpc.train import main
from model.networks.checkpoint import open_checkpoint
from pipeline import preprocess
from pipeline.dataset.manifest import FILE_NAME, Manifest
from tests.hpc.launching import TINY_FLAGS, losses
from tests.hpc.training.lives import final_state

REPOSITORY = Path(__file__).resolve().parents[2]
FLAGS = (*TINY_FLAGS, "--steps=24", "--log-every=4", "--eval-every=12", "--save-every=8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> Path:
    run = tmp_path_factory.mktemp("runs") / "finished"
    assert train(run, tiny_shards, "--profile=5:6", f"--json={run}.json") == 0
    return run


def train(run: Path, data: Path, *flags: str) -> int:
    return main([*FLAGS, f"--data={data}", f"--run={run}", *flags])


def refusal(capsys: pytest.CaptureFixture[str], run: Path, data: Path, *flags: str) -> str:
    """The one line on stderr with which a run is refused."""
    assert train(run, data, *flags) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def test_a_run_learns_and_leaves_all_its_records(finished: Path) -> None:
    trained, valid = losses(finished), losses(finished, "valid")
    assert len(trained) == 6
    assert trained[-1] < trained[0] - 0.5
    assert len(valid) == 2
    assert json.loads((finished / "config.json").read_text())["steps"] == 24
    result = json.loads(Path(f"{finished}.json").read_text())
    assert result["ended"] == "done"
    assert result["best_valid_loss"] == pytest.approx(valid.min())
    entry = json.loads((finished / "metrics.jsonl").read_text().splitlines()[-2])
    assert {"step", "split", "loss", "perplexity", "tokens_per_second", "time"} <= entry.keys()
    assert entry["perplexity"] == pytest.approx(np.exp(entry["loss"]))
    saved = sorted(path.name for path in (finished / "checkpoints").iterdir())
    assert saved == ["best.json", "step-00000012", "step-00000016", "step-00000024"]


def test_a_data_set_without_a_valid_split_is_trained_on_without_evaluation(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_shards, data)
    manifest = Manifest.load(data)
    shards = tuple(shard for shard in manifest.shards if shard.split == "train")
    (data / FILE_NAME).write_text(replace(manifest, shards=shards).to_json())
    assert "--patience 2 waits for a better validation loss" in refusal(
        capsys, tmp_path / "run", data, "--patience=2"
    )
    assert train(tmp_path / "run", data, "--steps=12") == 0
    said = capsys.readouterr().out
    assert f"warning: the valid split of {data} is empty: training goes on without" in said
    assert "No valid split to evaluate on" in said
    assert len(losses(tmp_path / "run")) == 3
    assert '"valid"' not in (tmp_path / "run" / "metrics.jsonl").read_text()
    checkpoint, _ = open_checkpoint(tmp_path / "run", optimizer=False)
    assert checkpoint.name == "step-00000012"


def test_the_parts_of_a_step_add_up_to_its_time(finished: Path) -> None:
    entries = map(json.loads, (finished / "metrics.jsonl").read_text().splitlines())
    last = [entry for entry in entries if entry["split"] == "train"][-1]
    parts = ("input", "step", "save", "other")
    seconds = sum(last[f"{part}_seconds"] for part in parts)
    assert last["tokens_per_second"] == pytest.approx(16 * 32 / seconds, rel=1e-3)
    assert all(last[f"{part}_seconds"] >= 0 for part in parts)


def test_tensorboard_reads_the_scalars_and_the_profile(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished), size_guidance={"tensors": 0})
    events.Reload()
    tags = set(events.Tags()["tensors"])
    assert {"1 loss/train", "1 loss/valid", "3 speed/tokens per second"} <= tags
    assert {"4 seconds of a step/2 waiting for input", "6 host of rank 0/busy cores"} <= tags
    assert [event.step for event in events.Tensors("1 loss/train")] == [4, 8, 12, 16, 20, 24]
    traces = list((finished / "rank-0").glob("plugins/profile/*/*.xplane.pb"))
    assert len(traces) == 1
    assert b"train" in traces[0].read_bytes()


def test_the_same_command_again_has_nothing_left_to_do(
    finished: Path, tiny_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "metrics.jsonl").read_text()
    assert train(finished, tiny_shards, "--profile=5:6") == 0
    said = capsys.readouterr().out
    assert "all 24 steps are done" in said and "steps 25 to" not in said
    assert "Step 24 of 24" in said
    assert (finished / "metrics.jsonl").read_text() == before


def test_more_steps_for_a_finished_run_are_said_to_change_its_learning_rate(
    finished: Path, tiny_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(finished, tiny_shards, "--steps=48", "--dry-run") == 0
    # A cosine from 0.004 after 5 steps to a tenth of it: step 24 is its end, or not yet halfway.
    line = "--steps was 24 and is 48: the learning rate of step 25 is 0.00253 instead of 0.0004"
    assert line in capsys.readouterr().out
    assert train(finished, tiny_shards, "--dry-run") == 0
    assert "--steps was" not in capsys.readouterr().out


def test_a_flag_that_is_not_given_again_has_the_value_of_the_run(
    finished: Path, tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repeated = shutil.copytree(finished, tmp_path / "repeated")
    assert train(repeated, tiny_shards, "--steps=28") == 0
    assert "continues with its own" not in capsys.readouterr().out

    short = shutil.copytree(finished, tmp_path / "short")
    assert main([f"--run={short}", "--steps=28", "--log-every=1"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{short} continues with its own --data {tiny_shards}, --sequence-length 32," in said
    assert "--preset tiny" in said
    states = [final_state(run) for run in (repeated, short)]
    assert [len(state.pop("history")) for state in states] == [10, 13]
    assert states[0] == states[1]
    assert json.loads((short / "config.json").read_text())["log_every"] == 1

    assert main([f"--run={short}", "--dry-run"]) == 0
    assert "all 28 steps are done" in capsys.readouterr().out


def test_a_dry_run_checks_and_writes_nothing(
    tmp_path: Path, tiny_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "run", tiny_shards, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "parameters" in out
    assert "windows of 32 tokens" in out
    assert not (tmp_path / "run").exists()


def test_the_devices_are_chosen_before_tensorflow_computes(
    tmp_path: Path, tiny_shards: Path
) -> None:
    # A GPU can be chosen, and the number of threads set, only until TensorFlow is first used; and
    # --sequence-length auto reads the data set. Other tests have used TensorFlow in this process.
    program = f"""
import sys
from hpc.distributed import devices
from hpc import train

def use_devices(place, *, unbind):
    import tensorflow as tf
    tf.config.threading.set_inter_op_parallelism_threads(1)  # raises once it has been used
    return "CPU"

devices.use_devices = use_devices
sys.exit(train.main(["--dry-run", "--data={tiny_shards}", "--run={tmp_path}/run",
    "--global-batch-size=4"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("has_them", "warned"), [(True, 0), (False, 1)])
def test_emulated_bfloat16_is_warned_of_in_one_line(
    has_them: bool,
    warned: int,
    tmp_path: Path,
    tiny_shards: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hpc.distributed.devices.has_bfloat16_products", lambda: has_them)
    flags = ("--dry-run", "--precision=mixed_bfloat16")
    assert train(tmp_path / "run", tiny_shards, *flags) == 0
    assert capsys.readouterr().out.count("no bfloat16 products and emulates them") == warned


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"precision": "mixed_bfloat16"}, "--precision mixed_float16 learned as float32 does"),
        ({"model": "frames"}, "CUDA_VISIBLE_DEVICES=-1 trains on the CPU"),
        ({"precision": "mixed_float16"}, None),
        ({"precision": "mixed_bfloat16", "model": "transformer"}, None),
    ],
)
def test_what_is_bad_on_a_gpu_is_warned_of_there_in_one_line(
    settings: dict[str, Any], said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpc.distributed.devices.has_bfloat16_products", lambda: True)
    config = TrainConfig(**settings)
    assert slow_settings(config, on_cpu=True) == []
    lines = slow_settings(config, on_cpu=False)
    assert len(lines) == (said is not None)
    assert all(line.startswith("warning: ") and said in line for line in lines)


def test_training_stops_early_when_the_validation_loss_stays(
    tmp_path: Path, tiny_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Too small a rate to learn anything: after the first evaluation none is better by much.
    flags = ("--steps=400", "--eval-every=2", "--patience=2", "--learning-rate=100")
    assert train(tmp_path / "run", tiny_shards, *flags) == 0
    assert "no better validation loss in 2 evaluations" in capsys.readouterr().out
    assert len(losses(tmp_path / "run", "valid")) < 200


def test_a_loss_that_is_no_number_stops_the_run_with_the_steps(
    tmp_path: Path, tiny_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(
        capsys, tmp_path / "run", tiny_shards, "--learning-rate=1e38", "--warmup-steps=0"
    )
    assert "look at steps 0 to" in line
    assert "--learning-rate" in line


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sequence-length=4000"], "sequence length 4000 does not fit: the longest train piece"),
        (["--global-batch-size=18"], "cannot be shared equally by 4 lanes"),
        (["--accumulation=3"], "--accumulation 3"),
        pytest.param(
            ["--strategy=horovod", "--preset=small", "--seed=5"],
            "or begin another run without --from, which needs the same network: --run OTHER",
            marks=pytest.mark.skipif(find_spec("horovod") is None, reason="no Horovod: make setup"),
        ),
        pytest.param(
            *(["--strategy=horovod", "--seed=5"], "begin another run: --run OTHER --from"),
            marks=pytest.mark.skipif(find_spec("horovod") is None, reason="no Horovod: make setup"),
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    flags: list[str],
    message: str,
    finished: Path,
    tiny_shards: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = finished if "--run OTHER" in message else tmp_path / "run"
    assert message in refusal(capsys, run, tiny_shards, *flags)


@pytest.mark.skipif(find_spec("horovod") is None, reason="no Horovod: make setup")
def test_only_a_data_set_of_the_same_vocabulary_is_sent_to_the_weights_of_the_run(
    finished: Path, tiny_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--num-lanes=4", "--processes=1", "--seed=1"]
    for steps, advice in (("12", f"--run OTHER --from {finished}"), ("4", "run without --from,")):
        data = tmp_path / steps
        made = [str(tiny_corpus), f"--out={data}", f"--steps-per-quarter={steps}", *flags]
        assert preprocess.main(made) == 0
        capsys.readouterr()
        line = refusal(capsys, finished, data, "--strategy=horovod")
        assert "which had other contents than" in line and advice in line


def test_a_missing_data_folder_is_named_with_the_command_that_makes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, tmp_path / "run", tmp_path / "nowhere")
    assert "no data set in" in line
    assert "pipeline/preprocess.py bach --out" in line
    (tmp_path / "my-midi").mkdir()
    (tmp_path / "my-midi/tune.mid").touch()
    line = refusal(capsys, tmp_path / "run", tmp_path / "my-midi")
    assert f"of the scores in it with: python pipeline/preprocess.py {tmp_path}/my-midi" in line


def damage_by_flipping_a_byte(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


def damage_by_cutting_between_records(shard: Path) -> None:
    # A record is its length (8 bytes), a checksum (4), the content, and a checksum (4): cut there,
    # a TFRecord file reads without any error.
    content = shard.read_bytes()
    shard.write_bytes(content[: 16 + int.from_bytes(content[:8], "little")])


@pytest.mark.parametrize(
    "damage", [damage_by_flipping_a_byte, damage_by_cutting_between_records, Path.unlink]
)
def test_a_damaged_shard_is_found_before_step_1(
    damage, tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(tiny_shards, tmp_path / "data")
    shard = sorted(data.glob("train-*.tfrecord"))[1]
    damage(shard)
    line = refusal(capsys, tmp_path / "run", data)
    assert shard.name in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("written", "damaged"),
    [
        ('"steps_per_quarter": 12', '"steps_per_quarter": 13'),
        ('"lowest_pitch": 21', '"lowest_pitch": 20'),
        ('"split": "train"', '"split": "trait"'),
    ],
)
def test_a_manifest_with_one_changed_byte_is_refused(
    written: str,
    damaged: str,
    tiny_shards: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = Path(shutil.copytree(tiny_shards, tmp_path / "data")) / "manifest.json"
    manifest.write_text(manifest.read_text().replace(written, damaged, 1))
    assert "manifest.json is damaged" in refusal(capsys, tmp_path / "run", manifest.parent)
    assert not (tmp_path / "run").exists()


def test_a_manifest_of_another_schema_is_refused(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(tiny_shards, tmp_path / "data")
    manifest = json.loads((data / "manifest.json").read_text())
    (data / "manifest.json").write_text(json.dumps({**manifest, "schema": 99}))
    assert "schema version 99" in refusal(capsys, tmp_path / "run", data)
