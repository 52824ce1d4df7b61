"""The network: state carried from step to step, shapes, variants, dropout by slices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from hpc.training.train_step import sequence_loss
from model.networks.lstm import PRESETS, LSTMConfig, MusicLSTM, build_lstm, preset_config

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "residual and normalised": {"residual": True, "layer_norm": True},
    "tied output": {"tied_output": True},
}


def small_lstm(**options: Any) -> MusicLSTM:
    keras.utils.set_random_seed(3)
    sizes = {"embedding_size": 8, "units": 12, "num_layers": 2, "dropout": 0.5}
    return build_lstm(LSTMConfig(vocab_size=20, **{**sizes, **options}))


def random_tokens(batch: int, time: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).integers(0, 20, [batch, time]), tf.int32)


@pytest.mark.parametrize("variant", VARIANTS)
def test_steps_with_carried_state_give_the_logits_of_the_whole_sequence(variant: str) -> None:
    model = small_lstm(**VARIANTS[variant])
    tokens = random_tokens(3, 9)
    whole, last_state = model(tokens)
    assert whole.shape == (3, 9, 20)
    state = model.zero_state(3)
    for position in range(9):
        logits, state = model.step(tokens[:, position], state)
        np.testing.assert_allclose(logits, whole[:, position], atol=2e-6)
    np.testing.assert_allclose(
        tf.nest.flatten(state), tf.nest.flatten(last_state), atol=2e-6, strict=False
    )


def test_a_sequence_cut_in_two_gives_the_logits_of_the_whole() -> None:
    model = small_lstm()
    tokens = random_tokens(2, 8)
    whole, _ = model(tokens)
    first, state = model(tokens[:, :5])
    second, _ = model(tokens[:, 5:], state)
    np.testing.assert_allclose(tf.concat([first, second], 1), whole, atol=2e-6)


def test_no_logit_depends_on_a_later_token() -> None:
    model = small_lstm()
    tokens = random_tokens(1, 8).numpy()
    before, _ = model(tf.constant(tokens))
    tokens[0, 5] = (tokens[0, 5] + 1) % 20
    after, _ = model(tf.constant(tokens))
    changed = np.abs(before - after).max(axis=-1)[0] > 0
    assert changed.tolist() == [False] * 5 + [True] * 3


def test_the_dropout_of_a_slice_depends_on_its_seed_alone() -> None:
    model = small_lstm()
    tokens = tf.repeat(random_tokens(1, 6), 4, axis=0)
    seeds = tf.constant([[1, 1], [2, 2]], tf.int32)
    logits, _ = model(tokens, dropout_seeds=seeds)
    alone, _ = model(tokens[2:], dropout_seeds=seeds[1:])
    np.testing.assert_allclose(logits[2:], alone, atol=2e-6)
    assert np.abs(logits[:2] - logits[2:]).max() > 1e-3
    without, _ = model(tokens)
    assert np.abs(logits - without).max() > 1e-3


def test_the_dropout_of_a_piece_does_not_depend_on_the_padding_behind_it() -> None:
    model = small_lstm()
    tokens = random_tokens(4, 9)
    seeds = tf.constant([[1, 1], [2, 2]], tf.int32)
    padded, _ = model(tokens, dropout_seeds=seeds)
    cut, _ = model(tokens[:, :6], dropout_seeds=seeds)
    np.testing.assert_allclose(padded[:, :6], cut, atol=2e-6)


@pytest.mark.parametrize("tied_output", [False, True])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_fresh_network_hears_the_last_token_and_holds_all_next_ones_nearly_equally_likely(
    preset: str, tied_output: bool
) -> None:
    vocab_size = 235
    config = replace(preset_config(preset, vocab_size, dropout=0.0), tied_output=tied_output)
    keras.utils.set_random_seed(0)
    model = build_lstm(config)
    tokens = tf.range(vocab_size)
    logits, state = model.step(tokens, model.zero_state(vocab_size))
    nats = sequence_loss(logits[:, None], tokens[::-1, None], tf.ones([vocab_size, 1]))
    assert float(nats) / vocab_size == pytest.approx(np.log(vocab_size), abs=0.1)
    # How much the first output differs between tokens: 0.003 if it hardly depends on them.
    assert np.std(state[0][0], axis=0).mean() > 0.015


def test_tied_output_shares_the_embedding() -> None:
    tied = small_lstm(tied_output=True).count_params()
    untied = small_lstm().count_params()
    assert tied - untied == (12 * 8 + 8) - (12 * 20 + 20)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_a_configuration_that_can_be_saved(preset: str) -> None:
    config = preset_config(preset, vocab_size=235, dropout=0.3)
    assert LSTMConfig(**config.to_dict()) == config
    assert config.dropout == 0.3


def test_the_loss_is_the_weighted_sum_of_nats() -> None:
    logits = tf.math.log(tf.constant([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]))
    targets, weights = tf.constant([[1, 2]]), tf.constant([[1.0, 0.5]])
    expected = -np.log(0.25) - 0.5 * np.log(0.8)
    assert float(sequence_loss(logits, targets, weights)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "wrong", [{"units": 0}, {"num_layers": 0}, {"dropout": 1.0}, {"dropout": -0.1}]
)
def test_a_shape_that_cannot_be_built_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        LSTMConfig(vocab_size=20, **wrong)
