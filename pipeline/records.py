"""The schema of a record, and its writer and reader side by side. One record is one piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.manifest import Manifest, Shard, file_sha256

FEATURES = {
    "piece": tf.io.FixedLenFeature([], tf.string),
    "tokens": tf.io.RaggedFeature(tf.int64),
}


def to_record(piece: str, tokens: np.ndarray) -> bytes:
    """A serialised tf.train.Example of one piece."""
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                "piece": tf.train.Feature(bytes_list=tf.train.BytesList(value=[piece.encode()])),
                "tokens": tf.train.Feature(int64_list=tf.train.Int64List(value=tokens.tolist())),
            }
        )
    ).SerializeToString(deterministic=True)


def parse_records(records: tf.Tensor) -> dict[str, tf.Tensor]:
    """Serialised records [n] -> {"piece": [n] string, "tokens": ragged [n, None] int64}."""
    return tf.io.parse_example(records, FEATURES)


def write_shard(path: Path, split: str, pieces: Iterable[tuple[str, np.ndarray]]) -> Shard:
    """Write (piece id, tokens) pairs to one file; what the manifest needs to know of it.

    Raises OSError when the disk is full or not writable.
    """
    num_pieces = num_tokens = longest = 0
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for piece, tokens in pieces:
                writer.write(to_record(piece, tokens))
                num_pieces += 1
                num_tokens += len(tokens)
                longest = max(longest, len(tokens))
    except tf.errors.OpError as error:
        raise OSError(f"could not write {path}: {error.message}") from None
    return Shard(path.name, split, num_pieces, num_tokens, longest, file_sha256(path))


def read_pieces(data_dir: Path, manifest: Manifest, split: str) -> Iterator[tuple[str, np.ndarray]]:
    """(piece id, tokens [num_tokens] int64) of every piece of a split, in shard order."""
    return read_shards(data_dir, manifest.of_split(split))


def read_shards(data_dir: Path, shards: Iterable[Shard]) -> Iterator[tuple[str, np.ndarray]]:
    """(piece id, tokens [num_tokens] int64) of every piece of some shards, in order."""
    files = [str(data_dir / shard.file) for shard in shards]
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator():
        example = tf.train.Example.FromString(record)
        yield (
            example.features.feature["piece"].bytes_list.value[0].decode(),
            np.array(example.features.feature["tokens"].int64_list.value, np.int64),
        )
