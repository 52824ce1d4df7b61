"""Benchmark rows of a whole training: shares of its time, data repeated, what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpc.benchmarks import generation, input, large_data, training
from hpc.benchmarks.rows import Options
from hpc.benchmarks.training import repeat_data, shares, train
from pipeline.dataset.manifest import Manifest


def line(step: int, wait: float, computing: float, save: float, other: float) -> dict[str, float]:
    """A line of metrics.jsonl that tells the seconds of a step."""
    return {
        "step": step,
        "input_seconds": wait,
        "step_seconds": computing,
        "evaluate_seconds": 5.0,
        "save_seconds": save,
        "other_seconds": other,
    }


def test_shares_are_of_all_time_but_evaluation_by_intervals_between_checkpoints() -> None:
    lines: list[dict[str, float]] = [{"step": 1}]  # while warming up a line tells no seconds
    lines += [line(step, 0.01, 0.97, 0.02 * (step % 200 == 0), 0.0) for step in (20, 100, 200)]
    lines.append(line(220, 0.02, 0.96, 0.0, 0.02))
    waiting, others = shares(lines)
    assert waiting == pytest.approx([0.03 / 2.96, 0.02])
    assert others == pytest.approx([1 - 2.91 / 2.96, 0.04])


def test_a_repeated_data_set_is_whole_and_has_every_piece_so_many_times(
    tiny_shards: Path, tmp_path: Path
) -> None:
    repeat_data(tiny_shards, tmp_path / "more", 3)
    one, more = Manifest.load(tiny_shards), Manifest.load(tmp_path / "more")
    more.verify(tmp_path / "more")
    assert more.num_pieces("train") == 3 * one.num_pieces("train")
    assert more.num_tokens("train") == 3 * one.num_tokens("train")
    assert more.of_split("valid") == one.of_split("valid")
    from pipeline.dataset.records import read_pieces

    pieces = [name for name, _ in read_pieces(tmp_path / "more", more, "train")]
    assert {pieces.count(name) for name in pieces} == {3}


def test_rows_without_their_data_set_say_how_to_make_it(tmp_path: Path) -> None:
    options = Options(data=tmp_path / "none")
    rows = training.measure(["overhead", "memory"], options)
    rows += input.measure(["batches"], options)
    rows += large_data.measure(["large-speed"], options)
    assert [row.name for row in rows] == ["overhead", "memory", "batches", "large-speed"]
    for row in rows:
        assert (row.value, row.met) == (None, None)
        assert "pipeline/preprocess.py" in row.note


def test_a_training_that_fails_ends_the_benchmark_with_its_own_line(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no data set in"):
        train(tmp_path / "run", tmp_path / "none", "--steps=1")


def test_every_row_of_the_issue_has_a_target() -> None:
    from hpc import bench

    rows = {name: target for group in bench.GROUPS for name, target in group.ROWS.items()}
    assert len(rows) == sum(len(group.ROWS) for group in bench.GROUPS), "two rows of one name"
    assert rows["input-wait"] == "<= 0.01"
    assert rows["overhead"] == "<= 0.02"
    assert rows["samples"] == "<= 1.02"
    assert rows["memory"] == "<= 1.05"
    assert rows["batches"] == ">= 50"
    assert rows["generate"] == ">= 20"
    assert generation.WINDOW == 100
