"""The shards of a new data folder: pieces from the spool, balanced over lanes, written."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.dataset.manifest import Shard
from pipeline.preprocessing.spool import Entry, Spool
from pipeline.runtime.tensorflow_loading import load_tensorflow
from pipeline.scores.labels import Features

BYTES_PER_TOKEN = 2  # of a record: ids over 127 take two
# Large enough that opening a file costs nothing beside reading it, small enough to copy again.
SHARD_BYTES = 100_000_000


def good_number_of_shards(entries: Sequence[Entry], num_lanes: int) -> int:
    """Number of shards for these pieces: equally many in each lane, of about SHARD_BYTES."""
    num_bytes = BYTES_PER_TOKEN * sum(entry.num_tokens for entry in entries)
    return num_lanes * max(1, round(num_bytes / (num_lanes * SHARD_BYTES)))


def balance(sizes: Sequence[int], num_bins: int) -> list[int]:
    """The bin of each item, such that the sums of two bins differ by at most one item.

    Largest item first, each into the bin with the smallest sum (Graham's LPT rule); of equal items
    or bins the first is taken.
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

    `features` are those of sources (`Entry.source`); each piece of a source has them.

    Tokens are balanced over lanes, and over the shards of a lane. Pieces are in the order of a
    hash, so that neighbours in a folder do not stay neighbours. Shards that the spool lists as
    written are not written again.
    """
    load_tensorflow()
    from pipeline.dataset.records import write_shard

    # Pieces to lanes.
    entries = sorted(entries, key=lambda e: hashlib.sha256(f"{seed}:{e.piece}".encode()).digest())
    lanes: list[list[Entry]] = [[] for _ in range(num_lanes)]
    for entry, lane in zip(
        entries, balance([e.num_tokens for e in entries], num_lanes), strict=True
    ):
        lanes[lane].append(entry)

    # Pieces of a lane to its shards.
    files: list[list[Entry]] = [[] for _ in range(num_shards)]
    for lane, members in enumerate(lanes):
        rows = balance([e.num_tokens for e in members], num_shards // num_lanes)
        for entry, row in zip(members, rows, strict=True):
            files[row * num_lanes + lane].append(entry)

    # Shards to disk.
    shards = []
    for number, members in enumerate(files):
        path = folder / f"{split}-{number:05d}-of-{num_shards:05d}.tfrecord"
        shard = spool.shard(path.name)
        if shard is None:
            known = {e.piece: features[e.source] for e in members if e.source in features}
            pieces = ((e.piece, spool.read(e)) for e in members)
            shard = write_shard(path, split, pieces, known)
            spool.add_shard(shard)
        shards.append(shard)
    return shards
