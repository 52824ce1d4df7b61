from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.manifest import Manifest
from pipeline.dataset.records import (
    parse_records,
    read_features,
    read_pieces,
    read_shards,
    to_record,
    write_shard,
)
from pipeline.runtime.files import file_sha256
from pipeline.scores.labels import FIELDS, NO_FEATURES, Features
from pipeline.vocabulary.events import EventVocabulary

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


# A value of each type as a record keeps it: numbers of 32 bits, any text that is one.
VALUES = {
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    float: st.floats(width=32, allow_nan=False, allow_infinity=False),
    int: st.integers(-(2**63), 2**63 - 1),
    tuple: st.lists(st.text("ABCm7/#", min_size=1, max_size=5), max_size=5).map(tuple),
}


@settings(deadline=None, max_examples=30, derandomize=True, database=None)
@given(
    known=st.lists(
        st.fixed_dictionaries({}, optional={name: VALUES[kind] for name, kind in FIELDS.items()}),
        max_size=4,
    )
)
def test_features_of_every_type_read_back_beside_the_tokens(
    known: list[dict], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("features")
    features = {f"piece {i}": Features(**values) for i, values in enumerate(known)}
    pieces = [(name, np.arange(i)) for i, name in enumerate([*features, "one without"])]
    shard = write_shard(folder / "0", "train", pieces, features)
    manifest = Manifest(EventVocabulary().to_dict(), 1, 0, {}, (shard,))
    assert dict(read_features(folder, manifest, "train")) == features | {"one without": NO_FEATURES}
    assert [name for name, _ in read_shards(folder, [shard])] == [name for name, _ in pieces]


def test_features_do_not_disturb_those_who_read_only_tokens() -> None:
    record = to_record("piece", np.arange(3), Features(key="A minor", chords=("Am", "E7")))
    parsed = parse_records(tf.constant([record, to_record("other", np.arange(2))]))
    assert parsed["tokens"].to_list() == [[0, 1, 2], [0, 1]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_no_feature(value: float) -> None:
    with pytest.raises(ValueError, match="feature valence is"):
        Features(valence=value)
