"""The record of a run: metrics.jsonl and stretches.jsonl for programs, TensorBoard, terminal."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

from hpc.distributed.collective_errors import first_line
from hpc.distributed.launcher import Place
from hpc.run_folder.dashboard import page, settings_table
from hpc.run_folder.event_cutting import cut_event_files, move_old_event_files
from hpc.run_folder.layout import METRICS, SAMPLES, STRETCHES, read_entries
from hpc.run_folder.tags import EVALUATED, tag_of
from hpc.run_folder.terminal import Terminal
from hpc.run_folder.trackers.feed import Feed
from pipeline.runtime.files import add_line, line_of, not_written, replace_file

# On the terminal, of each split; metrics.jsonl and TensorBoard have all.
SHOWN = {"train": ("loss",), "valid": ("loss", "perplexity")}


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
        self._said: set[str] = set()
        self._tracker = tracker
        self._feed: Feed | None = None
        if not place.is_chief:
            return

        # What a kill left after the checkpoint: in the lines, and in TensorBoard's files.
        last = {"train": step, "valid": evaluated}
        lines = read_entries(run_dir / METRICS, {"step": int, "split": str})
        kept = [line for line in lines if line["step"] <= last.get(line["split"], step)]
        _replace_lines(run_dir / METRICS, kept)
        starts = read_entries(run_dir / STRETCHES, {"first_step": int})
        _replace_lines(run_dir / STRETCHES, [s for s in starts if s["first_step"] <= step])
        move_old_event_files(run_dir)
        for folder in (run_dir, run_dir / SAMPLES):
            cut_event_files(folder, lambda tag: evaluated if tag in EVALUATED else step, tag_of)

        # Not tensorboard.summary.Writer: it has scalars only, and the record also holds a text,
        # hparams and a layout of charts.
        self._writer = tf.summary.create_file_writer(str(run_dir))
        self._terminal = Terminal(place, step=step, total_steps=total_steps)

    def stretch(self, first_step: int, facts: dict[str, Any], settings: dict[str, Any]) -> None:
        """Record where and how the run trains from `first_step` on."""
        if not self._place.is_chief:
            return
        entry = {"first_step": first_step, "time": time.time(), **facts}
        add_line(self._run_dir / STRETCHES, entry)
        with self._writer.as_default(step=first_step):
            text = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
            tf.summary.text("run", "| what | value |\n|---|---|\n" + text)
            for summary in (page(), *settings_table(str(self._run_dir), settings)):
                tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=first_step)
        if self._tracker != "none":
            self._feed = Feed(self._tracker, self._run_dir, settings, facts, self.say)

    def scalars(self, step: int, split: str, **values: float) -> None:
        """Record scalars of a step; a loss also gives its perplexity.

        Raises OSError naming the file if it cannot be written (a full disk, say).
        """
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
                    tf.summary.scalar(tag_of(f"{split}/{name}"), value)
            # Without this the writer waits for up to two minutes, which a kill would lose.
            self._writer.flush()
        except tf.errors.OpError as error:
            what = self._run_dir / "events.out.tfevents"
            raise not_written(what, OSError(first_line(error))) from error
        if self._feed:
            self._feed.scalars(step, {f"{split}/{name}": value for name, value in values.items()})
        shown = [f"{name} {values[name]:.4g}" for name in SHOWN[split] if name in values]
        if split == "train" and "tokens_per_second" in values:
            shown.append(f"{values['tokens_per_second']:,.0f} tokens/s")
            shown += [f"{left} left" for left in [self._terminal.time_left] if left]
        self.say(f"step {step}/{self._total_steps} {split}: {', '.join(shown)}")

    def finish_step(self, step: int) -> None:
        """Show on the terminal that a step is done."""
        if self._place.is_chief:
            self._terminal.finish_step(step)

    def say(self, line: str) -> None:
        """Print a line for the user."""
        if self._place.is_chief:
            self._terminal.say(line)

    def say_once(self, subject: str, line: str) -> None:
        """Print a line, unless one with this subject was printed before."""
        if subject not in self._said:
            self._said.add(subject)
            self.say(line)

    def close(self, ended: str = "done") -> None:
        """Write what is buffered, take the bar away; `ended` as `train_run` returns it."""
        if not self._place.is_chief:
            return
        if self._feed:
            self._feed.close(ended)
        self._terminal.close()
        self._writer.close()


def _replace_lines(path: Path, entries: list[dict[str, Any]]) -> None:
    """Write a .jsonl file again with these entries alone, if it exists."""
    if path.is_file():
        replace_file(path, "".join(map(line_of, entries)))
