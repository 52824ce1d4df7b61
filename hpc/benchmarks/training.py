"""Benchmark rows of a whole training: waiting for input, all that is not the step, samples, memory.

hpc/train.py runs as a user starts it, in processes of its own on one pinned core. Memory is the
peak resident set as the kernel counts it: of trainings on the data set repeated a few times, and on
100 times as much, in turn.
"""

from __future__ import annotations

import hashlib
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from hpc.benchmarks.rows import (
    BenchmarkRow,
    Options,
    alternate,
    paired_ratio,
    peak_memory_of,
    rows_without_value,
    use_one_core,
)
from hpc.run_folder.layout import METRICS
from hpc.training.sample_process import missing_for_samples
from pipeline.dataset.manifest import FILE_NAME, Manifest, Shard
from pipeline.runtime.files import read_lines
from pipeline.runtime.provenance import REPOSITORY

ROWS = {  # name -> target
    "input-wait": "<= 0.01",  # waiting for input, share of a step's time
    "overhead": "<= 0.02",  # log, metrics, checkpoints at default intervals, share of wall time
    "samples": "<= 1.02",  # a step while music for TensorBoard is composed, against one without
    "memory": "<= 1.05",  # peak of a training on 100 times the data, against that on the data
}
# Light enough for minutes; a heavier network has longer steps and so smaller shares.
WORKLOAD = ("--preset=small", "--global-batch-size=16", "--sequence-length=128")
INTERVAL = 200  # steps between checkpoints, by default: of all intervals the longest
# The sampler is at work all the while: beside a busy trainer its start alone takes minutes.
SAMPLED = (*WORKLOAD, "--steps=60", "--log-every=5", "--eval-every=20")
SAMPLED_FROM = 20  # the first step with a checkpoint to compose with
COPIES = (10, 1000)  # of the data set: few MB, and many against what a process holds anyway
MEMORY_FLAGS = ("--preset=tiny", "--global-batch-size=32", "--sequence-length=128", "--steps=60")


def measure(names: list[str], options: Options) -> list[BenchmarkRow]:
    """The rows asked for."""
    try:
        Manifest.load(options.data)
    except ValueError as error:
        return rows_without_value(names, ROWS, str(error))
    use_one_core()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        if {"input-wait", "overhead"} & set(names):
            rows += times_rows(Path(folder), options)
        if "samples" in names:
            rows.append(samples_row(Path(folder), options))
        if "memory" in names:
            rows.append(memory_row(Path(folder), options))
    return [row for row in rows if row.name in names]


def times_rows(folder: Path, options: Options) -> list[BenchmarkRow]:
    """Rows of waiting for input and of all that is not the step, by intervals of one training."""
    run = folder / "run"
    steps = INTERVAL * options.rounds
    train(run, options.data, *WORKLOAD, f"--steps={steps}")
    lines = [line for line in read_lines(run / METRICS) if line["split"] == "train"]
    waiting, others = shares(lines)
    step = statistics.median(line["step_seconds"] for line in lines if "step_seconds" in line)
    about = f"{' '.join(WORKLOAD)}: {step * 1000:.0f} ms a step; {steps} steps, by {INTERVAL}"
    return [
        BenchmarkRow.judged(
            name,
            statistics.median(found),
            ROWS[name],
            f"{min(found):.2%} to {max(found):.2%}; {about}",
        )
        for name, found in (("input-wait", waiting), ("overhead", others))
    ]


