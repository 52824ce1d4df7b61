"""evaluate.py on a network: averages, composed pieces beside real ones, pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import evaluate
from model.metrics.score_metrics import METRICS
from model.metrics.voice_leading import VOICE_LEADING
from model.networks.checkpoint import Bundle, step_folder, write_bundle
from pipeline.scores.notes import Score
from pipeline.vocabulary.grid import GridVocabulary
from tests.conftest import TINY_SPLITS
from tests.model.tiny_run import write_tiny_run

VOCABULARY = GridVocabulary()


@pytest.fixture(scope="module")
def source(tiny_scores: dict[str, Score], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Real chorales as a file of frames, soprano to bass."""
    splits: dict[str, list[Any]] = {}
    for split, names in TINY_SPLITS.items():
        frames = [VOCABULARY.frames(tiny_scores[name]) for name in names]
        splits[split] = [np.where(piece == 0, -1, piece).tolist() for piece in frames]
    path = tmp_path_factory.mktemp("frames") / "tiny16th.json"
    path.write_text(json.dumps(splits))
    return f"jsb:{path}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an untrained frame model."""
    import keras

    from model.networks.registry import build_network, network_config

    keras.utils.set_random_seed(1)
    config = network_config("frames", "tiny", VOCABULARY)
    network = build_network(config)
    weights = {path: value.numpy() for path, value in network.named_weights().items()}
    for path in weights:  # what speaks for a pitch adds up: kept small, all are nearly as likely
        weights[path] = weights[path] * (0.1 if "choices" in path else 1)
    # The pieces end after about forty frames, not at the bound on tokens.
    weights["frames/ending/bias"] = np.array([-3.5, 0.0], np.float32)
    folder = tmp_path_factory.mktemp("run")
    write_bundle(step_folder(folder, 1), Bundle(config.to_dict(), VOCABULARY.to_dict(), weights))
    return folder


def result(tmp_path: Path, *flags: object) -> dict[str, Any]:
    """The JSON that the command writes."""
    path = tmp_path / "result.json"
    assert evaluate.main([*map(str, flags), "--json", str(path)]) == 0
    contents: dict[str, Any] = json.loads(path.read_text())
    return contents


def test_a_figure_that_is_an_average_says_so(
    run: Path, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--data", source, "--pieces", 1, "--transpositions", 3)
    averaged = result(tmp_path, run, run, *flags)
    assert averaged["family"].startswith("AVERAGED: 2 left-to-right models")
    assert (averaged["models"], averaged["transpositions"]) == (2, 3)
    assert "in 3 transpositions" in capsys.readouterr().out
    # Untrained: 47 symbols of nearly equal probability.
    assert averaged["nats_per_note"] == pytest.approx(np.log(47), abs=0.1)


@pytest.mark.slow
def test_composed_pieces_stand_beside_real_ones_in_table_file_and_pictures(
    run: Path, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "pictures"
    flags = ["--split", "valid", "--samples", 4, "--seed", 3, "--plots", pictures]
    music = result(tmp_path, run, "--data", source, *flags)["music"]
    assert json.loads((run / "music.json").read_text()) == music
    assert set(music["metrics"]) == {*METRICS, *VOICE_LEADING}
    polyphony = music["metrics"]["polyphony"]
    assert polyphony["interval"][0] <= polyphony["composed"] <= polyphony["interval"][1]
    assert polyphony["train"] == pytest.approx(polyphony["real"], abs=0.2)
    # Random voices cross all the time, unlike those of Bach.
    assert music["metrics"]["voice crossings"]["composed"] > 20
    beyond = music["metrics"]["notes out of range"]
    assert beyond["composed"] > 20 > beyond["train"]
    assert not beyond["inside"]
    assert beyond["overlap"] < 0.1 < beyond["real_overlap"]
    assert music["copies"]["composed"] == 0
    out = capsys.readouterr().out
    for words in ("4 pieces composed (seed 3", "parallel fifths", "copied windows", "inside"):
        assert words in out
    written = {path.name: path for path in pictures.iterdir()}
    assert set(written) == {"samples.png", "places.png", "surprise.png", "pitches.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written.values())


def test_a_map_of_pitches_needs_no_data_and_any_network_has_one(tmp_path: Path) -> None:
    events = write_tiny_run(tmp_path / "events")
    assert evaluate.main([str(events), "--plots", str(tmp_path / "pictures")]) == 0
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["pitches.png"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model", "bigram", "--samples", "3"], "--samples need a RUN"),
        (["a", "b", "--samples", "3"], "one RUN"),
        (["a", "--samples", "3", "--split", "train"], "another split"),
    ],
)
def test_what_does_not_go_together_is_refused(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        evaluate.main([*flags, "--data", "jsb:16th.json"])
    assert words in capsys.readouterr().err


def test_models_of_different_notes_are_not_averaged(
    run: Path, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_run(tmp_path / "wider", GridVocabulary(lowest_pitch=30))
    assert evaluate.main([str(run), str(tmp_path / "wider"), "--data", source]) == 1
    assert "only models of the same notes" in capsys.readouterr().err
