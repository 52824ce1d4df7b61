"""Averaged models and transpositions: still probabilities, still from left to right."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from model import evaluate
from model.evaluation.likelihood import Likelihood, frame_nats, transpositions
from model.networks.registry import Network, build_network, network_config
from pipeline.vocabulary.grid import GridVocabulary
from tests.model.tiny_run import write_tiny_run

VOCABULARY = GridVocabulary(lowest_pitch=60, highest_pitch=71, voices=2)
SYMBOLS = (0, *range(60, 72))
# The last pitches fit a semitone lower, not higher; the middle ones in all transpositions.
PAST = np.array([[64, 62], [66, 62], [71, 60]])


@pytest.fixture(scope="module")
def models() -> list[Network]:
    networks = []
    for kind in ("frames", "lstm"):
        keras.utils.set_random_seed(7)
        network = build_network(network_config(kind, "tiny", VOCABULARY))
        for weight in network.trainable_variables:  # far from even, so that a mistake shows
            weight.assign(weight + tf.random.stateless_normal(weight.shape, [1, 2], stddev=0.3))
        networks.append(network)
    return networks


def test_transpositions_are_the_nearest_and_the_piece_itself_is_always_among_them() -> None:
    assert transpositions(1) == [0]
    assert transpositions(7) == [0, -1, 1, -2, 2, -3, 3]


def test_one_model_and_no_transposition_are_that_model_alone(models: list[Network]) -> None:
    alone = Likelihood(models[1], VOCABULARY).nats([PAST])
    np.testing.assert_array_equal(frame_nats(models[1:], VOCABULARY, [PAST]), alone)


def test_the_mean_of_models_is_that_of_their_probabilities(models: list[Network]) -> None:
    alone = [Likelihood(model, VOCABULARY).nats([PAST])[0] for model in models]
    (both,) = frame_nats(models, VOCABULARY, [PAST])
    np.testing.assert_allclose(both, -np.log(np.mean(np.exp(-np.stack(alone)), 0)), rtol=1e-5)


def test_averaged_probabilities_of_a_frame_sum_to_one(models: list[Network]) -> None:
    possible = list(product(SYMBOLS, SYMBOLS))
    frames = [np.array([*PAST[:length], frame]) for length in (0, 1, 3) for frame in possible]
    nats = frame_nats(models[:1], VOCABULARY, frames, num_transpositions=5)
    probability = np.exp([-piece[-1].sum() for piece in nats])
    np.testing.assert_allclose(probability.reshape(3, -1).sum(1), 1, atol=1e-5)


def test_no_later_note_changes_an_averaged_probability(models: list[Network]) -> None:
    changed, earlier = [], []
    for frame, voice in ((0, 1), (1, 0), (2, 1)):
        for pitch in (0, 60, 71):  # with one end of the range or the other some experts are lost
            changed.append(PAST.copy())
            changed[-1][frame, voice] = pitch
            earlier.append(frame * PAST.shape[1] + voice)
    before, *after = frame_nats(models, VOCABULARY, [PAST, *changed], num_transpositions=5)
    for nats, count in zip(after, earlier, strict=True):
        np.testing.assert_allclose(nats.ravel()[:count], before.ravel()[:count], rtol=1e-5)


def test_a_transposition_that_leaves_the_range_counts_no_more_from_there_on(
    models: list[Network],
) -> None:
    judge = Likelihood(models[0], VOCABULARY)
    same, down, up = (judge.nats([PAST], shift)[0] for shift in (0, -1, 1))
    assert np.isfinite(down.ravel()).tolist() == [True] * 5 + [False]  # 60 is the lowest
    assert np.isfinite(up.ravel()).tolist() == [True] * 4 + [False, True]  # 71 is the highest
    (mean,) = frame_nats(models[:1], VOCABULARY, [PAST], num_transpositions=3)
    # Transposed up, the first voice of the last frame is impossible; after it that expert is out.
    expected = -np.log(np.mean(np.exp([-same[2, 0], -down[2, 0], -np.inf])))
    assert mean[2, 0] == pytest.approx(expected, rel=1e-5)
    expected = -np.log(np.mean(np.exp([-same[2, 1], -np.inf])))
    assert mean[2, 1] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("num_voices", "code"), [(15, 0), (14, 1)])
def test_frames_of_fifteen_pitches_need_a_model_of_as_many_voices(
    num_voices: int, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chord = [*range(30, 105, 5)]
    pieces = [[chord, [], [60], chord], [[21, 108]]]
    path = tmp_path / "musedata-8th.json"
    path.write_text(json.dumps({"train": [], "valid": pieces, "test": []}))
    grid = GridVocabulary(
        steps_per_quarter=2, lowest_pitch=21, highest_pitch=108, voices=num_voices
    )
    run = write_tiny_run(tmp_path / "run", grid)
    written = tmp_path / "likelihood.json"
    flags = [str(run), "--data", f"musedata:{path}", "--json", str(written)]
    assert evaluate.main(flags) == code
    if code:
        assert "15 pitches and the model 14 voices" in capsys.readouterr().err
        return
    contents = json.loads(written.read_text())
    # Random weights: close to even over the ids of all voices, and so over those of each.
    assert contents["frames"] == 5
    assert contents["nats_per_frame"] == pytest.approx(15 * np.log(grid.size), rel=0.1)
