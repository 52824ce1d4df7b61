from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.dataset.manifest import FILE_NAME, OWN_DIGEST, SCHEMA_VERSION, Manifest
from pipeline.dataset.records import read_pieces


@pytest.fixture
def data_dir(tiny_shards: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(tiny_shards, tmp_path / "data")


def rewrite(data_dir: Path, **changes: object) -> None:
    """Change fields of a manifest that has no digest of its own, as older versions wrote it."""
    path = data_dir / FILE_NAME
    contents = json.loads(path.read_text()) | changes
    del contents[OWN_DIGEST]
    path.write_text(json.dumps(contents))


def test_a_manifest_reads_back_as_it_was_written(data_dir: Path) -> None:
    manifest = Manifest.load(data_dir)
    (data_dir / FILE_NAME).write_text(manifest.to_json())
    assert Manifest.load(data_dir) == manifest
    assert Manifest.load(data_dir).digest() == manifest.digest()


@pytest.mark.parametrize(
    ("written", "damaged"),
    [
        ('"steps_per_quarter": 12', '"steps_per_quarter": 13'),
        ('"lowest_pitch": 21', '"lowest_pitch": 20'),
        ('"split": "train"', '"split": "traim"'),
        ('"seed": 0', '"seed": 1'),
        ('"schema": 2', '"schema": 1'),
    ],
)
def test_a_changed_digit_or_letter_is_found(written: str, damaged: str, data_dir: Path) -> None:
    path = data_dir / FILE_NAME
    text = path.read_text()
    assert written in text
    path.write_text(text.replace(written, damaged, 1))
    with pytest.raises(ValueError, match=r"manifest\.json is damaged: its sha256 is not its own"):
        Manifest.load(data_dir)


def test_a_manifest_holds_the_digest_that_runs_record_of_it(data_dir: Path) -> None:
    contents = json.loads((data_dir / FILE_NAME).read_text())
    assert contents[OWN_DIGEST] == Manifest.load(data_dir).digest()


def test_a_manifest_without_its_digest_opens_as_before(data_dir: Path) -> None:
    expected = Manifest.load(data_dir)
    rewrite(data_dir)
    found = Manifest.load(data_dir)
    assert (found, found.digest()) == (expected, expected.digest())


def test_counts_are_those_of_the_shards(data_dir: Path) -> None:
    manifest = Manifest.load(data_dir)
    for split in ("train", "valid", "test"):
        lengths = [len(tokens) for _, tokens in read_pieces(data_dir, manifest, split)]
        assert manifest.num_pieces(split) == len(lengths)
        assert manifest.num_tokens(split) == sum(lengths)
        assert manifest.longest(split) == max(lengths)


def test_shard_i_of_a_split_is_in_lane_i_modulo_the_lanes(data_dir: Path) -> None:
    manifest = Manifest.load(data_dir)
    files = [[shard.file for shard in lane] for lane in manifest.lanes("train")]
    assert files == [[f"train-{lane:05d}.tfrecord"] for lane in range(4)]


def test_verify_accepts_what_was_written(data_dir: Path) -> None:
    Manifest.load(data_dir).verify(data_dir)


def test_a_shard_with_a_flipped_bit_is_named(data_dir: Path) -> None:
    shard = data_dir / "train-00002.tfrecord"
    contents = bytearray(shard.read_bytes())
    contents[len(contents) // 2] ^= 1
    shard.write_bytes(contents)
    with pytest.raises(ValueError, match=r"train-00002\.tfrecord is damaged \(sha256"):
        Manifest.load(data_dir).verify(data_dir)


def test_a_shard_cut_between_two_records_is_named(data_dir: Path) -> None:
    shard = data_dir / "train-00001.tfrecord"
    contents = shard.read_bytes()
    # A record: length (8 bytes), its checksum (4), the example, its checksum (4).
    shard.write_bytes(contents[: int.from_bytes(contents[:8], "little") + 16])
    manifest = Manifest.load(data_dir)
    fewer = sum(1 for _ in read_pieces(data_dir, manifest, "train"))
    assert fewer < manifest.num_pieces("train"), "TensorFlow noticed: the sha256 is not needed"
    with pytest.raises(ValueError, match=r"train-00001\.tfrecord is damaged"):
        manifest.verify(data_dir)


def test_a_missing_shard_is_named_and_others_need_not_be_there(data_dir: Path) -> None:
    (data_dir / "valid-00000.tfrecord").unlink()
    manifest = Manifest.load(data_dir)
    manifest.verify(data_dir, manifest.of_split("train"))
    with pytest.raises(ValueError, match=r"valid-00000\.tfrecord is missing"):
        manifest.verify(data_dir)


def test_a_folder_without_a_data_set_says_how_to_make_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ValueError, match=r"no data set in .*preprocess\.py bach --out"):
            Manifest.load(folder)


def test_another_schema_is_refused_with_both_versions(data_dir: Path) -> None:
    rewrite(data_dir, schema=SCHEMA_VERSION + 1)
    with pytest.raises(ValueError, match=r"schema version 3; this program reads versions 1, 2"):
        Manifest.load(data_dir)


def test_a_data_set_from_before_features_is_read_and_keeps_its_digest(data_dir: Path) -> None:
    contents = json.loads((data_dir / FILE_NAME).read_text())
    assert contents.pop("features") == {}
    del contents[OWN_DIGEST]
    text = json.dumps(contents | {"schema": 1}, indent=2, sort_keys=True) + "\n"
    (data_dir / FILE_NAME).write_text(text)
    manifest = Manifest.load(data_dir)
    assert manifest.features == {}
    assert manifest.to_json() == text
    assert [name for name, _ in read_pieces(data_dir, manifest, "test")] == ["bwv65.2"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 1}'])
def test_what_is_no_manifest_is_said_to_be_none(text: str, data_dir: Path) -> None:
    (data_dir / FILE_NAME).write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json (is not a manifest|does not have)"):
        Manifest.load(data_dir)


@pytest.mark.parametrize(
    "changes",
    [
        {"shards": 5},
        {"shards": [3]},
        {"num_lanes": "four"},
        {"num_lanes": 0},
        {"vocabulary": []},
        {"vocabulary": {"kind": "events", "keys": 88}},
    ],
)
def test_fields_of_the_wrong_kind_are_refused(changes: dict[str, object], data_dir: Path) -> None:
    rewrite(data_dir, **changes)
    with pytest.raises(ValueError, match=r"manifest\.json does not have the fields of schema 2"):
        Manifest.load(data_dir)
