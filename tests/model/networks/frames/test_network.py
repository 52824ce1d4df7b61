"""The frame model: proper, causal, the same one id at a time; its features of the past."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.composing.composer import Composer
from model.composing.pieces import Length
from model.composing.sampling import Sampling
from model.evaluation.likelihood import Likelihood, frame_nats
from model.networks.frames.decoding import FrameModel
from model.networks.frames.network import FramesConfig
from model.networks.frames.past import features_of_frames
from model.networks.registry import build_network, config_from_dict, network_config, with_dropout
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.grammar import END, MARKS, PAD
from pipeline.vocabulary.grid import GridVocabulary

VOCABULARY = GridVocabulary(lowest_pitch=60, highest_pitch=71, voices=3)
MARKED = replace(VOCABULARY, mark_moved=True)
UNKNOWN = VOCABULARY.num_pitches + 1


def pieces(count: int, length: int) -> list[np.ndarray]:
    """Random frames in which notes are held and figures return."""
    generator = np.random.default_rng(0)
    figures = generator.integers(59, 72, [4, 3, 3])
    frames = figures[generator.integers(0, 4, [count, length // 3])].reshape(count, -1, 3)
    return list(np.where(frames == 59, 0, frames).repeat(2, axis=1))


def as_batch(
    frames: list[np.ndarray], vocabulary: GridVocabulary = VOCABULARY, *, moved: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Inputs and targets, as a window that begins with a piece."""
    targets = np.stack([vocabulary.encode_frames(piece, moved=moved) for piece in frames])
    inputs = np.concatenate([np.full((len(frames), 1), END), targets[:, :-1]], 1)
    return tf.constant(inputs, tf.int32), tf.constant(targets, tf.int32)


def model_of(vocabulary: GridVocabulary) -> FrameModel:
    keras.utils.set_random_seed(5)
    network = build_network(network_config("frames", "tiny", vocabulary))
    assert isinstance(network, FrameModel)
    for weight in network.trainable_variables:  # far from even, so that a mistake shows
        weight.assign(weight + tf.random.stateless_normal(weight.shape, [1, 2], stddev=0.3))
    return network


@pytest.fixture(scope="module")
def model() -> FrameModel:
    return model_of(VOCABULARY)


@pytest.fixture(scope="module")
def marking_model() -> FrameModel:
    return model_of(MARKED)


@pytest.fixture(scope="module")
def logits_of(model: FrameModel):  # type: ignore[no-untyped-def]
    return tf.function(lambda tokens: model(tokens)[0], reduce_retracing=True)


def test_the_probabilities_of_each_voice_sum_to_one_and_stay_in_its_ids(
    model: FrameModel, logits_of: tf.types.experimental.GenericFunction
) -> None:
    inputs, _ = as_batch(pieces(2, 6))
    probability = tf.nn.softmax(logits_of(inputs)).numpy()
    np.testing.assert_allclose(probability.sum(-1), 1, atol=1e-5)
    rows = probability.reshape(2, -1, VOCABULARY.tokens_per_frame, VOCABULARY.size)
    for voice in range(3):
        block = VOCABULARY.blocks[f"voice {voice + 1}"]
        np.testing.assert_allclose(
            rows[:, 1:, voice, block.start : block.stop].sum(-1), 1, atol=1e-5
        )
    follows = VOCABULARY.follows.sum(0) > 0
    assert probability[..., ~follows].max() == 0


