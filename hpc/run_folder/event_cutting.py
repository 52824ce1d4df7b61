"""Cutting TensorBoard's event files back to a checkpoint, when a run continues from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event

from hpc.distributed.collective_errors import first_line
from pipeline.runtime.files import new_file, not_written

OLD_FOLDER = "tensorboard"
HPARAMS = "_hparams_/"  # tags that every start writes again, always at step 0


def move_old_event_files(run_dir: Path) -> None:
    """Move event files and profiles out of RUN/tensorboard, where older versions wrote them.

    TensorBoard names a run by the folder of its files.
    """
    old = run_dir / OLD_FOLDER
    for path in sorted(old.rglob("*"), reverse=True):  # a folder after all that is in it
        if path.is_dir():
            path.rmdir()
            continue
        new = run_dir / path.relative_to(old)
        new.parent.mkdir(parents=True, exist_ok=True)
        path.replace(new)
    if old.is_dir():
        old.rmdir()


def cut_event_files(
    folder: Path, last_step: Callable[[str], int], tag_of: Callable[[str], str]
) -> None:
    """Remove from a folder's event files what a run that continues writes again.

    That is every event of a tag after `last_step(tag)`, and a last record that a kill cut short.
    A file without any other event is removed. Without this TensorBoard shows both points of a step
    that was computed twice (findings/tensorboard-restart.sh). `tag_of` returns the present tag for
    one of an older version, and any other tag as it is. Raises OSError naming the file that cannot
    be written.
    """
    for unfinished in folder.glob("*tfevents*.partial"):  # by a kill at this place
        unfinished.unlink()
    for path in sorted(folder.glob("*tfevents*")):
        records = list(_records(path))
        kept = [new for record in records if (new := _kept(record, last_step, tag_of))]
        if not any(Event.FromString(record).HasField("summary") for record in kept):
            path.unlink()
            continue
        size = sum(len(record) + 16 for record in kept)  # a record's length and two checksums
        if size == path.stat().st_size and set(kept) <= set(records):
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


def _kept(
    record: bytes, last_step: Callable[[str], int], tag_of: Callable[[str], str]
) -> bytes | None:
    """The record, with present tags; None if it is to be removed."""
    event = Event.FromString(record)
    tags = [value.tag for value in event.summary.value]
    present = [tag_of(tag) for tag in tags]
    if any(tag.startswith(HPARAMS) or event.step > last_step(tag) for tag in present):
        return None
    if present == tags:
        return record
    for value, tag in zip(event.summary.value, present, strict=True):
        value.tag = tag
    return event.SerializeToString()
