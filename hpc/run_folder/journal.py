"""The record of a run: metrics.jsonl and stretches.jsonl for programs, TensorBoard, terminal."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar.summary import pb as layout_summary
from tensorboard.plugins.hparams import api as hparams

from hpc.distributed.collective_errors import first_line
from hpc.distributed.launcher import Place
from hpc.run_folder.event_cutting import cut_event_files
from hpc.run_folder.layout import METRICS, SAMPLES, STRETCHES, TENSORBOARD, read_entries
from hpc.run_folder.trackers.feed import Feed
from model.metrics.score_metrics import METRICS as METRICS_OF_MUSIC
from pipeline.runtime.files import add_line, line_of, not_written, replace_file

# On the terminal; all are in metrics.jsonl and TensorBoard.
SHOWN = ("loss", "perplexity", "gradient_norm", "learning_rate", "tokens_per_second")


class Journal:
    """The chief's record of a run; on other ranks every method does nothing."""

    def __init__(
        self,
        run_dir: Path,
        place: Place,
        *,
        step: int,
        evaluated: int,
        total_steps: int,
        tracker: str = "none",
    ) -> None:
        """Open the record of a run that continues after `step`, and remove later entries.

        `evaluated` is the last step whose evaluation is kept: `step` or an earlier one. `tracker`
        is a file of trackers/, or none.
        """
        self._place = place
        self._run_dir = run_dir
        self._total_steps = total_steps
        self._progress: Progress | None = None
        self._said: set[str] = set()
        self._tracker = tracker
        self._feed: Feed | None = None
        if not place.is_chief:
            return
        last = {"train": step, "valid": evaluated}
        lines = read_entries(run_dir / METRICS, {"step": int, "split": str})
        kept = [line for line in lines if line["step"] <= last.get(line["split"], step)]
        _replace_lines(run_dir / METRICS, kept)
        starts = read_entries(run_dir / STRETCHES, {"first_step": int})
        _replace_lines(run_dir / STRETCHES, [s for s in starts if s["first_step"] <= step])
        for folder in (TENSORBOARD, SAMPLES):
            cut_event_files(run_dir / folder, lambda tag: last.get(tag.partition("/")[0], step))
        # Not tensorboard.summary.Writer: it has scalars only, and the record also holds a text,
        # hparams and a layout of charts.
        self._writer = tf.summary.create_file_writer(str(run_dir / TENSORBOARD))
        console = Console()
        # Under mpirun every rank has a terminal of its own, whose lines mpirun copies.
        if console.is_terminal and place.launcher == "none":
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = self._progress.add_task("training", total=total_steps, completed=step)
            self._progress.start()

    def stretch(self, first_step: int, facts: dict[str, Any], settings: dict[str, Any]) -> None:
        """Record where and how the run trains from `first_step` on."""
        if not self._place.is_chief:
            return
        entry = {"first_step": first_step, "time": time.time(), **facts}
        add_line(self._run_dir / STRETCHES, entry)
        with self._writer.as_default(step=first_step):
            text = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
            tf.summary.text("run", "| what | value |\n|---|---|\n" + text)
            hparams.hparams({k: v for k, v in settings.items() if v is not None})
            tf.summary.experimental.write_raw_pb(dashboard().SerializeToString(), step=first_step)
        if self._tracker != "none":
            self._feed = Feed(self._tracker, self._run_dir, settings, facts, self.say)

    def scalars(self, step: int, split: str, **values: float) -> None:
        """Record scalars of a step; a loss also gives its perplexity."""
        if not self._place.is_chief:
            return
        if "loss" in values:
            # TensorBoard's scalars are float32, whose largest value is about e^88.
            values["perplexity"] = math.exp(min(values["loss"], 88.0))
        entry = {"step": step, "split": split, **values, "time": time.time()}
        add_line(self._run_dir / METRICS, entry)
        try:
            with self._writer.as_default(step=step):
                for name, value in values.items():
                    tf.summary.scalar(f"{split}/{name}", value)
            # Without this the writer waits for up to two minutes, which a kill would lose.
            self._writer.flush()
        except tf.errors.OpError as error:
            raise not_written(self._run_dir / TENSORBOARD, OSError(first_line(error))) from error
        if self._feed:
            self._feed.scalars(step, {f"{split}/{name}": value for name, value in values.items()})
        shown = ", ".join(f"{name} {_shown(values[name])}" for name in SHOWN if name in values)
        self.say(f"step {step}/{self._total_steps} {split}: {shown}")
        if self._progress:
            self._progress.update(self._task, completed=step)

    def say(self, line: str) -> None:
        """Print a line for the user, above the progress bar if there is one."""
        if self._progress:
            self._progress.console.print(line, highlight=False, markup=False)
        elif self._place.is_chief:
            prefix = f"[{self._place}] " if self._place.size > 1 else ""
            print(prefix + line, flush=True)

    def say_once(self, subject: str, line: str) -> None:
        """Print a line, unless one with this subject was printed before."""
        if subject not in self._said:
            self._said.add(subject)
            self.say(line)

    def close(self, ended: str = "done") -> None:
        """Write what is buffered, and end the progress bar; `ended` as `train_run` returns it."""
        if not self._place.is_chief:
            return
        if self._feed:
            self._feed.close(ended)
        if self._progress:
            self._progress.stop()
        self._writer.close()


def dashboard() -> Summary:
    """The layout of TensorBoard's custom page: loss, speed, parts of a step, and the music."""
    charts = {
        "loss": [r"(train|valid)/loss$", "train/gradient_norm$", "train/learning_rate$"],
        "speed": ["train/tokens_per_second$", "train/.*_seconds$"],
        "music": [rf"valid_music/{name.replace(' ', '_')}$" for name in METRICS_OF_MUSIC],
    }
    return layout_summary(
        layout_pb2.Layout(
            category=[
                layout_pb2.Category(
                    title=title,
                    chart=[
                        layout_pb2.Chart(
                            title=tag.rstrip("$").replace("(train|valid)", "train, valid"),
                            multiline=layout_pb2.MultilineChartContent(tag=[tag]),
                        )
                        for tag in tags
                    ],
                )
                for title, tags in charts.items()
            ]
        )
    )


def _replace_lines(path: Path, entries: list[dict[str, Any]]) -> None:
    """Write a .jsonl file again with these entries alone, if it exists."""
    if path.is_file():
        replace_file(path, "".join(map(line_of, entries)))


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