def samples_row(folder: Path, options: Options) -> BenchmarkRow:
    """Steps of trainings with samples for TensorBoard against those without, in turn, on one core.

    All trainings must have the priority that users give them, 0: the sampler has nice 19.
    """
    if missing := missing_for_samples():
        reason = f"{', '.join(missing)} not installed"
        return BenchmarkRow.judged("samples", None, ROWS["samples"], reason)
    runs = count()

    def seconds_of(samples_after: int) -> float:
        run = folder / f"samples-{next(runs)}"
        train(run, options.data, *SAMPLED, f"--samples-after={samples_after}")
        lines = [line for line in read_lines(run / METRICS) if line["split"] == "train"]
        sampled = [line["step_seconds"] for line in lines if line["step"] > SAMPLED_FROM]
        return statistics.mean(sampled)

    parts = {"with": lambda: seconds_of(0), "without": lambda: seconds_of(-1)}
    seconds = alternate(parts, options.rounds)
    value, spread = paired_ratio(seconds["with"], seconds["without"])
    with_samples, without = (1000 * statistics.median(seconds[part]) for part in parts)
    note = f"{with_samples:.0f} against {without:.0f} ms a step; pairs {spread}"
    return BenchmarkRow.judged("samples", value, ROWS["samples"], note)


def shares(lines: Sequence[dict[str, float]]) -> tuple[list[float], list[float]]:
    """Of each interval the share of input in its time, and that of all but the step.

    Evaluation is no overhead, being asked for, and counts in neither.
    """
    waiting, others = [], []
    intervals: dict[int, list[dict[str, float]]] = {}
    for line in lines:
        if "step_seconds" in line:  # not while warming up
            intervals.setdefault((int(line["step"]) - 1) // INTERVAL, []).append(line)
    for interval in intervals.values():
        total = {
            part: sum(line[f"{part}_seconds"] for line in interval)
            for part in ("input", "step", "save", "other")
        }
        everything = sum(total.values())
        waiting.append(total["input"] / everything)
        others.append(1 - total["step"] / everything)
    return waiting, others


def memory_row(folder: Path, options: Options) -> BenchmarkRow:
    """Peak memory of trainings on much data against that on little, in turn."""
    data = {copies: folder / f"data-{copies}" for copies in COPIES}
    for copies, out_dir in data.items():
        repeat_data(options.data, out_dir, copies)

    few, many = data.values()
    bytes_of = alternate(
        {"few": lambda: peak_memory(few), "many": lambda: peak_memory(many)}, options.rounds
    )
    value, spread = paired_ratio(bytes_of["many"], bytes_of["few"])
    peaks = [f"{statistics.median(bytes_of[name]) / 1e6:.0f}" for name in ("many", "few")]
    sizes = [f"{folder_bytes(path) / 1e6:.1f}" for path in (many, few)]
    held = [f"{peak} MB with {size} MB of data" for peak, size in zip(peaks, sizes, strict=True)]
    note = f"{' against '.join(held)}; pairs {spread}"
    return BenchmarkRow.judged("memory", value, ROWS["memory"], note)


def peak_memory(data_dir: Path) -> float:
    """Peak of resident memory of a short training on a data set, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        return train(Path(folder) / "run", data_dir, *MEMORY_FLAGS)


def train(run: Path, data_dir: Path, *flags: str) -> float:
    """Train in a process of its own; its peak resident memory in bytes.

    Raises RuntimeError with the last line of its output if it fails.
    """
    script = str(REPOSITORY / "hpc" / "train.py")
    command = [sys.executable, script, f"--run={run}", f"--data={data_dir}", *flags]
    return peak_memory_of(command)


def repeat_data(source: Path, out_dir: Path, copies: int) -> None:
    """Write a data set that holds every piece of another one `copies` times."""
    manifest = Manifest.load(source)
    out_dir.mkdir()
    shards = tuple(_repeat(source, shard, out_dir, copies) for shard in manifest.shards)
    (out_dir / FILE_NAME).write_text(replace(manifest, shards=shards).to_json())


def _repeat(source: Path, shard: Shard, out_dir: Path, copies: int) -> Shard:
    """Write a shard `copies` times into one file: joined TFRecord files are a TFRecord file."""
    if shard.split != "train":  # an evaluation reads it all, and would take all the time
        copies = 1
    content, digest = (source / shard.file).read_bytes(), hashlib.sha256()
    with (out_dir / shard.file).open("wb") as stream:
        for _ in range(copies):
            stream.write(content)
            digest.update(content)
    return replace(
        shard,
        num_pieces=shard.num_pieces * copies,
        num_tokens=shard.num_tokens * copies,
        sha256=digest.hexdigest(),
    )


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())