def test_no_logit_depends_on_a_later_id(
    logits_of: tf.types.experimental.GenericFunction,
) -> None:
    inputs, _ = as_batch(pieces(1, 12))
    before = logits_of(inputs).numpy()
    per_frame = VOCABULARY.tokens_per_frame
    for position in (2 * per_frame + 1, 5 * per_frame + 2, 9 * per_frame + 3):
        changed = inputs.numpy()
        block = list(VOCABULARY.blocks.values())[position % per_frame]
        changed[0, position] = block.start + (changed[0, position] - block.start + 1) % len(block)
        after = logits_of(tf.constant(changed)).numpy()
        np.testing.assert_array_equal(after[:, :position], before[:, :position])
        assert np.abs(after[:, position:] - before[:, position:]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("marked", [False, True])
def test_one_id_at_a_time_gives_the_logits_of_the_whole_window(
    marked: bool, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue("marking_model" if marked else "model")
    inputs, _ = as_batch(pieces(2, 6), MARKED if marked else VOCABULARY, moved=marked)
    whole = model(inputs)[0].numpy()
    steps = [tf.function(step) for step in model.steps]
    per_frame = VOCABULARY.tokens_per_frame
    for num_read in (0, VOCABULARY.opening.size - 1, 5 * per_frame - 2):
        # The zero state has read the END before the piece.
        state = model.state_after(inputs[:, 1 : 1 + num_read], model.zero_state(2))
        for position in range(1 + num_read, inputs.shape[1]):
            logits, state = steps[(1 + position) % per_frame](inputs[:, position], state)
            np.testing.assert_allclose(logits, whole[:, position], rtol=1e-4, atol=1e-4)


def test_the_nats_of_the_ids_are_those_of_the_frames(
    model: FrameModel, logits_of: tf.types.experimental.GenericFunction
) -> None:
    frames = pieces(2, 9)
    inputs, targets = as_batch(frames)
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits_of(inputs))
    nats = nats.numpy()
    is_voice = targets.numpy() >= MARKS + VOCABULARY.steps_per_bar
    by_frames = frame_nats([model], VOCABULARY, frames)
    assert by_frames[0].shape == frames[0].shape
    np.testing.assert_allclose(sum(x.sum() for x in by_frames), nats[is_voice].sum(), rtol=1e-5)
    # A STEP costs only the nats of "no END": its place is certain.
    is_step = (targets.numpy() >= MARKS) & ~is_voice
    first = is_step & (np.arange(targets.shape[1]) == VOCABULARY.opening.size)
    assert nats[first].max() < 1e-5


def test_a_shorter_piece_of_a_batch_has_the_logits_that_it_has_alone(
    logits_of: tf.types.experimental.GenericFunction,
) -> None:
    short, long = (as_batch(pieces(1, length))[0] for length in (6, 12))
    padding = tf.fill([1, long.shape[1] - short.shape[1]], PAD)
    together = logits_of(tf.concat([tf.concat([short, padding], 1), long], 0)).numpy()
    alone = short.shape[1]
    np.testing.assert_allclose(together[:1, :alone], logits_of(short).numpy(), atol=1e-5)
    np.testing.assert_allclose(together[1:], logits_of(long).numpy(), atol=1e-5)
    assert not together[0, alone:].any()


def test_the_steps_of_a_moved_piece_stay_its_own_and_composing_takes_the_others(
    marking_model: FrameModel,
) -> None:
    frames = pieces(1, 6)
    for moved in (False, True):
        inputs, targets = as_batch(frames, MARKED, moved=moved)
        logits = marking_model(inputs)[0]
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
        first = MARKED.opening.size
        steps = nats.numpy()[0, first :: MARKED.tokens_per_frame]
        probability = tf.nn.softmax(logits).numpy()[0, first :: MARKED.tokens_per_frame]
        own, others = (
            MARKED.encode_frames(frames[0], moved=m)[first::4] for m in (moved, not moved)
        )
        rows = np.arange(1, len(own) - 1)
        assert probability[rows, others[1:-1]].max() == 0
        np.testing.assert_allclose(
            probability[rows, own[1:-1]] + probability[rows, END], 1, atol=1e-5
        )
        # Before the first frame nothing says which it will be.
        np.testing.assert_allclose(steps[0], np.log(2), atol=1e-5)
    length = Length.of_steps(12, MARKED.steps_per_quarter)
    composed = Composer(marking_model, MARKED).compose([0], Sampling(), length, seed=3)[0].ids
    assert not any("MOVED" in MARKED.token_name(int(token)) for token in composed)


def test_the_nats_of_a_transposed_reading_are_those_of_the_moved_ids(
    marking_model: FrameModel,
) -> None:
    low = [np.where(piece > 0, np.minimum(piece, 68), 0) for piece in pieces(1, 6)]
    inputs, targets = as_batch([np.where(low[0] > 0, low[0] + 3, 0)], MARKED, moved=True)
    lowest, is_pitch = MARKED.pitches - 3 >= MARKED.lowest_pitch, MARKED.pitches >= 0
    logits = tf.where(lowest | ~is_pitch, marking_model(inputs)[0], -1e9)
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits).numpy()
    rows = nats[0, MARKED.opening.size : -1].reshape(-1, MARKED.tokens_per_frame)[:, 1:]
    np.testing.assert_allclose(Likelihood(marking_model, MARKED).nats(low, 3)[0], rows, rtol=1e-4)


