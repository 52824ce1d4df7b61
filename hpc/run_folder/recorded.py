"""The records in the folders of runs, by training time. No TensorFlow here.

A stretch is the part of a run between two starts. Its training time runs from its line in
stretches.jsonl (set-up is done, the first step not yet compiled) to its last line in metrics.jsonl,
with evaluations and checkpoints. Steps after that line count with the stretch's median time. The
time between two stretches (move, queue, start) does not count, nor do steps that a kill undid.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc.config.train_config import read_settings
from hpc.reports.spread import counted
from hpc.run_folder.layout import (
    CONFIG,
    METRICS,
    METRICS_TYPES,
    STRETCHES,
    STRETCHES_TYPES,
    read_entries,
)
from model.evaluation.music_report import FILE_NAME as MUSIC

SPLITS = ("train", "valid")


@dataclass(frozen=True)
class Interval:
    """The speed between two lines of metrics.jsonl."""

    step: int  # its last
    seconds: float  # training time at its end
    rate: float  # tokens per second over all workers; evaluations left out


@dataclass(frozen=True)
class Stretch:
    """The part of a run between two starts: one place, one way of training."""

    run: str
    number: int  # from 1
    first_step: int
    last_step: int  # that counts: the next stretch repeated later ones
    started_seconds: float  # training time of the stretches before it
    seconds: float  # training time
    uncounted_steps: int  # whose time is not recorded
    intervals: tuple[Interval, ...]  # the first is left out: it warms up
    facts: dict[str, Any]

    @property
    def rates(self) -> list[float]:
        """Tokens per second over all workers, by interval."""
        return [interval.rate for interval in self.intervals]

    @property
    def name(self) -> str:
        """The run and the number, as 'runs-a/2'."""
        return f"{self.run}/{self.number}"

    @property
    def strategy(self) -> str:
        """How gradients were averaged."""
        return str(self.facts["strategy"])

    @property
    def workers(self) -> int:
        """The number of processes that trained."""
        return int(self.facts["workers"])

    @property
    def hosts(self) -> str:
        """The servers: 'bath', 'bath x2' with two workers there, 'dorchester + bath'."""
        return counted(self.facts["hosts"])

    @property
    def num_tokens(self) -> int:
        """Positions trained on, over all workers."""
        return tokens_per_step(self.facts) * (self.last_step - self.first_step + 1)


@dataclass(frozen=True)
class Point:
    """A recorded loss, with the steps, tokens and seconds up to it."""

    step: int
    tokens: int  # positions trained on so far, over all workers and stretches
    seconds: float  # training time so far
    loss: float  # mean nats per token
    stretch: int


@dataclass(frozen=True)
class RecordedRun:
    """The records in a run's folder."""

    name: str
    folder: Path
    config: dict[str, Any]
    stretches: tuple[Stretch, ...]
    curves: dict[str, tuple[Point, ...]]  # by split; a split without a loss is missing
    cut_short: bool  # is the last line of metrics.jsonl only half there?
    music: dict[str, Any] | None = (
        None  # the result of model/evaluate.py --samples (music_report.py)
    )

    @property
    def best(self) -> Point | None:
        """The first point with the lowest validation loss; None without any finite one."""
        finite = [point for point in self.curves.get("valid", ()) if math.isfinite(point.loss)]
        return min(finite, key=lambda point: point.loss, default=None)

    def reached(self, loss: float) -> Point | None:
        """The first evaluation with this validation loss or a lower one; None without any."""
        return next((point for point in self.curves.get("valid", ()) if point.loss <= loss), None)


def read_runs(folders: Sequence[Path]) -> list[RecordedRun]:
    """The runs of some folders, each under a name of its own.

    Raises ValueError for a folder that is missing, given twice or not a run's, or when the runs
    have no split in common whose loss they recorded.
    """
    resolved = Counter(folder.resolve() for folder in folders)
    twice = [str(folder) for folder, count in resolved.items() if count > 1]
    if twice:
        raise ValueError(f"{', '.join(twice)} is given more than once; give each run once")
    names = Counter(folder.resolve().name for folder in folders)
    runs = []
    for folder in folders:
        name = folder.resolve().name
        runs.append(read_run(folder, name if names[name] == 1 else str(folder)))
    if not common_splits(runs):
        listed = "; ".join(f"{run.name} has {' and '.join(run.curves)} loss" for run in runs)
        raise ValueError(f"the runs have no loss in common: {listed}. Train on, or leave some out")
    return runs


