"""One changed byte in any file that is read again: refused by its name, or no other content.

Of each file bits are flipped, digits and letters exchanged, bytes put in and taken out, ends cut
off. `make soak` makes 40,000 changes; plain pytest a few hundred.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpc.config.train_config import TrainConfig, read_settings
from hpc.run_folder.layout import (
    CONFIG,
    METRICS,
    METRICS_TYPES,
    STRETCHES,
    STRETCHES_TYPES,
    read_entries,
    write_config,
)
from model.networks.checkpoint import (
    BEST,
    FILE_NAME,
    Bundle,
    open_checkpoint,
    read_best,
    read_bundle,
    step_folder,
    write_best,
    write_bundle,
)
from pipeline.dataset.manifest import FILE_NAME as MANIFEST
from pipeline.dataset.manifest import Manifest
from pipeline.runtime.files import CHECKSUM, add_line
from pipeline.vocabulary.events import EventVocabulary

DAMAGES_OF_EACH_FILE = [40, pytest.param(5000, marks=pytest.mark.soak)]
STEPS = (10, 20, 30)
DIGITS, LETTERS = b"0123456789", b"abcdefghijklmnopqrstuvwxyz"


def manifest_of(folder: Path) -> Any:
    return Manifest.load(folder)


def bundle_of(folder: Path) -> Any:
    bundle = read_bundle(step_folder(folder, 20))
    arrays = {name: values.tolist() for name, values in (bundle.weights | bundle.optimizer).items()}
    return arrays, bundle.model, bundle.vocabulary, bundle.progress, bundle.run, bundle.versions


def metrics_of(folder: Path) -> Any:
    return read_entries(folder / METRICS, METRICS_TYPES)


def stretches_of(folder: Path) -> Any:
    return read_entries(folder / STRETCHES, STRETCHES_TYPES)


def config_of(folder: Path) -> Any:
    return TrainConfig.from_dict(read_settings(folder / CONFIG), str(folder / CONFIG))


# File -> what is made of it.
READERS: dict[str, Callable[[Path], Any]] = {
    MANIFEST: manifest_of,
    CONFIG: config_of,
    METRICS: metrics_of,
    STRETCHES: stretches_of,
    BEST: read_best,
    **{
        f"checkpoints/step-00000020/{name}": bundle_of
        for name in (FILE_NAME, "weights.npz", "optimizer.npz")
    },
}


@pytest.fixture(scope="module")
def intact(tiny_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all the files: a data set's manifest, and a run with three checkpoints."""
    folder = tmp_path_factory.mktemp("damage") / "intact"
    config = TrainConfig(data=tiny_shards, preset="tiny", steps=30, run=folder)
    write_config(folder, config)
    shutil.copy(tiny_shards / MANIFEST, folder)
    for first_step in (1, 15):
        facts = {"strategy": "single", "workers": 1, "hosts": ["dorchester"], "devices": "CPU"}
        sizes = {"global_batch_size": 64, "sequence_length": 32, "versions": {"keras": "3.15.1"}}
        entry = {"first_step": first_step, "time": 1795813082.25 + first_step, **facts, **sizes}
        add_line(folder / STRETCHES, entry)
    for step in range(1, 21):
        line = {"step": step, "split": "train", "loss": 5.0 / step, "time": 1795813083.5 + step}
        add_line(folder / METRICS, line)
    for step in STEPS:
        bundle = Bundle(
            model={"units": 4},
            vocabulary=EventVocabulary().to_dict(),
            weights={"kernel": np.arange(300, dtype=np.float32)},
            optimizer={"momentum": np.ones(200)},
            progress={"step": step, "best_step": 20},
            run={"config": config.to_json()},
        )
        write_bundle(step_folder(folder, step), bundle)
    write_best(folder, 20)
    return folder


def damages(contents: bytes, count: int) -> Iterator[bytes]:
    """The contents with one change, of each kind in turn; the same ones every time."""
    draw = random.Random(17)
    digits = [place for place, byte in enumerate(contents) if byte in DIGITS]
    letters = [place for place, byte in enumerate(contents) if byte in LETTERS]
    for number in range(count):
        place = draw.randrange(len(contents))
        changed = bytearray(contents)
        match number % 6:
            case 0:
                changed[place] ^= 1 << draw.randrange(8)
            case 1:
                changed[draw.choice(digits)] = draw.choice(DIGITS)
            case 2:
                changed[draw.choice(letters)] = draw.choice(LETTERS)
            case 3:
                del changed[place]
            case 4:
                changed.insert(place, draw.randrange(256))
            case 5:
                del changed[place:]
        yield bytes(changed)


def is_harmless(found: Any, expected: Any) -> bool:
    """Is this the content that was written?

    Of lines also the first ones, as a kill leaves them, and a line whose entry `crc32` has another
    name now: its other entries are untouched.
    """
    if not isinstance(expected, list):
        return bool(found == expected)
    return len(found) <= len(expected) and all(
        line == was or (line | was == line and len(line) == len(was) + 1)
        for line, was in zip(found, expected, strict=False)
    )


@pytest.mark.parametrize("count", DAMAGES_OF_EACH_FILE)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_refused_by_name_or_reads_as_it_was(
    name: str, count: int, intact: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(intact, tmp_path / "copy")
    expected = READERS[name](folder)
    whole = (folder / name).read_bytes()
    refused = 0
    for contents in damages(whole, count):
        (folder / name).write_bytes(contents)
        try:
            found = READERS[name](folder)
        except ValueError as error:
            assert Path(name).name in str(error)
            assert "\n" not in str(error)
            refused += 1
        else:
            assert is_harmless(found, expected), contents
    assert refused > count / 2


def test_a_changed_step_of_the_best_checkpoint_is_found(
    intact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(intact, tmp_path / "copy")
    assert open_checkpoint(folder)[0] == step_folder(folder, 20)
    text = (folder / BEST).read_text()
    (folder / BEST).write_text(text.replace("20", "10", 1))
    assert open_checkpoint(folder)[0] == step_folder(folder, 30)
    assert "best.json is damaged" in capsys.readouterr().err


def test_an_edited_config_says_what_to_remove_and_is_then_read(
    intact: Path, tmp_path: Path
) -> None:
    settings = json.loads((intact / CONFIG).read_text()) | {"steps": 99}
    file = tmp_path / CONFIG
    file.write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=rf"was edited.*remove {CHECKSUM}"):
        read_settings(file)
    del settings[CHECKSUM]
    file.write_text(json.dumps(settings))
    assert read_settings(file)["steps"] == 99


def test_lines_of_older_versions_have_no_checksum_and_are_checked_by_type(tmp_path: Path) -> None:
    lines = ['{"step": 1, "split": "train", "time": 1.5}\n', '{"step": "2", "split": "train"}\n']
    (tmp_path / METRICS).write_text(lines[0])
    expected = [{"step": 1, "split": "train", "time": 1.5}]
    assert metrics_of(tmp_path) == expected
    (tmp_path / METRICS).write_text("".join(lines))
    with pytest.raises(ValueError, match=r"line 2 of .*metrics\.jsonl is damaged: step is '2'"):
        metrics_of(tmp_path)
