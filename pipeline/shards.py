"""A new data folder: pieces are spooled as they come, then balanced over lanes and written."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import heapq
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.features import Features
from pipeline.manifest import FILE_NAME, Shard
from pipeline.quiet import load_tensorflow


@dataclass(frozen=True)
class Entry:
    """A piece in the spool."""

    piece: str  # id
    source: str  # id of the file it came from
    digest: bytes  # sha256 of its ids
    offset: int  # bytes
    num_tokens: int


class Spool:
    """Ids on disk, in the order they came, so that memory does not grow with the music."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self.entries: list[Entry] = []

    def append(self, piece: str, source: str, ids: np.ndarray) -> None:
        """Keep the ids [num_tokens] int32 of a piece. Raises OSError when the disk is full."""
        payload = ids.astype("<i4").tobytes()
        offset = self._file.seek(0, os.SEEK_END)
        self._file.write(payload)
        digest = hashlib.sha256(payload).digest()
        self.entries.append(Entry(piece, source, digest, offset, ids.size))

    def read(self, entry: Entry) -> np.ndarray:
        """The ids of a piece."""
        self._file.seek(entry.offset)
        return np.frombuffer(self._file.read(4 * entry.num_tokens), "<i4")

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


def balance(sizes: Sequence[int], num_bins: int) -> list[int]:
    """The bin of each item, such that the sums of two bins differ by one item at most.

    Largest first, each into the bin with least in it (Graham's LPT rule); ties go to the item and
    the bin that come first.
    """
    bins = [(0, number) for number in range(num_bins)]
    chosen = [0] * len(sizes)
    for item in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        total, number = bins[0]
        heapq.heapreplace(bins, (total + sizes[item], number))
        chosen[item] = number
    return chosen


def write_split(
    folder: Path,
    split: str,
    spool: Spool,
    entries: Sequence[Entry],
    *,
    num_lanes: int,
    num_shards: int,
    seed: int,
    features: Mapping[str, Features],
) -> list[Shard]:
    """Write the shards of a split, in lane order: shard i belongs to lane i % num_lanes.

    `features`: of the sources (`Entry.source`) that have some; each piece of a source has them.

    Tokens are balanced over lanes, and over the shards of a lane. Within a shard the order is that
    of a hash, so that neighbours in a folder do not stay neighbours.
    """
    load_tensorflow()
    from pipeline.records import write_shard

    entries = sorted(entries, key=lambda e: hashlib.sha256(f"{seed}:{e.piece}".encode()).digest())
    lanes: list[list[Entry]] = [[] for _ in range(num_lanes)]
    for entry, lane in zip(
        entries, balance([e.num_tokens for e in entries], num_lanes), strict=True
    ):
        lanes[lane].append(entry)
    files: list[list[Entry]] = [[] for _ in range(num_shards)]
    for lane, members in enumerate(lanes):
        rows = balance([e.num_tokens for e in members], num_shards // num_lanes)
        for entry, row in zip(members, rows, strict=True):
            files[row * num_lanes + lane].append(entry)
    shards = []
    for number, members in enumerate(files):
        path = folder / f"{split}-{number:05d}-of-{num_shards:05d}.tfrecord"
        known = {e.piece: features[e.source] for e in members if e.source in features}
        shards.append(write_shard(path, split, ((e.piece, spool.read(e)) for e in members), known))
    return shards


@contextmanager
def complete_folder(out: Path, *, replace: bool) -> Iterator[Path]:
    """A new folder beside `out` that becomes `out` at the end; after an error it is gone.

    A process killed in between leaves `out` as it was and a `.partial` folder, which the next one
    clears. Raises ValueError where another process writes the same folder, or where `out` exists
    and is not to be replaced or no data set.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; needed: the name of a folder to write")
    if out.is_dir() and any(out.iterdir()):
        if not (out / FILE_NAME).is_file():
            raise ValueError(
                f"{out} is not empty and holds no data set: not replaced. Use another --out"
            )
        if not replace:
            raise ValueError(f"{out} exists. Use --force to replace it, or another --out")
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
            for leftover in partial.iterdir():
                leftover.unlink()
            yield partial
            _synchronise(partial)
            shutil.rmtree(replaced, ignore_errors=True)
            if out.exists():
                out.rename(replaced)
            partial.rename(out)
            shutil.rmtree(replaced, ignore_errors=True)
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise OSError(error.errno, "disk full, nothing written", str(out)) from None
            raise
    finally:
        os.close(lock)


def _synchronise(folder: Path) -> None:
    """Return when the folder's files are on the disk, and not only in memory."""
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