def read_run(folder: Path, name: str) -> RecordedRun:
    """The run of a folder. Raises ValueError or OSError where a record is missing or damaged."""
    if not folder.is_dir():
        raise ValueError(f"no run folder {folder}: give folders that hpc/train.py wrote (--run)")
    missing = [file for file in (CONFIG, METRICS, STRETCHES) if not (folder / file).is_file()]
    if missing:
        raise ValueError(
            f"{folder} has no {', '.join(missing)}: it is no run folder, or its training "
            "had not begun. Give one that hpc/train.py wrote, whole"
        )
    config = read_settings(folder / CONFIG)
    lines = read_entries(folder / METRICS, METRICS_TYPES)
    lines = [line for line in lines if "loss" in line and line["split"] in SPLITS]
    entries = read_entries(folder / STRETCHES, STRETCHES_TYPES)
    if not lines:
        raise ValueError(
            f"{folder / METRICS} holds no loss yet: a run writes the first after --log-every steps"
        )
    stretches, curves = _in_training_time(name, lines, entries)
    cut_short = not (folder / METRICS).read_bytes().endswith(b"\n")
    music = _read_music(folder / MUSIC)
    return RecordedRun(name, folder, config, tuple(stretches), curves, cut_short, music)


def common_splits(runs: Sequence[RecordedRun]) -> list[str]:
    """The splits whose loss all runs recorded."""
    return [split for split in SPLITS if all(split in run.curves for run in runs)]


def tokens_per_step(facts: dict[str, Any]) -> int:
    """Tokens of the global batch of a stretch."""
    positions = int(facts["global_batch_size"]) * int(facts["sequence_length"])
    return int(facts.get("tokens_per_step", positions))  # missing in runs of older versions


def _read_music(path: Path) -> dict[str, Any] | None:
    """The measures of composed pieces by evaluate.py; None where it did not run."""
    if not path.is_file():
        return None
    try:
        music = dict(json.loads(path.read_text()))
    except (ValueError, TypeError):
        music = {}
    if missing := sorted({"split", "pieces", "metrics", "copies"} - music.keys()):
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: it is not whole. Write it again with "
            "model/evaluate.py --samples"
        )
    return music


def _in_training_time(
    name: str, lines: list[dict[str, Any]], entries: list[dict[str, Any]]
) -> tuple[list[Stretch], dict[str, tuple[Point, ...]]]:
    """Stretches and curves by training time, which stands still between stretches."""
    if not entries or lines[0]["step"] < entries[0]["first_step"]:
        raise ValueError(
            f"{STRETCHES} of {name} does not tell where step {lines[0]['step']} ran: the folder "
            "was copied in part; copy it whole"
        )
    last_steps = [entry["first_step"] - 1 for entry in entries[1:]] + [lines[-1]["step"]]
    stretches: list[Stretch] = []
    curves: dict[str, list[Point]] = {}
    seconds, tokens = 0.0, 0
    for facts, last_step in zip(entries, last_steps, strict=True):
        first_step = facts["first_step"]
        if last_step < first_step:  # it ended before a step that counts
            continue
        own = [line for line in lines if first_step <= line["step"] <= last_step]
        intervals = []
        for line in own:
            step, elapsed = line["step"], seconds + line["time"] - facts["time"]
            done = tokens + tokens_per_step(facts) * (step - first_step + 1)
            point = Point(step, done, elapsed, line["loss"], len(stretches) + 1)
            curves.setdefault(line["split"], []).append(point)
            if line["split"] == "train" and "tokens_per_second" in line:
                intervals.append(Interval(step, elapsed, line["tokens_per_second"]))
        recorded = own[-1]["time"] - facts["time"] if own else 0.0
        unrecorded = last_step - (own[-1]["step"] if own else first_step - 1)
        rates = [interval.rate for interval in intervals]
        pace = tokens_per_step(facts) / statistics.median(rates) if rates else 0.0
        stretch = Stretch(
            run=name,
            number=len(stretches) + 1,
            first_step=first_step,
            last_step=last_step,
            started_seconds=seconds,
            seconds=recorded + unrecorded * pace,
            uncounted_steps=0 if rates else unrecorded,
            intervals=tuple(intervals[1:]),
            facts=facts,
        )
        stretches.append(stretch)
        seconds += stretch.seconds
        tokens += stretch.num_tokens
    return stretches, {split: tuple(curves[split]) for split in SPLITS if split in curves}
