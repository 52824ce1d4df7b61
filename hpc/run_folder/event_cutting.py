"""Cutting TensorBoard's event files back to a checkpoint, when a run continues from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event

from hpc.distributed.collective_errors import first_line
from pipeline.runtime.files import new_file, not_written

HPARAMS = "_hparams_/"  # tags that every start writes again, always at step 0


def cut_event_files(folder: Path, last_step: Callable[[str], int]) -> None:
    """Remove from a folder's event files what a run that continues writes again.

    That is every event of a tag after `last_step(tag)`, and a last record that a kill cut short.
    A file without any other event is removed. Without this TensorBoard shows both points of a step
    that was computed twice (findings/tensorboard-restart.sh). Raises OSError naming the file that
    cannot be written.
    """
    for unfinished in folder.glob("*tfevents*.partial"):  # by a kill at this place
        unfinished.unlink()
    for path in sorted(folder.glob("*tfevents*")):
        records = list(_records(path))
        kept = [record for record in records if _is_kept(record, last_step)]
        if not any(Event.FromString(record).HasField("summary") for record in kept):
            path.unlink()
            continue
        size = sum(len(record) + 16 for record in kept)  # a record's length and two checksums
        if size == path.stat().st_size:
            continue
        try:
            with new_file(path) as partial, tf.io.TFRecordWriter(str(partial)) as writer:
                for record in kept:
                    writer.write(record)
        except tf.errors.OpError as error:
            raise not_written(path, OSError(first_line(error))) from error
        except OSError as error:
            raise not_written(path, error) from error


def _records(path: Path) -> Iterator[bytes]:
    """The records of a file up to the first that is damaged or cut short."""
    try:
        yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    except tf.errors.DataLossError:
        return


def _is_kept(record: bytes, last_step: Callable[[str], int]) -> bool:
    event = Event.FromString(record)
    tags = [value.tag for value in event.summary.value]
    return all(not tag.startswith(HPARAMS) and event.step <= last_step(tag) for tag in tags)
