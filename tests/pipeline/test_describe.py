from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pipeline.dataset.manifest import FILE_NAME, OWN_DIGEST, Manifest
from pipeline.dataset.records import read_pieces, write_shard
from pipeline.describe import main
from pipeline.description.contents import describe
from pipeline.description.picture import description_figure
from pipeline.scores.labels import Features, summarise
from pipeline.scores.notes import Score, make_notes
from pipeline.vocabulary.events import EventVocabulary

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def described(tiny_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A folder with the picture, and the numbers."""
    folder = tmp_path_factory.mktemp("described")
    numbers = folder / "numbers.json"
    assert main([str(tiny_shards), "--out", str(folder), "--json", str(numbers)]) == 0
    return folder, json.loads(numbers.read_text())


def test_the_numbers_are_those_of_the_scores(
    described: tuple[Path, dict], tiny_shards: Path, tiny_scores: dict[str, Score]
) -> None:
    _, numbers = described
    manifest = Manifest.load(tiny_shards)
    for split, found in numbers["splits"].items():
        names = [name for name, _ in read_pieces(tiny_shards, manifest, split)]
        scores = [manifest.open_vocabulary.fit(tiny_scores[name])[0] for name in names]
        pitches = np.concatenate([score.notes["pitch"] for score in scores])
        steps = np.concatenate([score.notes["duration"] for score in scores])
        assert found["pieces"] == len(names)
        assert found["notes"] == len(pitches)
        assert found["tokens"] == manifest.num_tokens(split)
        assert found["piece_tokens"]["max"] == manifest.longest(split)
        assert found["pitches"] == {str(key): int((pitches == key).sum()) for key in set(pitches)}
        assert found["durations"] == {str(n): int((steps == n).sum()) for n in set(steps)}


def changed(tiny_shards: Path, tmp_path: Path, splits: dict[str, str]) -> Path:
    """A copy of the data set that has only these splits, under other names."""
    folder = Path(shutil.copytree(tiny_shards, tmp_path / "data"))
    contents = json.loads((folder / FILE_NAME).read_text())
    del contents[OWN_DIGEST]
    contents["shards"] = [
        shard | {"split": splits[shard["split"]]}
        for shard in contents["shards"]
        if shard["split"] in splits
    ]
    (folder / FILE_NAME).write_text(json.dumps(contents))
    return folder


def test_coverage_tells_the_ids_that_training_never_sees(tiny_shards: Path, tmp_path: Path) -> None:
    # Trained on one chorale, checked on twelve: much is new.
    folder = changed(tiny_shards, tmp_path, {"test": "train", "train": "valid"})
    manifest = Manifest.load(folder)
    ids = {
        split: np.concatenate([tokens for _, tokens in read_pieces(folder, manifest, split)])
        for split in ("train", "valid")
    }
    new = ids["valid"][~np.isin(ids["valid"], ids["train"])]
    assert len(new) > 0
    found = describe(folder)
    assert sum(found.unseen("valid").values()) == len(new)
    assert set(found.unseen("valid")) == {manifest.open_vocabulary.token_name(i) for i in set(new)}
    used, size = (sum(counts) for counts in zip(*found.coverage().values(), strict=True))
    assert used == len(set(ids["train"].tolist()))
    assert size == manifest.open_vocabulary.size - 1  # PAD stands for nothing


def with_features(folder: Path, features: dict[str, Features], train: list[str]) -> Path:
    """A data set of a bar per piece, those in `train` for training, the others for validation."""
    ids = EventVocabulary().encode(Score(make_notes([(0, 0, 60, 48, 80)]), 12))
    members = {"train": train, "valid": [name for name in features if name not in train]}
    shards = tuple(
        write_shard(folder / split, split, [(name, ids) for name in names], features)
        for split, names in members.items()
    )
    manifest = Manifest(
        EventVocabulary().to_dict(), 1, 0, {}, shards, features=summarise(features.values())
    )
    (folder / FILE_NAME).write_text(manifest.to_json())
    return folder


def test_the_features_of_the_pieces_are_counted_with_their_values_and_ranges(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    features = {
        "a": Features(key="C major", valence=-1.0, chords=("C", "G", "C")),
        "b": Features(key="A minor", valence=0.5),
        "c": Features(key="C major"),
    }
    folder = with_features(tmp_path, features, ["a", "c"])
    numbers = tmp_path / "numbers.json"
    arguments = [str(folder), "--out", str(tmp_path / "out"), "--json", str(numbers)]
    assert main(arguments) == 0
    report = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "key 2 1 0 C major 2, A minor 1" in report
    assert "valence 1 1 0 -1 to 0.5" in report
    assert "chords 1 0 0 C 2, G 1" in report
    assert json.loads(numbers.read_text())["features"] == {
        "train": {
            "key": {"pieces": 2, "values": {"C major": 2}},
            "chords": {"pieces": 1, "values": {"C": 2, "G": 1}},
            "valence": {"pieces": 1, "min": -1.0, "max": -1.0},
        },
        "valid": {
            "key": {"pieces": 1, "values": {"A minor": 1}},
            "valence": {"pieces": 1, "min": 0.5, "max": 0.5},
        },
        "test": {},
    }


def test_a_data_set_without_features_says_so(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main([str(tiny_shards), "--out", str(tmp_path)]) == 0
    assert "features: no piece has any\n" in capsys.readouterr().out


def test_the_report_recommends_a_sequence_length_with_the_reason(
    described: tuple[Path, dict], tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    _, numbers = described
    assert main([str(tiny_shards), "--out", str(tmp_path / "new" / "picture.png")]) == 0
    report = capsys.readouterr().out
    advice = numbers["sequence_length"]
    assert f"recommended: --sequence-length {advice['sequence_length']}\n" in report
    assert advice["reason"] in report
    assert (tmp_path / "new" / "picture.png").is_file()


def test_the_picture_is_a_png_with_something_in_every_panel(
    described: tuple[Path, dict], tiny_shards: Path
) -> None:
    from matplotlib.image import imread

    folder, _ = described
    picture = folder / f"{tiny_shards.name}.png"
    assert picture.read_bytes().startswith(PNG_SIGNATURE)
    pixels = imread(picture)[:, :, :3]
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 3
    for row in range(2):
        for column in range(3):
            panel = pixels[row * height :, column * width :][:height, :width]
            assert (panel.std(axis=2) > 0.1).mean() > 0.003, f"panel {row}, {column} has no colour"
    assert list(folder.glob("*.partial")) == []


def test_a_data_set_of_train_pieces_only_is_described(tiny_shards: Path, tmp_path: Path) -> None:
    folder = changed(tiny_shards, tmp_path, {"train": "train"})
    found = describe(folder)
    assert found.splits["valid"].num_pieces == 0
    assert found.unseen("valid") == {}
    assert main([str(folder), "--out", str(tmp_path)]) == 0


@pytest.mark.parametrize("lengths", [(4, 8283), (100, 160), (30, 2_000_000), (1000, 1001)])
def test_no_two_numbers_below_the_lengths_touch(tiny_shards: Path, lengths: list[int]) -> None:
    found = describe(tiny_shards)
    for split in found.splits.values():
        split.piece_tokens[:] = np.resize(lengths, split.piece_tokens.size)
    figure = description_figure(found)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    panel = figure.axes[0]
    shown = [label for label in panel.get_xticklabels() if label.get_text()]
    boxes = [label.get_window_extent(canvas.get_renderer()) for label in shown]
    inside = [box for box in boxes if panel.bbox.x0 <= (box.x0 + box.x1) / 2 <= panel.bbox.x1]
    assert len(inside) >= 2
    for left, right in pairwise(sorted(inside, key=lambda box: box.x0)):
        assert right.x0 - left.x1 > 3  # pixels


def test_a_damaged_shard_is_one_line_and_no_picture(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = Path(shutil.copytree(tiny_shards, tmp_path / "data"))
    with (folder / "valid-00000.tfrecord").open("ab") as stream:
        stream.write(b"\0")
    assert main([str(folder), "--out", str(tmp_path / "out")]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert "valid-00000.tfrecord is damaged" in errors[0]
    assert not (tmp_path / "out").exists()


def test_a_missing_folder_says_how_to_make_one(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main([str(tmp_path / "absent"), "--out", str(tmp_path)]) == 1
    assert "pipeline/preprocess.py bach --out" in capsys.readouterr().err
