"""The chorale model that is shipped: it loads, composes, and has the likelihood on its card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model import evaluate
from model.composing.composer import Composer
from model.composing.pieces import Length
from model.composing.sampling import Sampling
from model.networks.checkpoint import read_bundle
from pipeline.vocabulary.grid import GridVocabulary

CHORALES = Path(__file__).resolve().parents[2] / "model" / "pretrained" / "chorales"


def test_it_composes_in_four_voices() -> None:
    composer = Composer.load(CHORALES)
    vocabulary = composer.vocabulary
    assert isinstance(vocabulary, GridVocabulary)
    piece = composer.compose([0], Sampling(), Length.of_steps(16, 4), seed=1)[0]
    frames = vocabulary.decode_frames(piece.ids)
    assert frames.shape == (16, 4)
    assert (frames[:, 0] > frames[:, 3]).mean() > 0.9  # the soprano is above the bass


def test_it_is_as_likely_as_it_was_when_it_was_shipped(shared_data: Path, tmp_path: Path) -> None:
    written = tmp_path / "result.json"
    source = f"jsb:{shared_data / 'jsb' / 'Jsb16thSeparated.json'}"
    flags = [str(CHORALES), "--data", source, "--pieces", "4", "--json", str(written)]
    assert evaluate.main(flags) == 0
    assert json.loads(written.read_text())["nats_per_note"] == pytest.approx(0.3472, abs=1e-3)


def test_it_does_not_tell_where_it_was_trained() -> None:
    config = read_bundle(CHORALES).run["config"]
    assert not any(str(value).startswith("/") for value in config.values())
