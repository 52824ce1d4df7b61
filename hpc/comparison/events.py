"""The comparison of runs for TensorBoard, written without TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hpc.reports.event_files import FOLDER, remove_event_files, write_event_file
from hpc.run_folder.recorded import RecordedRun, Stretch


def write_events(runs: Sequence[RecordedRun], text: str, out_dir: Path) -> None:
    """Write a folder for each run, or for each stretch of a run that moved, and `text` beside them.

    They are in the folder `FOLDER` of `out_dir`. Curves are under loss/SPLIT by step,
    loss_by_tokens/SPLIT and loss_by_seconds/SPLIT (training time); speed under tokens_per_second/.
    An earlier comparison in the folder is replaced.
    """
    remove_event_files(out_dir)
    folder, zero = out_dir / FOLDER, time.time()
    for run in runs:
        name = run.name.strip("/").replace("/", "_")
        for stretch in run.stretches:
            part = f"{name}/stretch-{stretch.number}" if len(run.stretches) > 1 else name
            write_event_file(folder / part, _scalars(run, stretch), zero)
    from tensorboard.plugins.text.summary_v2 import text_pb

    write_event_file(folder, iter([(0, 0.0, text_pb("comparison", text))]), zero)


def _scalars(run: RecordedRun, stretch: Stretch) -> Iterator[tuple[int, float, Any]]:
    """Step, training time and summary of every loss and speed of a stretch."""
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    for split, points in run.curves.items():
        for point in points:
            if point.stretch == stretch.number:
                positions = {
                    "loss": point.step,
                    "loss_by_tokens": point.tokens,
                    "loss_by_seconds": round(point.seconds),
                }
                for name, position in positions.items():
                    yield position, point.seconds, scalar_pb(f"{name}/{split}", point.loss)
    for interval in stretch.intervals:
        per_worker = interval.rate / stretch.workers
        for name, rate in (("all workers", interval.rate), ("per worker", per_worker)):
            yield interval.step, interval.seconds, scalar_pb(f"tokens_per_second/{name}", rate)
