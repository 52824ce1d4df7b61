from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.manifest import Manifest, file_sha256
from pipeline.records import parse_records, read_pieces, to_record, write_shard
from pipeline.vocabulary import EventVocabulary

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
pieces = st.lists(st.tuples(names, st.lists(st.integers(0, 2**31 - 1), max_size=50)), max_size=5)


@settings(deadline=None, max_examples=30, derandomize=True, database=None)
@given(pieces=pieces)
def test_a_batch_of_records_parses_to_what_was_written(pieces: list[tuple[str, list[int]]]) -> None:
    records = [to_record(name, np.array(tokens, np.int64)) for name, tokens in pieces]
    parsed = parse_records(tf.constant(records, tf.string))
    assert [name.decode() for name in parsed["piece"].numpy()] == [name for name, _ in pieces]
    assert parsed["tokens"].to_list() == [tokens for _, tokens in pieces]


def test_a_shard_reads_back_and_is_counted(tmp_path: Path) -> None:
    pieces = [("a, with a comma", np.arange(5)), ("ä/2", np.arange(9, 2, -1))]
    shard = write_shard(tmp_path / "train-00000.tfrecord", "train", pieces)
    assert (shard.num_pieces, shard.num_tokens, shard.longest) == (2, 12, 7)
    assert shard.sha256 == file_sha256(tmp_path / shard.file)
    manifest = Manifest(EventVocabulary().to_dict(), 1, 0, {}, (shard,))
    found = list(read_pieces(tmp_path, manifest, "train"))
    assert [name for name, _ in found] == [name for name, _ in pieces]
    for (_, tokens), (_, expected) in zip(found, pieces, strict=True):
        np.testing.assert_array_equal(tokens, expected)


def test_the_same_pieces_give_the_same_bytes(tmp_path: Path) -> None:
    shards = [
        write_shard(tmp_path / name, "train", [("piece", np.arange(100))]) for name in ("a", "b")
    ]
    assert shards[0].sha256 == shards[1].sha256


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"could not write .*absent.*train-00000"):
        write_shard(tmp_path / "absent" / "train-00000", "train", [("piece", np.arange(3))])