def test_a_piece_in_a_window_does_not_hear_the_piece_before_it() -> None:
    first, second = (piece - 59 for piece in pieces(2, 12))
    first, second = np.maximum(first, 0), np.maximum(second, 0)
    mark = np.full((1, 3), UNKNOWN)
    together = np.concatenate([first, mark, second])[None]
    alone = features_of_frames(
        tf.constant(second[None], tf.int32), UNKNOWN, VOCABULARY.steps_per_bar
    )
    after = features_of_frames(tf.constant(together, tf.int32), UNKNOWN, VOCABULARY.steps_per_bar)
    for name, values in alone._asdict().items():
        there = getattr(after, name)[:, len(first) + 1 :]
        np.testing.assert_array_equal(there, values, err_msg=name)


def test_what_followed_the_longest_match_is_proposed() -> None:
    tune = [1, 2, 3, 4, 9, 3, 4, 8, 1, 2, 3, 4]
    frames = tf.constant([[[pitch, 5, 5] for pitch in tune]], tf.int32)
    known = features_of_frames(
        tf.concat([frames, frames[:, :1]], 1), UNKNOWN, VOCABULARY.steps_per_bar
    )
    # 9 follows 1 2 3 4, as at the beginning, although 8 followed the more recent 3 4.
    assert known.copied[0, -1].numpy().tolist() == [[9, 5, 5]] * 2
    assert known.match[0, -1].numpy().tolist() == [3, 3]  # four frames alike
    assert known.age[0, -1].numpy().tolist() == [1, 12, 12]
    assert known.before[0, -1].numpy().tolist() == [3, UNKNOWN, UNKNOWN]


def test_it_composes_pieces_of_the_length_asked_for(model: FrameModel) -> None:
    composer = Composer(model, VOCABULARY)
    length = Length.of_steps(20, VOCABULARY.steps_per_quarter)
    composed = composer.compose([0, 1], Sampling(), length, seed=3)
    for piece in composed:
        assert piece.complete
        assert len(VOCABULARY.decode_frames(piece.ids)) == 20
    assert composed[0].ids.tolist() != composed[1].ids.tolist()
    primer = VOCABULARY.decode(composed[0].ids)
    continued = composer.compose([0], Sampling(), Length.of_steps(24, 4), seed=4, primer=primer)
    np.testing.assert_array_equal(
        VOCABULARY.decode_frames(continued[0].ids)[: primer.end], VOCABULARY.frames(primer)
    )


@pytest.mark.parametrize("limit", [Sampling(top_k=1), Sampling(top_p=0.5)])
def test_what_keeps_the_likeliest_notes_does_not_keep_pieces_from_ending(limit: Sampling) -> None:
    network = build_network(network_config("frames", "tiny", VOCABULARY))
    assert isinstance(network, FrameModel)
    network.ending.kernel.assign(tf.zeros_like(network.ending.kernel))
    network.ending.bias.assign(np.log([0.1, 0.9]))
    composed = Composer(network, VOCABULARY).compose(range(40), limit, Length(), seed=1)
    lengths = [piece.num_composed / VOCABULARY.tokens_per_frame for piece in composed]
    assert all(piece.complete for piece in composed)
    assert 6 < np.mean(lengths) < 15


def test_its_configuration_comes_back_from_what_a_checkpoint_keeps() -> None:
    config = network_config("frames", "small", VOCABULARY)
    assert config_from_dict(config.to_dict()) == config
    assert config.vocab_size == VOCABULARY.size


@pytest.mark.slow
def test_every_kind_of_dropout_leaves_the_same_out_of_a_window_cut_short() -> None:
    inputs, _ = as_batch(pieces(2, 6))
    seeds = tf.constant([[7, 1]])
    cut = inputs[:, : 6 * VOCABULARY.tokens_per_frame]
    without = network_config("frames", "tiny", VOCABULARY)
    for rate in ("dropout", "head_dropout", "history_dropout", "recurrent_dropout"):
        none = dict.fromkeys(("head_dropout", "history_dropout", "recurrent_dropout"), 0.0)
        keras.utils.set_random_seed(5)
        model = build_network(with_dropout(without, **{"dropout": 0.0, **none, rate: 0.5}))
        whole, dropped = model(inputs)[0], model(inputs, dropout_seeds=seeds)[0]
        assert np.abs(whole - dropped).max() > 1e-3, rate
        again = model(cut, dropout_seeds=seeds)[0]
        np.testing.assert_allclose(dropped[:, : cut.shape[1]], again, atol=1e-5, err_msg=rate)


def test_it_refuses_a_vocabulary_without_frames() -> None:
    with pytest.raises(ValueError, match="--vocabulary grid"):
        network_config("frames", "tiny", EventVocabulary())
    with pytest.raises(ValueError, match="head_dropout is 1"):
        FramesConfig(3, 12, 16, head_dropout=1.0)
