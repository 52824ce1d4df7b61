"""compare.py as a user starts it: on runs of train.py, and on made-up ones for the arithmetic."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc import train
from hpc.compare import main
from hpc.reports.event_files import FOLDER
from tests.conftest import REPOSITORY
from tests.hpc.launching import TINY_FLAGS, refusal

TOKENS_PER_STEP = 4 * 8  # of the made-up runs
ON_DORCHESTER = {"strategy": "single", "workers": 1, "hosts": ["dorchester"]}
ON_BOTH = {"strategy": "multiworker", "workers": 2, "hosts": ["dorchester", "bath"]}


@pytest.fixture(scope="module")
def real_runs(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> tuple[Path, Path]:
    """A run of 8 steps, and a copy of it that went on to 16."""
    folder = tmp_path_factory.mktemp("runs")
    stayed, moved = folder / "stayed", folder / "moved"
    flags = [*TINY_FLAGS, f"--data={tiny_shards}", "--log-every=2", "--eval-every=4"]
    assert train.main([*flags, "--steps=8", f"--run={stayed}"]) == 0
    shutil.copytree(stayed, moved)
    assert train.main([*flags, "--steps=16", f"--run={moved}"]) == 0
    return stayed, moved


def stretch(first_step: int, time: float, **facts: Any) -> dict[str, Any]:
    """A line of stretches.jsonl; on dorchester unless told otherwise."""
    return {
        "first_step": first_step,
        "time": time,
        **ON_DORCHESTER,
        "devices": "CPU, cores 0",
        "processors": ["AMD EPYC"],
        "data": "63bea083a88d",
        "versions": {"tensorflow": "2.18.1"},
        "commit": "abc4802fae5f",
        "global_batch_size": 4,
        "sequence_length": 8,
        **facts,
    }


def trained(step: int, time: float, rate: float, loss: float = 3.0) -> dict[str, Any]:
    """A line of metrics.jsonl from a training step."""
    line = {"step": step, "split": "train", "loss": loss, "tokens_per_second": rate}
    return {**line, "time": time}


def evaluated(step: int, time: float, loss: float) -> dict[str, Any]:
    """A line of metrics.jsonl from an evaluation, whose own speed must not be mixed in."""
    line = {"step": step, "split": "valid", "loss": loss, "tokens_per_second": 1e9}
    return {**line, "time": time}


def write_run(
    folder: Path,
    stretches: Sequence[dict[str, Any]],
    metrics: Sequence[dict[str, Any]],
    **config: Any,
) -> Path:
    """A run folder with these contents."""
    folder.mkdir(parents=True)
    settings = {"preset": "tiny", "precision": "float32", "seed": 1, "run": str(folder), **config}
    (folder / "config.json").write_text(json.dumps(settings))
    for name, lines in (("stretches.jsonl", stretches), ("metrics.jsonl", metrics)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def simple_run(folder: Path, valid_losses: Sequence[float], **config: Any) -> Path:
    """A run of one stretch that was evaluated every 10 steps, which took 20 seconds."""
    metrics = []
    for index, loss in enumerate(valid_losses, start=1):
        metrics.append(trained(10 * index, 1000 + 20 * index, rate=16.0))
        metrics.append(evaluated(10 * index, 1000 + 20 * index, loss))
    return write_run(folder, [stretch(1, 1000)], metrics, **config)


def moved_run(folder: Path, gap: float = 5000) -> Path:
    """A run that was stopped after step 12 on dorchester, and went on to step 20 on both servers.

    Its last line on dorchester is that of step 10; its steps take 2 seconds there, 1 on both.
    """
    second = 1024 + gap
    return write_run(
        folder,
        [stretch(1, 1000), stretch(13, second, **ON_BOTH)],
        [
            trained(5, 1010, rate=16.0),
            trained(10, 1020, rate=16.0),
            evaluated(10, 1020, 3.0),
            trained(15, second + 3, rate=32.0),
            trained(20, second + 8, rate=30.0),
            evaluated(20, second + 9, 2.0),
        ],
    )


def numbers(tmp_path: Path, *flags: object) -> dict[str, Any]:
    """What the command writes for programs."""
    result = tmp_path / "new" / "result.json"  # its folder is made
    assert main([*map(str, flags), "--json", str(result)]) == 0
    told: dict[str, Any] = json.loads(result.read_text())
    return told


def test_runs_of_train_are_told_apart_by_stretch_and_by_setting(
    real_runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stayed, moved = numbers(tmp_path, *real_runs)["runs"]
    assert [s["name"] for s in stayed["stretches"]] == ["stayed/1"]
    assert [(s["first_step"], s["last_step"]) for s in moved["stretches"]] == [(1, 8), (9, 16)]
    lines = [json.loads(line) for line in (real_runs[1] / "metrics.jsonl").open()]
    valid = {line["step"]: line["loss"] for line in lines if line["split"] == "valid"}
    assert moved["best"]["step"] == min(valid, key=lambda step: valid[step])
    assert moved["best"]["tokens"] == moved["best"]["step"] * 16 * 32
    out = capsys.readouterr().out
    for words in ("moved/2", "--steps", "nats per token", "single"):
        assert words in out


def test_the_time_of_a_real_run_is_that_of_its_stretches(
    real_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    _, moved = real_runs
    starts = [json.loads(line)["time"] for line in (moved / "stretches.jsonl").open()]
    lines = [json.loads(line) for line in (moved / "metrics.jsonl").open()]
    ends = [max(line["time"] for line in lines if line["step"] <= step) for step in (8, 16)]
    expected = ends[0] - starts[0] + ends[1] - starts[1]
    (run,) = numbers(tmp_path, moved)["runs"]
    assert sum(s["seconds"] for s in run["stretches"]) == pytest.approx(expected)
    assert expected < ends[1] - starts[0]


def test_steps_tokens_and_time_to_a_loss_are_counted_over_the_stretches(tmp_path: Path) -> None:
    told = numbers(tmp_path, moved_run(tmp_path / "moved"), "--loss", 2.5)
    (run,) = told["runs"]
    assert told["target_valid_loss"] == 2.5
    # 20 s to the last line on dorchester, two more steps of 2 s, and 9 s on both.
    expected = {"step": 20, "tokens": 20 * TOKENS_PER_STEP, "seconds": 20 + 4 + 9}
    assert {name: run["reached"][name] for name in expected} == expected
    assert run["reached"]["stretch"] == 2
    assert [s["seconds"] for s in run["stretches"]] == [24, 9]
    assert [s["tokens"] for s in run["stretches"]] == [12 * TOKENS_PER_STEP, 8 * TOKENS_PER_STEP]


@settings(max_examples=10, deadline=None)
@given(gap=st.integers(min_value=-(10**6), max_value=10**6))
def test_what_lies_between_two_stretches_does_not_count_nor_do_other_clocks(
    gap: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    (run,) = numbers(folder, moved_run(folder / "moved", gap))["runs"]
    assert [s["seconds"] for s in run["stretches"]] == [24, 9]


def test_the_loss_to_reach_is_the_best_that_all_runs_reached(tmp_path: Path) -> None:
    low = simple_run(tmp_path / "low", [3.0, 2.0, 1.0])
    high = simple_run(tmp_path / "high", [3.5, 2.5, 2.75])
    told = numbers(tmp_path, low, high)
    assert told["target_valid_loss"] == 2.5
    reached = [run["reached"] for run in told["runs"]]
    assert [(point["step"], point["seconds"]) for point in reached] == [(20, 40), (20, 40)]
    assert reached[0]["loss"] == 2.0  # the first evaluation that is as low


def test_a_loss_that_was_not_reached_is_said_to_be_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = numbers(tmp_path, simple_run(tmp_path / "a", [3.0, float("nan")]), "--loss", "0.5")
    assert told["runs"][0]["reached"] is None
    assert told["runs"][0]["best"]["loss"] == 3.0
    assert "not reached" in capsys.readouterr().out


def test_a_run_without_an_evaluation_is_compared_by_what_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    early = write_run(tmp_path / "early", [stretch(1, 1000)], [trained(5, 1010, 16.0)])
    assert numbers(tmp_path, early, moved_run(tmp_path / "moved"))["target_valid_loss"] is None
    out = capsys.readouterr().out
    assert "not evaluated yet" in out
    assert "want of an evaluation in early" in out


def test_speed_is_the_median_over_intervals_without_the_first_of_each_stretch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = [1.0, 1000.0, 2000.0, 4000.0, 3000.0]
    metrics = [trained(5 * n, 1000 + n, rate) for n, rate in enumerate(rates, start=1)]
    run = write_run(tmp_path / "both", [stretch(1, 1000, **ON_BOTH)], metrics)
    (speed,) = numbers(tmp_path, run)["speeds"]
    assert speed["total"] == {"median": 2500, "low": 1750, "high": 3250, "num_values": 4}
    out = capsys.readouterr().out
    assert "2,500" in out and "(1.8k-3.2k)" in out
    assert "1,250" in out  # per worker
    assert "intervals between log lines" in out and "window" not in out


def test_speeds_are_pooled_by_server_and_strategy(tmp_path: Path) -> None:
    def run(name: str, rate: float, **facts: Any) -> Path:
        metrics = [trained(5 * n, 1000 + n, rate) for n in (1, 2, 3)]
        return write_run(tmp_path / name, [stretch(1, 1000, **facts)], metrics)

    bath = {"hosts": ["bath"]}
    runs = [run("a", 100.0), run("b", 300.0), run("c", 400.0, **bath), run("d", 50.0, **ON_BOTH)]
    speeds = numbers(tmp_path, *runs)["speeds"]
    found = {(s["hosts"], s["strategy"]): s for s in speeds}
    assert {key: s["total"]["median"] for key, s in found.items()} == {
        ("bath", "single"): 400,
        ("dorchester", "single"): 200,
        ("dorchester + bath", "multiworker"): 50,
    }
    assert found["dorchester", "single"]["stretches"] == ["a/1", "b/1"]
    assert speeds[0]["hosts"] == "bath"  # the fastest first


def test_other_models_or_batches_are_not_pooled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = simple_run(tmp_path / "small", [3.0, 2.0], preset="small")
    tiny = simple_run(tmp_path / "tiny", [3.0, 2.0])
    workloads = [speed["workload"] for speed in numbers(tmp_path, small, tiny)["speeds"]]
    assert sorted(workloads) == ["small, float32, 4 x 8 tokens", "tiny, float32, 4 x 8 tokens"]
    assert "model and batch" in capsys.readouterr().out


def test_what_differed_is_listed_by_kind_and_nothing_else(tmp_path: Path) -> None:
    moved = moved_run(tmp_path / "moved")
    other = write_run(
        tmp_path / "other",
        [stretch(1, 1000, versions={"tensorflow": "2.19.0"}, processors=["Intel Xeon"])],
        [trained(5, 1010, 16.0), evaluated(5, 1010, 2.0)],
        seed=7,
    )
    found = {d["what"]: d["values"] for d in numbers(tmp_path, moved, other)["differences"]}
    assert found == {
        "--seed": ["1", "7"],
        "hosts": ["dorchester -> dorchester + bath", "dorchester"],
        "workers": ["1 -> 2", "1"],
        "processors": ["AMD EPYC", "Intel Xeon"],
        "strategy": ["single -> multiworker", "single"],
        "tensorflow": ["2.18.1", "2.19.0"],
    }


def test_losses_on_other_data_are_said_not_to_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = [evaluated(5, 1010, 2.0)]
    here = write_run(tmp_path / "here", [stretch(1, 1000)], metrics)
    there = write_run(tmp_path / "there", [stretch(1, 1000, data="0123456789ab")], metrics)
    assert main([str(here), str(here / ".." / "there")]) == 0
    assert "do not compare: the data set differs" in capsys.readouterr().out
    again = write_run(tmp_path / "again", [stretch(1, 1000)], metrics)
    assert numbers(tmp_path, here, again)["losses_differ_in"] == []
    assert numbers(tmp_path, here, there)["losses_differ_in"] == ["data set"]


def test_a_stretch_without_a_step_is_left_out(tmp_path: Path) -> None:
    metrics = [trained(10, 1020, 16.0), evaluated(10, 1020, 2.0)]
    done = write_run(tmp_path / "done", [stretch(1, 1000), stretch(11, 7000)], metrics)
    (run,) = numbers(tmp_path, done)["runs"]
    assert [s["name"] for s in run["stretches"]] == ["done/1"]


def test_steps_whose_time_no_line_tells_are_said_to_be_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stretches = [stretch(1, 1000), stretch(4, 2000)]
    run = write_run(tmp_path / "short", stretches, [trained(5, 2010, 16.0)])
    told = numbers(tmp_path, run)
    assert [s["seconds"] for s in told["runs"][0]["stretches"]] == [0, 10]
    assert "short/1 ended before a line told its speed: 3 steps" in capsys.readouterr().out


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    runs = [simple_run(tmp_path / host / "run", [2.0]) for host in ("bath", "dorchester")]
    names = [run["name"] for run in numbers(tmp_path, *runs)["runs"]]
    assert names == [str(run) for run in runs]


def test_a_last_line_that_a_kill_cut_short_is_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = simple_run(tmp_path / "killed", [3.0, 2.0])
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps(evaluated(30, 1060, 1.0))[:-20])
    assert numbers(tmp_path, run)["runs"][0]["best"]["loss"] == 2.0
    assert "killed: the last line of metrics.jsonl is cut short" in capsys.readouterr().out


def test_a_foreign_line_is_named_by_file_and_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = simple_run(tmp_path / "a", [3.0])
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text("<<<<<<< HEAD\n" + text)
    assert f"line 1 of {run / 'metrics.jsonl'} is no JSON object" in refusal(main, capsys, run)
    (run / "metrics.jsonl").write_text(text + '{"step": 3}\n')
    assert "metrics.jsonl lacks split, time" in refusal(main, capsys, run)


@pytest.mark.parametrize("missing", ["config.json", "metrics.jsonl", "stretches.jsonl"])
def test_a_folder_that_lacks_a_file_is_refused_with_its_name(
    missing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = simple_run(tmp_path / "a", [3.0])
    (run / missing).unlink()
    assert f"{run} has no {missing}" in refusal(main, capsys, run)


def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = simple_run(tmp_path / "a", [3.0])
    assert f"no run folder {tmp_path / 'nowhere'}" in refusal(
        main, capsys, run, tmp_path / "nowhere"
    )
    assert "given more than once" in refusal(main, capsys, run, run / ".")
    assert "--loss is -1.0" in refusal(main, capsys, run, "--loss", "-1")
    empty = write_run(tmp_path / "empty", [stretch(1, 1000)], [])
    assert "holds no loss yet" in refusal(main, capsys, run, empty)
    later = write_run(tmp_path / "later", [stretch(50, 1000)], [trained(5, 1010, 16.0)])
    assert "does not tell where step 5 ran" in refusal(main, capsys, later)


def test_runs_without_a_common_loss_are_refused_with_what_each_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write_run(tmp_path / "a", [stretch(1, 1000)], [trained(5, 1010, 16.0)])
    b = write_run(tmp_path / "b", [stretch(1, 1000)], [evaluated(5, 1010, 2.0)])
    assert "a has train loss; b has valid loss" in refusal(main, capsys, a, b)


def test_tables_and_pictures_are_written(real_runs: tuple[Path, Path], tmp_path: Path) -> None:
    from matplotlib.image import imread

    assert main([*map(str, real_runs), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "| moved/2 | 9-16 |" in text
    for picture in ("loss.png", "speed.png"):
        assert f"]({picture})" in text
        pixels = imread(tmp_path / "out" / picture)
        assert pixels.shape[1] > 1000
        # Something was drawn in the colour of each run: not only grey axes.
        assert (pixels[..., :3].max(axis=-1) - pixels[..., :3].min(axis=-1) > 0.5).sum() > 100


def test_tensorboard_reads_the_curves_on_the_clock_of_training(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    moved, other = moved_run(tmp_path / "moved"), simple_run(tmp_path / "other", [3.0])
    out = tmp_path / "out"
    for _ in range(2):  # the second comparison takes the place of the first
        assert main([str(moved), str(other), "--out", str(out)]) == 0

    def curve(folder: str, tag: str) -> list[tuple[int, float, float]]:
        events = EventAccumulator(str(out / FOLDER / folder))
        events.Reload()
        zero = events.FirstEventTimestamp()
        points = events.Tensors(tag)
        return [(p.step, p.wall_time - zero, p.tensor_proto.float_val[0]) for p in points]

    assert curve("moved/stretch-1", "loss/valid") == [(10, 20, 3.0)]
    assert curve("moved/stretch-2", "loss/valid") == [(20, 33, 2.0)]
    assert curve("moved/stretch-2", "loss_by_seconds/train") == [(27, 27, 3.0), (32, 32, 3.0)]
    assert curve("moved/stretch-2", "loss_by_tokens/valid") == [(20 * TOKENS_PER_STEP, 33, 2.0)]
    assert curve("moved/stretch-2", "tokens_per_second/per worker") == [(20, 32, 15.0)]
    assert curve("other", "loss/valid") == [(10, 20, 3.0)]
    texts = EventAccumulator(str(out / FOLDER))
    texts.Reload()
    assert texts.Tags()["tensors"] == ["comparison"]
    assert abs(texts.FirstEventTimestamp() - time.time()) < 86_400, "dated today"


def test_a_laptop_without_tensorflow_can_compare(tmp_path: Path) -> None:
    run = moved_run(tmp_path / "moved")
    program = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'horovod', 'mpi4py', 'music21'):\n"
        "    sys.modules[name] = None  # importing it raises\n"
        "from hpc.compare import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, str(run), "--out", str(tmp_path / "out")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "out" / "loss.png").is_file()
    assert (tmp_path / "out" / FOLDER / "moved" / "stretch-2").is_dir()


def test_what_is_not_installed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = simple_run(tmp_path / "a", [3.0]), tmp_path / "out"
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert main([str(run), "--out", str(out)]) == 0
    assert "no TensorBoard view" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["comparison.md", "loss.png"]
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "needs matplotlib" in refusal(main, capsys, run, "--out", tmp_path / "other")


def composed(folder: Path, mean: float, inside: bool) -> Path:
    """A run whose pieces were compared with real ones; one metric and copies are enough here."""
    metric = {"composed": mean, "interval": [mean - 0.1, mean + 0.1], "train": 2.0, "real": 2.1}
    found = {**metric, "inside": inside, "overlap": 0.9, "divergence": 0.01}
    copies = {"composed": 3.0, "interval": [2.5, 3.5], "real": 1.2, "inside": False}
    music = {"pieces": 200, "split": "test", "metrics": {"polyphony": found}, "copies": copies}
    (folder / "music.json").write_text(json.dumps(music))
    return folder


def test_composed_music_of_the_runs_that_have_some_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = composed(simple_run(tmp_path / "good", [2.0]), 2.05, inside=True)
    odd = composed(simple_run(tmp_path / "odd", [2.0]), 3.0, inside=False)
    silent = simple_run(tmp_path / "silent", [2.0])
    runs = numbers(tmp_path, good, odd, silent)["runs"]
    assert [bool(run["music"]) for run in runs] == [True, True, False]
    lines = capsys.readouterr().out.splitlines()
    (row,) = (line.split() for line in lines if line.strip().startswith("polyphony"))
    shown = "polyphony 2.050 (1.950..2.150) 3.000 (2.900..3.100) * 2.000 2.100"
    assert " ".join(row) == shown
    numbers(tmp_path, silent)
    assert "Composed music" not in capsys.readouterr().out


def test_a_file_of_composed_music_that_is_not_whole_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = simple_run(tmp_path / "run", [2.0])
    (run / "music.json").write_text('{"split": "test"')
    assert "music.json lacks copies, metrics" in refusal(main, capsys, run)
