"""The other networks over tokens: causal, the same one id at a time, in training and composing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from hpc.train import main
from model import generate
from model.composing.composer import Composer
from model.evaluation.likelihood import frame_nats
from model.networks.checkpoint import list_checkpoints, read_bundle
from model.networks.lstm_attention import AttentionLSTMConfig
from model.networks.registry import (
    Network,
    NetworkConfig,
    build_network,
    config_from_dict,
    network_config,
    within,
)
from model.networks.transformer import TransformerConfig
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.grid import GridVocabulary
from tests.hpc.launching import TINY_FLAGS, losses, run_training

KINDS = ("lstm-attention", "transformer")
WINDOW = 5
SIZES: dict[str, NetworkConfig] = {
    "lstm-attention": AttentionLSTMConfig(20, 8, 12, 2, window=WINDOW),
    "transformer": TransformerConfig(20, 16, 2, 2, 24, window=WINDOW),
}


def far_from_even(model: Network) -> Network:
    """The network with larger weights, so that a mistake shows."""
    for index, weight in enumerate(model.trainable_variables):
        weight.assign(weight + tf.random.stateless_normal(weight.shape, [1, index], stddev=0.3))
    return model


def small(kind: str) -> Network:
    keras.utils.set_random_seed(3)
    return far_from_even(build_network(SIZES[kind]))


def random_tokens(batch: int, time: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).integers(0, 20, [batch, time]), tf.int32)


@pytest.mark.parametrize("kind", KINDS)
def test_no_logit_depends_on_a_later_token(kind: str) -> None:
    model, tokens = small(kind), random_tokens(1, 13).numpy()
    before = model(tf.constant(tokens))[0].numpy()
    for position in (0, 3, 8):
        changed = tokens.copy()
        changed[0, position] = (changed[0, position] + 1) % 20
        difference = np.abs(model(tf.constant(changed))[0].numpy() - before).max(-1)[0]
        assert difference[:position].max(initial=0) == 0
        assert difference[position] > 1e-3
        assert difference[position + 1] > 1e-5


def test_each_layer_of_the_transformer_sees_so_many_positions_and_no_more() -> None:
    model, tokens = small("transformer"), random_tokens(1, 16).numpy()
    before = model(tf.constant(tokens))[0].numpy()
    tokens[0, 0] = (tokens[0, 0] + 1) % 20
    changed = np.abs(model(tf.constant(tokens))[0].numpy() - before).max(-1)[0] > 1e-7
    assert np.flatnonzero(changed).max() == 2 * WINDOW


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_read", [1, 3, 7, 12])
def test_ids_heard_at_once_or_one_by_one_give_the_logits_of_the_whole(
    kind: str, num_read: int
) -> None:
    model, tokens = small(kind), random_tokens(3, 17)
    whole = model(tokens)[0].numpy()
    step = tf.function(model.step)
    state = model.state_after(tokens[:, :num_read], model.zero_state(3))
    for position in range(num_read, 17):
        logits, state = step(tokens[:, position], state)
        np.testing.assert_allclose(logits, whole[:, position], atol=1e-4)
    state = model.zero_state(3)
    for position in range(num_read):
        logits, state = step(tokens[:, position], state)
        np.testing.assert_allclose(logits, whole[:, position], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_comes_back_and_is_no_larger_than_what_it_trains_on(kind: str) -> None:
    config: Any = network_config(kind, "small", EventVocabulary())
    assert config_from_dict(config.to_dict()) == config
    assert within(config, 100).window == 99
    assert within(config, 10_000) == config


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", ["tiny", "small", "base"])
def test_it_has_about_as_many_parameters_as_the_lstm(kind: str, preset: str) -> None:
    vocabulary = EventVocabulary()
    own, lstm = (
        build_network(network_config(name, preset, vocabulary)).count_params()
        for name in (kind, "lstm")
    )
    assert own == pytest.approx(lstm, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_gives_nearly_the_same(kind: str, precision: str) -> None:
    keras.utils.set_random_seed(3)
    exact = build_network(SIZES[kind])
    mixed = build_network(SIZES[kind], precision)
    for path, weight in mixed.named_weights().items():
        assert weight.dtype == "float32"
        weight.assign(exact.named_weights()[path])
    tokens = random_tokens(2, 9)
    np.testing.assert_allclose(mixed(tokens)[0], exact(tokens)[0], atol=0.05)
    logits, _ = mixed.step(tokens[:, 0], mixed.zero_state(2))
    assert logits.dtype == tf.float32


@pytest.mark.parametrize("kind", KINDS)
def test_its_nats_of_frames_are_those_of_ids_one_by_one(kind: str) -> None:
    vocabulary = GridVocabulary(lowest_pitch=60, highest_pitch=71, voices=2)
    keras.utils.set_random_seed(3)
    model = far_from_even(build_network(network_config(kind, "tiny", vocabulary)))
    frames = np.random.default_rng(0).integers(60, 72, [30, 2])  # 90 ids; tiny sees 64
    ids = vocabulary.encode_frames(frames)
    step, state = tf.function(model.step), model.zero_state(1)
    nats, previous = [], 2  # END
    for target in ids.tolist():
        logits, state = step(tf.constant([previous]), state)
        nats.append(-float(tf.nn.log_softmax(logits)[0, target]))
        previous = target
    music = np.array(nats)[vocabulary.opening.size : -1].reshape(-1, 3)[:, 1:]
    np.testing.assert_allclose(frame_nats([model], vocabulary, [frames])[0], music, atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "wrong", "line"),
    [
        (AttentionLSTMConfig, {"window": 0}, "must be 1 or more"),
        (TransformerConfig, {"window": 0}, "must be 1 or more"),
        (TransformerConfig, {"width": 36}, "multiple of 2 x 4 heads"),
        (TransformerConfig, {"dropout": 1.0}, "below 1"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused(
    kind: type, wrong: dict[str, Any], line: str
) -> None:
    with pytest.raises(ValueError, match=line):
        kind(vocab_size=20, **wrong)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_goes_on_and_composes_through_the_commands(
    kind: str, tiny_shards: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    flags = [*TINY_FLAGS, f"--model={kind}", "--strategy=single", f"--data={tiny_shards}"]
    flags += [f"--run={run}", "--log-every=1", "--save-every=12"]
    assert main([*flags, "--steps=12"]) == 0
    assert main([*flags, "--steps=24"]) == 0
    trained = losses(run)
    assert len(trained) == 24
    assert trained[-4:].mean() < trained[:4].mean() - 0.2
    bundle = read_bundle(list_checkpoints(run)[-1])
    assert bundle.model["kind"] == kind
    assert bundle.model["window"] == 31  # windows of 32 tokens
    composer = Composer.load(run)
    assert composer.model.config == config_from_dict(bundle.model)
    assert generate.main([str(run), "--bars=2", f"--out={tmp_path / 'music'}"]) == 0
    assert list((tmp_path / "music").rglob("*.mid"))


@pytest.mark.mpi
@pytest.mark.parametrize("kind", KINDS)
def test_two_workers_train_it_as_one_does(kind: str, tiny_shards: Path, tmp_path: Path) -> None:
    flags = [*TINY_FLAGS, f"--model={kind}", f"--data={tiny_shards}", "--steps=6", "--log-every=1"]
    assert main([*flags, f"--run={tmp_path / 'one'}", "--strategy=single"]) == 0
    done = run_training(2, *flags, f"--run={tmp_path / 'two'}", "--strategy=horovod")
    assert done.returncode == 0, done.stdout + done.stderr
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-4)
