"""TensorBoard event files written without TensorFlow."""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EVENT_FILE = "events.out.tfevents.comparison"

# The moment of training time 0. All runs share it, so TensorBoard's WALL axis is training time,
# gaps left out; it is above 0 because that stands for "not set" in the file format.
ZERO = 86_400.0


def tensorboard_is_installed() -> bool:
    """Can the view be written? TensorBoard suffices, without TensorFlow."""
    return importlib.util.find_spec("tensorboard") is not None


def write_event_file(folder: Path, summaries: Iterator[tuple[int, float, Any]]) -> None:
    """Write the event file of a folder: a header, then step, seconds and summary of each."""
    # Not tensorboard.summary.Writer (2.21): it has add_scalar only, no text, image or hparams; its
    # header has the time of writing, not ZERO, which would be the beginning of the run; and it
    # loads TensorFlow where that is installed.
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / EVENT_FILE).open("wb") as stream:
        writer = RecordWriter(stream)
        writer.write(Event(wall_time=ZERO, file_version="brain.Event:2").SerializeToString())
        for step, seconds, summary in summaries:
            event = Event(wall_time=ZERO + seconds, step=step, summary=summary)
            writer.write(event.SerializeToString())


def remove_event_files(folder: Path) -> None:
    """Remove the event files of an earlier view from a folder and from those below it."""
    for earlier in folder.rglob(EVENT_FILE):
        earlier.unlink()


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
