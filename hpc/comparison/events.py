"""The comparison of runs for TensorBoard, written without TensorFlow."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hpc.run_folder.recorded import RecordedRun, Stretch

EVENT_FILE = "events.out.tfevents.comparison"
# The moment of training time 0. All runs share it, so TensorBoard's WALL axis is training time,
# gaps left out; it is above 0 because that stands for "not set" in the file format.
ZERO = 86_400.0


def tensorboard_is_installed() -> bool:
    """Can the view be written? TensorBoard suffices."""
    return importlib.util.find_spec("tensorboard") is not None


def write_events(runs: Sequence[RecordedRun], text: str, out_dir: Path) -> None:
    """Write a folder for each run, and for each stretch of a run that moved; `text` beside them.

    Curves are under loss/SPLIT by step, loss_by_tokens/SPLIT and loss_by_seconds/SPLIT (training
    time); speed under tokens_per_second/. An earlier comparison in the folder is replaced.
    """
    for earlier in out_dir.rglob(EVENT_FILE):
        earlier.unlink()
    for run in runs:
        name = run.name.strip("/").replace("/", "_")
        for stretch in run.stretches:
            part = f"{name}/stretch-{stretch.number}" if len(run.stretches) > 1 else name
            write_event_file(out_dir / part, _scalars(run, stretch))
    from tensorboard.plugins.text.summary_v2 import text_pb

    write_event_file(out_dir, iter([(0, 0.0, text_pb("comparison", text))]))


def _scalars(run: RecordedRun, stretch: Stretch) -> Iterator[tuple[int, float, Any]]:
    """Step, training time and summary of all that a stretch recorded."""
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    for split, points in run.curves.items():
        for point in points:
            if point.stretch == stretch.number:
                places = {
                    "loss": point.step,
                    "loss_by_tokens": point.tokens,
                    "loss_by_seconds": round(point.seconds),
                }
                for name, place in places.items():
                    yield place, point.seconds, scalar_pb(f"{name}/{split}", point.loss)
    for window in stretch.windows:
        per_worker = window.rate / stretch.workers
        for name, rate in (("all workers", window.rate), ("per worker", per_worker)):
            yield window.step, window.seconds, scalar_pb(f"tokens_per_second/{name}", rate)


def write_event_file(folder: Path, summaries: Iterator[tuple[int, float, Any]]) -> None:
    """Write the event file of a folder: a header, then step, seconds and summary of each."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / EVENT_FILE).open("wb") as stream:
        writer = RecordWriter(stream)
        writer.write(Event(wall_time=ZERO, file_version="brain.Event:2").SerializeToString())
        for step, seconds, summary in summaries:
            event = Event(wall_time=ZERO + seconds, step=step, summary=summary)
            writer.write(event.SerializeToString())
