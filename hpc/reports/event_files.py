"""TensorBoard event files written without TensorFlow."""

from __future__ import annotations

import importlib.util
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

EVENT_FILE = "events.out.tfevents.comparison"
# Of a view in its --out folder; TensorBoard shows it in the names of the runs.
FOLDER, OLD_FOLDER = "curves", "tensorboard"


def tensorboard_is_installed() -> bool:
    """Can the view be written? TensorBoard suffices, without TensorFlow."""
    return importlib.util.find_spec("tensorboard") is not None


def write_event_file(
    folder: Path, summaries: Iterator[tuple[int, float, Any]], zero: float
) -> None:
    """Write the event file of a folder: a header, then step, seconds and summary of each.

    `zero` is the time of second 0, since the epoch. Where all runs share it, TensorBoard's WALL
    axis is training time, gaps left out.
    """
    # Not tensorboard.summary.Writer (2.21): it has add_scalar only, no text, image or hparams; its
    # header has the time of writing, not `zero`, which would be the beginning of the run; and it
    # loads TensorFlow where that is installed.
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / EVENT_FILE).open("wb") as stream:
        writer = RecordWriter(stream)
        writer.write(Event(wall_time=zero, file_version="brain.Event:2").SerializeToString())
        for step, seconds, summary in summaries:
            event = Event(wall_time=zero + seconds, step=step, summary=summary)
            writer.write(event.SerializeToString())


def remove_event_files(out_dir: Path) -> None:
    """Remove the event files of an earlier view from an --out folder."""
    for folder in (out_dir / OLD_FOLDER, out_dir / FOLDER):
        for earlier in folder.rglob(EVENT_FILE):
            earlier.unlink()


def layout_summary(charts: Mapping[str, Mapping[str, Sequence[str]]]) -> Any:
    """The layout of TensorBoard's page Custom Scalars: by category and title, tags of a chart.

    tensorboard.plugins.custom_scalar.summary has the same as `pb`, which needs TensorFlow.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.custom_scalar import metadata
    from tensorboard.plugins.custom_scalar.layout_pb2 import (
        Category,
        Chart,
        Layout,
        MultilineChartContent,
    )
    from tensorboard.util.tensor_util import make_tensor_proto

    def chart(title: str, tags: Sequence[str]) -> Chart:
        patterns = [f"^{re.escape(tag)}$" for tag in tags]
        return Chart(title=title, multiline=MultilineChartContent(tag=patterns))

    categories = [
        Category(title=title, chart=[chart(*item) for item in own.items()])
        for title, own in charts.items()
    ]
    tensor = make_tensor_proto(Layout(category=categories).SerializeToString())
    tag, about = metadata.CONFIG_SUMMARY_TAG, metadata.create_summary_metadata()
    return Summary(value=[Summary.Value(tag=tag, tensor=tensor, metadata=about)])


def image_summary(tag: str, picture: Path) -> Any:
    """The summary that TensorBoard's image plugin shows for a PNG file.

    Its tensor is [width, height, file], of strings (tensorboard/plugins/image/summary_v2.py, whose
    own functions need TensorFlow).
    """
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.image.metadata import create_summary_metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    content = picture.read_bytes()
    width, height = struct.unpack(">II", content[16:24])  # of the IHDR chunk, the first (PNG 11.2)
    tensor = make_tensor_proto([str(width).encode(), str(height).encode(), content])
    metadata = create_summary_metadata(display_name=None, description=None)
    return Summary(value=[Summary.Value(tag=tag, tensor=tensor, metadata=metadata)])
