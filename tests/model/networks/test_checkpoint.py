"""A checkpoint folder: whole or not there, and refused when a byte of it has changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.networks.checkpoint import (
    BEST,
    FILE_NAME,
    Bundle,
    list_checkpoints,
    open_checkpoint,
    read_bundle,
    step_folder,
    write_bundle,
)
from tests.model.tiny_run import small_disk

BUNDLE = Bundle(
    model={"units": 4},
    vocabulary={"kind": "events"},
    weights={"music/lstm/kernel": np.arange(60_000, dtype=np.float32)},
    optimizer={"adam/momentum": np.ones(3)},
    progress={"step": 7, "best": 1.25},
    run={"seed": 3},
)


def change_byte(file: Path, position: int = -40) -> None:
    contents = bytearray(file.read_bytes())
    contents[position] ^= 1
    file.write_bytes(contents)


def test_a_bundle_reads_back_as_it_was_written(tmp_path: Path) -> None:
    write_bundle(tmp_path / "here", BUNDLE)
    found = read_bundle(tmp_path / "here")
    assert (found.model, found.vocabulary) == (BUNDLE.model, BUNDLE.vocabulary)
    assert (found.progress, found.run) == (BUNDLE.progress, BUNDLE.run)
    for arrays, expected in (
        (found.weights, BUNDLE.weights),
        (found.optimizer, BUNDLE.optimizer),
    ):
        assert arrays.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(arrays[name], values, strict=True)
    assert {"python", "tensorflow", "numpy"} <= found.versions.keys()


@pytest.mark.parametrize("name", ["weights.npz", "optimizer.npz", FILE_NAME])
def test_one_changed_byte_is_found(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path / "here", BUNDLE)
    change_byte(tmp_path / "here" / name)
    with pytest.raises(ValueError, match=r"damaged|not a checkpoint"):
        read_bundle(tmp_path / "here")


def test_a_changed_digit_of_the_configuration_is_found(tmp_path: Path) -> None:
    write_bundle(tmp_path / "here", BUNDLE)
    file = tmp_path / "here" / FILE_NAME
    file.write_text(file.read_text().replace('"units": 4', '"units": 5'))
    with pytest.raises(ValueError, match="damaged"):
        read_bundle(tmp_path / "here")


def test_another_schema_version_is_refused_by_its_number(tmp_path: Path) -> None:
    write_bundle(tmp_path / "here", BUNDLE)
    file = tmp_path / "here" / FILE_NAME
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": 99}))
    with pytest.raises(ValueError, match="schema version 99"):
        read_bundle(tmp_path / "here")


def test_a_full_disk_leaves_the_earlier_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 400_000) as disk:
        write_bundle(step_folder(disk, 1), BUNDLE)
        with pytest.raises(OSError, match=r"step-00000002 could not be written \(No space left"):
            write_bundle(step_folder(disk, 2), BUNDLE)
        assert [path.name for path in (disk / "checkpoints").iterdir()] == ["step-00000001"]
        assert open_checkpoint(disk)[1].progress == BUNDLE.progress


def test_only_a_full_disk_is_said_to_want_space(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(OSError, match=r"\(Not a directory\); .*\. Mend that and run the same"):
        write_bundle(step_folder(tmp_path, 1), BUNDLE)
    with small_disk(tmp_path / "disk", 400_000) as disk:
        write_bundle(step_folder(disk, 1), BUNDLE)
        with pytest.raises(OSError, match=r"\(No space left .*\. Free some space and run the same"):
            write_bundle(step_folder(disk, 2), BUNDLE)


def test_the_best_checkpoint_is_found_before_the_newest(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        write_bundle(step_folder(tmp_path, step), BUNDLE)
    assert open_checkpoint(tmp_path)[0] == step_folder(tmp_path, 3)
    (tmp_path / BEST).write_text('{"step": 2}')
    assert open_checkpoint(tmp_path)[0] == step_folder(tmp_path, 2)
    assert open_checkpoint(step_folder(tmp_path, 1))[0] == step_folder(tmp_path, 1)
    assert list_checkpoints(tmp_path) == [step_folder(tmp_path, step) for step in (1, 2, 3)]


def test_a_damaged_checkpoint_is_passed_over_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (1, 2):
        write_bundle(step_folder(tmp_path, step), BUNDLE)
    change_byte(step_folder(tmp_path, 2) / "weights.npz")
    assert open_checkpoint(tmp_path)[0] == step_folder(tmp_path, 1)
    assert "step-00000002/weights.npz is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("damaged", ["", '{"step": ', '{"stop": 1}', '{"step": "x"}', "[1]"])
def test_a_damaged_best_json_is_named_and_the_newest_checkpoint_is_used(
    damaged: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (1, 2):
        write_bundle(step_folder(tmp_path, step), BUNDLE)
    (tmp_path / BEST).write_text(damaged)
    assert open_checkpoint(tmp_path)[0] == step_folder(tmp_path, 2)
    said = capsys.readouterr().err
    assert "best.json is damaged" in said
    assert said.count("\n") == 1


def test_damage_counts_only_in_what_is_read(tmp_path: Path) -> None:
    write_bundle(step_folder(tmp_path, 1), BUNDLE)
    change_byte(step_folder(tmp_path, 1) / "optimizer.npz")
    path, bundle = open_checkpoint(tmp_path, optimizer=False)
    assert path == step_folder(tmp_path, 1)
    assert bundle.weights.keys() == BUNDLE.weights.keys()
    assert bundle.optimizer == {}
    with pytest.raises(ValueError, match="no whole checkpoint"):
        open_checkpoint(tmp_path)


def test_a_folder_without_a_checkpoint_says_how_to_train_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    with pytest.raises(ValueError, match=r"no whole checkpoint in .*hpc/train\.py"):
        open_checkpoint(tmp_path)
