"""Composing the rest to given music: sequential Monte Carlo over many drafts.

A network composes from left to right. If the given notes were only inserted frame by frame, the
other voices could not prepare for what they will do. Therefore several drafts of the piece are
composed side by side. After each frame a draft is weighted by the likelihood of the given notes
under it. When few drafts hold most of the weight, drafts are drawn again by weight (Gordon, Salmond
and Smith 1993; systematic resampling, Kitagawa 1996). The more drafts, the closer the result is to
a sample of the rest given the whole of what was given: one voice, or a piece with a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from model.composing.composer import Composer
from model.composing.given_voice import FREE, Given
from model.composing.pieces import ComposedPiece
from model.composing.sampling import Sampling, sample, uniforms
from pipeline.vocabulary.grammar import END
from pipeline.vocabulary.grid import GridVocabulary

DRAFTS = 32
# The random numbers of the choice among drafts come from series that no draft of any piece has.
CHOOSING = 2**40


def harmonise(
    composer: Composer,
    pieces: Sequence[int],
    sampling: Sampling,
    given: Given,
    seed: int,
    drafts: int = DRAFTS,
) -> list[ComposedPiece]:
    """Pieces of the given numbers that contain the given music and are as long as it.

    A piece depends on (seed, its number). `sampling` is for the free voices; drafts are weighted by
    the network's own probabilities.
    """
    assert isinstance(composer.vocabulary, GridVocabulary)
    forced = given.forced(composer.vocabulary)
    grammar = composer.grammar()
    decoder = composer.decoder
    compose = tf.function(
        lambda *start: _compose_drafts(decoder.steps, grammar, *start), autograph=False
    )
    composed = []
    for index in pieces:
        numbers = [index * drafts + draft for draft in range(drafts)]
        choices = uniforms(seed, [CHOOSING + index], 0, len(forced) + 1)[:, 0]
        ids, parents, weights = compose(
            tf.constant(forced),
            *decoder.prefill(composer.vocabulary.opening, drafts),
            tf.constant(uniforms(seed, numbers, 0, forced.size)),
            tf.constant(choices[:-1]),
            *composer.settings(sampling),
        )
        chosen = int(np.searchsorted(np.cumsum(weights.numpy()), choices[-1]))
        rows = ids.numpy().reshape(*forced.shape, drafts)  # [frames, tokens of a frame, drafts]
        free = _history(rows, parents.numpy(), min(chosen, drafts - 1))
        whole = np.concatenate([composer.vocabulary.opening, free, [END]]).astype(np.int32)
        num_free = int((forced == FREE).sum())
        composed.append(
            ComposedPiece(
                index, whole, num_free, True, num_drawn=num_free * drafts, num_drafts=drafts
            )
        )
    return composed


def _compose_drafts(
    steps: Sequence[Any],
    grammar: tf.Tensor,
    forced: tf.Tensor,
    previous: tf.Tensor,
    state: Any,
    draws: tf.Tensor,
    choices: tf.Tensor,
    *settings: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Ids [tokens, drafts], each draft's parent [frames, drafts], and the drafts' weights [drafts].

    `forced` [frames, tokens of a frame] with FREE, `draws` [tokens, drafts], `choices` [frames].
    """
    num_frames, tokens_per_frame = forced.shape
    num_tokens, num_drafts = draws.shape

    def compose_frame(
        frame: tf.Tensor,
        previous: tf.Tensor,
        state: Any,
        log_weights: tf.Tensor,
        ids: tf.TensorArray,
        parents: tf.TensorArray,
    ) -> tuple[Any, ...]:
        # The ids of a frame: forced ones count for the weight, the others are sampled.
        for place in range(tokens_per_frame):
            time = frame * tokens_per_frame + place
            wanted = forced[frame, place]
            certain = tf.maximum(wanted, 0)
            logits, state = steps[place % len(steps)](previous, state)  # [drafts, vocab]
            allowed = tf.gather(grammar, previous)
            sampled = sample(logits, allowed, draws[time], *settings)
            previous = tf.where(wanted == FREE, sampled, tf.fill([num_drafts], certain))
            ids = ids.write(time, previous)
            if place:  # the first id of a frame, STEP, is no choice
                likelihood = tf.gather(
                    tf.nn.log_softmax(tf.where(allowed, logits, logits.dtype.min)), certain, axis=1
                )
                log_weights += tf.where(wanted == FREE, 0.0, likelihood)

        # Resample when the effective number of drafts falls below half.
        weights = tf.nn.softmax(log_weights)
        is_narrow = 1.0 / tf.reduce_sum(weights**2) < num_drafts / 2
        parent = tf.where(is_narrow, _resampled(weights, choices[frame]), tf.range(num_drafts))
        parents = parents.write(frame, parent)
        log_weights = tf.where(is_narrow, 0.0, log_weights)
        previous = tf.gather(previous, parent)
        state = tf.nest.map_structure(
            lambda part: tf.gather(part, parent) if part.shape.rank else part, state
        )
        return frame + 1, previous, state, log_weights, ids, parents

    ids = tf.TensorArray(tf.int32, num_tokens)
    parents = tf.TensorArray(tf.int32, num_frames)
    start = (0, previous, state, tf.zeros([num_drafts]), ids, parents)
    loop = tf.while_loop(lambda frame, *_: frame < num_frames, compose_frame, start)
    _, _, _, log_weights, ids, parents = loop
    return ids.stack(), parents.stack(), tf.nn.softmax(log_weights)


def _resampled(weights: tf.Tensor, choice: tf.Tensor) -> tf.Tensor:
    """Indices [drafts], each as often as its weight requires, from one number in [0, 1)."""
    num_drafts = weights.shape[0]
    places = (tf.range(num_drafts, dtype=tf.float32) + choice) / num_drafts
    found = tf.searchsorted(tf.cumsum(weights), places, side="right")
    return tf.minimum(found, num_drafts - 1)  # rounding may leave the sum below 1


def _history(ids: np.ndarray, parents: np.ndarray, chosen: int) -> np.ndarray:
    """The ids that led to the chosen draft, found from the last frame back to the first.

    `ids` [frames, tokens of a frame, drafts], `parents` [frames, drafts].
    """
    tokens: list[np.ndarray] = []
    for frame in range(len(parents) - 1, -1, -1):
        chosen = parents[frame, chosen]
        tokens.append(ids[frame, :, chosen])
    return np.concatenate(tokens[::-1])
