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
    """Can the view be written? TensorBoard suffices."""
    return importlib.util.find_spec("tensorboard") is not None


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


def image_summary(tag: str, picture: Path) -> Any:
    """The summary that TensorBoard's image plugin shows for a PNG file.

    Its tensor is [width, height, file], of strings (tensorboard/plugins/image/summary_v2.py).
    """
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.image.metadata import create_summary_metadata

    content = picture.read_bytes()
    width, height = struct.unpack(">II", content[16:24])  # of the IHDR chunk, the first (PNG 11.2)
    strings = [str(width).encode(), str(height).encode(), content]
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=len(strings))])
    tensor = TensorProto(dtype=DT_STRING, string_val=strings, tensor_shape=shape)
    metadata = create_summary_metadata(display_name=None, description=None)
    return Summary(value=[Summary.Value(tag=tag, tensor=tensor, metadata=metadata)])
