"""The output folder, which gets its name only when it is complete."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.dataset.manifest import FILE_NAME
from pipeline.preprocessing.spool import JOURNAL, SPOOL
from pipeline.runtime.files import is_full


@contextmanager
def complete_folder(out: Path, *, replace: bool) -> Iterator[Path]:
    """A new folder beside `out` that is renamed to `out` at the end and removed after an error.

    A process that is killed or interrupted leaves `out` as it was, and its work in a `.partial`
    folder, with which the next process continues. Raises ValueError where another process writes
    the same folder, or where `out` exists and is no data set or must not be replaced.
    """
    # What is there already.
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; needed: the name of a folder to write")
    if out.is_dir() and any(out.iterdir()):
        if not (out / FILE_NAME).is_file():
            raise ValueError(
                f"{out} is not empty and holds no data set: not replaced. Use another --out"
            )
        if not replace:
            raise ValueError(f"{out} exists. Use --force to replace it, or another --out")

    # The folder, locked. By flock on the folder itself: filelock needs a file of its own, which
    # would stay behind beside the data set.
    partial, replaced = out.with_name(out.name + ".partial"), out.with_name(out.name + ".replaced")
    partial.mkdir(parents=True, exist_ok=True)
    lock = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another process is writing {out} now. Wait for it or use another --out"
            ) from None
        try:
            yield partial
            _synchronise(partial)
            for name in (JOURNAL, SPOOL):  # last: up to here a kill loses no work
                (partial / name).unlink(missing_ok=True)

            # The new data set takes the place of the old one.
            shutil.rmtree(replaced, ignore_errors=True)
            if out.exists():
                out.rename(replaced)
            partial.rename(out)
            shutil.rmtree(replaced, ignore_errors=True)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"finished work is kept in {partial}, and the same command continues there"
            ) from None
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(error, OSError) and is_full(error):
                raise OSError(error.errno, "disk full, nothing written", str(out)) from None
            raise
    finally:
        os.close(lock)


def _synchronise(folder: Path) -> None:
    """Wait until the folder's files are on the disk, and not only in memory."""
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
