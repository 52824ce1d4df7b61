"""--guidance: what a frame model learned of ranges, keys and parallel motion counts for more."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from model.composing.composer import Composer
from model.composing.pieces import Length
from model.composing.sampling import Sampling
from model.evaluate import main as evaluate
from model.generate import main as generate
from model.networks.checkpoint import Bundle, step_folder, write_bundle
from model.networks.frames.decoding import FrameModel
from model.networks.registry import build_network, network_config
from pipeline.vocabulary.grid import GridVocabulary
from tests.model.tiny_run import write_tiny_run

VOCABULARY = GridVocabulary()
GUIDED = (0, 4, 5)  # places in `VoiceHead.sizes`: the pitch itself, parallel motion, the keys


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an untrained frame model."""
    keras.utils.set_random_seed(1)
    config = network_config("frames", "tiny", VOCABULARY)
    weights = {path: value.numpy() for path, value in build_network(config).named_weights().items()}
    folder = tmp_path_factory.mktemp("run")
    write_bundle(step_folder(folder, 1), Bundle(config.to_dict(), VOCABULARY.to_dict(), weights))
    return folder


def ids(composer: Composer, guidance: float) -> np.ndarray:
    """The first 64 frames of two pieces of seed 1."""
    length = Length.of_steps(64, VOCABULARY.steps_per_quarter)
    pieces = composer.compose(range(2), Sampling(guidance=guidance), length, seed=1)
    return np.stack([piece.ids[: 64 * 5] for piece in pieces])


def test_guidance_is_the_same_as_larger_weights_of_three_parts(run: Path) -> None:
    guided, other = Composer.load(run), Composer.load(run)
    plain, found = ids(guided, 1.0), ids(guided, 2.5)
    assert isinstance(other.model, FrameModel)
    for head in other.model.heads:
        ends = np.cumsum([0, *head.sizes])
        factors = np.ones(ends[-1], np.float32)
        for place in GUIDED:
            factors[ends[place] : ends[place + 1]] = 2.5
        for weight in (head.choices.kernel, head.choices.bias):
            weight.assign(weight * factors)
    np.testing.assert_array_equal(found, ids(other, 1.0))
    assert (found != plain).any()
    np.testing.assert_array_equal(ids(guided, 1.0), plain)


def test_the_likelihood_is_that_of_the_model_as_it_learned(run: Path, tmp_path: Path) -> None:
    """Without samples, and with guided ones beside it."""
    rng = np.random.default_rng(1)
    pieces = [rng.integers(60, 72, [16, 4]).tolist() for _ in range(2)]
    data, path = tmp_path / "tiny16th.json", tmp_path / "result.json"
    data.write_text(json.dumps(dict.fromkeys(("train", "valid", "test"), pieces)))
    found = []
    for flags in ([], ["--samples=2", "--guidance=3"]):
        assert evaluate([str(run), f"--data=jsb:{data}", f"--json={path}", *flags]) == 0
        found.append(json.loads(path.read_text()))
    assert found[0]["nats_per_frame"] == found[1]["nats_per_frame"]
    assert found[1]["music"]["sampling"]["guidance"] == 3


@pytest.mark.parametrize("guidance", ["0", "-1", "nan"])
def test_a_guidance_must_be_above_0(
    guidance: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--guidance={guidance}", "--bars=1", f"--out={tmp_path / 'out'}", "--formats=mid"]
    assert generate([str(run), *flags]) == 1
    assert "it must be above 0" in capsys.readouterr().err


def test_other_networks_have_no_guidance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_tiny_run(tmp_path / "run")
    flags = ["--guidance=2", "--bars=1", f"--out={tmp_path / 'out'}", "--formats=mid"]
    assert generate([str(run), *flags]) == 1
    assert "--guidance 2 needs a model of --model frames" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
