"""The schema of a record, and its writer and reader side by side. One record is one piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.dataset.manifest import Manifest, Shard
from pipeline.runtime.files import file_sha256
from pipeline.scores.labels import FIELDS, NO_FEATURES, Features

FEATURES = {
    "piece": tf.io.FixedLenFeature([], tf.string),
    "tokens": tf.io.RaggedFeature(tf.int64),
}


# Features of the piece: only those it has, each a list of its type, under this and its name.
FEATURE_PREFIX = "feature/"
NONE_AT_ALL: Mapping[str, Features] = MappingProxyType({})


def to_record(piece: str, tokens: np.ndarray, features: Features = NO_FEATURES) -> bytes:
    """A serialised tf.train.Example of one piece."""
    stored = {"piece": _bytes_list([piece]), "tokens": _int64_list(tokens.tolist())}
    for name, value in features.known().items():
        stored[FEATURE_PREFIX + name] = _typed_list(FIELDS[name], value)
    return tf.train.Example(features=tf.train.Features(feature=stored)).SerializeToString(
        deterministic=True
    )


def parse_records(records: tf.Tensor) -> dict[str, tf.Tensor]:
    """Serialised records [n] -> {"piece": [n] string, "tokens": ragged [n, None] int64}."""
    return tf.io.parse_example(records, FEATURES)


def write_shard(
    path: Path,
    split: str,
    pieces: Iterable[tuple[str, np.ndarray]],
    features: Mapping[str, Features] = NONE_AT_ALL,
) -> Shard:
    """Write (piece id, tokens) pairs to one file; what the manifest needs to know of it.

    `features`: of the piece ids that have some.
    Raises OSError when the disk is full or not writable.
    """
    num_pieces = num_tokens = longest = 0
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for piece, tokens in pieces:
                writer.write(to_record(piece, tokens, features.get(piece, NO_FEATURES)))
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
    for stored in _read(data_dir, shards):
        tokens = np.array(stored["tokens"].int64_list.value, np.int64)
        yield stored["piece"].bytes_list.value[0].decode(), tokens


def read_features(data_dir: Path, manifest: Manifest, split: str) -> Iterator[tuple[str, Features]]:
    """(piece id, features) of every piece of a split, in the order of `read_pieces`."""
    for stored in _read(data_dir, manifest.of_split(split)):
        known = {
            name: _value(kind, stored[FEATURE_PREFIX + name])
            for name, kind in FIELDS.items()
            if FEATURE_PREFIX + name in stored
        }
        yield stored["piece"].bytes_list.value[0].decode(), Features(**known)


def _read(data_dir: Path, shards: Iterable[Shard]) -> Iterator[Mapping[str, Any]]:
    """The tf.train.Feature of each name, of every record of some shards."""
    files = [str(data_dir / shard.file) for shard in shards]
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator():
        yield tf.train.Example.FromString(record).features.feature


def _bytes_list(texts: Iterable[str]) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[t.encode() for t in texts]))


def _int64_list(numbers: Iterable[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=numbers))


def _typed_list(kind: type, value: Any) -> tf.train.Feature:
    """A feature's value as the list that its type is stored in; floats have 32 bits there."""
    if kind is float:
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
    return _int64_list([value]) if kind is int else _bytes_list(value if kind is tuple else [value])


def _value(kind: type, stored: tf.train.Feature) -> Any:
    """What `_typed_list` stored."""
    if kind is tuple:
        return tuple(text.decode() for text in stored.bytes_list.value)
    if kind is str:
        return stored.bytes_list.value[0].decode()
    return (stored.float_list if kind is float else stored.int64_list).value[0]
