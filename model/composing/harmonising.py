"""Composing the other voices to a given one: sequential Monte Carlo over many drafts.

A network composes from left to right. Were the given voice only put in as it comes, the others
could not prepare what it will do. So many drafts of the piece are composed side by side. After each
frame a draft counts by how likely the given note was under it, and when few drafts hold most of the
weight, drafts are drawn anew by weight (Gordon, Salmond and Smith 1993; systematic resampling,
Kitagawa 1996). The more drafts, the closer to a sample of the other voices given the whole of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from model.composing.composer import Composer, Piece
from model.composing.given_voice import FREE, GivenVoice
from model.composing.sampling import Sampling, sample, uniforms
from pipeline.vocabulary.events import END
from pipeline.vocabulary.grid import GridVocabulary

DRAFTS = 32
# Chances of the choice among drafts come from series that no draft of any piece has.
CHOOSING = 2**40


def harmonise(
    composer: Composer,
    pieces: Sequence[int],
    sampling: Sampling,
    given: GivenVoice,
    seed: int,
    drafts: int = DRAFTS,
) -> list[Piece]:
    """Pieces of the given numbers in which the given voice sounds, as long as it.

    A piece depends on (seed, its number). `sampling` is for the free voices; drafts are weighed by
    the network's own probabilities.
    """
    assert isinstance(composer.vocabulary, GridVocabulary)
    forced = given.forced(composer.vocabulary)
    grammar = composer.grammar(endless=True)
    compose = tf.function(lambda *start: _compose_drafts(composer.steps, grammar, *start))
    composed = []
    for index in pieces:
        numbers = [index * drafts + draft for draft in range(drafts)]
        choices = uniforms(seed, [CHOOSING + index], 0, len(forced) + 1)[:, 0]
        ids, parents, weights = compose(
            tf.constant(forced),
            *composer.listen(composer.vocabulary.opening, drafts),
            tf.constant(uniforms(seed, numbers, 0, forced.size)),
            tf.constant(choices[:-1]),
            *sampling.tensors(composer.vocabulary.size),
        )
        chosen = int(np.searchsorted(np.cumsum(weights.numpy()), choices[-1]))
        rows = ids.numpy().reshape(*forced.shape, drafts)
        free = _history(rows, parents.numpy(), min(chosen, drafts - 1))
        whole = np.concatenate([composer.vocabulary.opening, free, [END]]).astype(np.int32)
        composed.append(Piece(index, whole, int((forced == FREE).sum()), True))
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
    """Ids [tokens, drafts], each draft's parent [frames, drafts], and their weights [drafts].

    `forced` [frames, tokens of a frame] with FREE, `draws` [tokens, drafts], `choices` [frames].
    """
    frame_tokens = forced.shape[1]
    num_tokens, num_drafts = draws.shape
    ids = tf.TensorArray(tf.int32, num_tokens)
    parents = tf.TensorArray(tf.int32, tf.shape(forced)[0])
    log_weights = tf.zeros([num_drafts])
    for frame in tf.range(tf.shape(forced)[0]):
        for place in range(frame_tokens):
            wanted = forced[frame, place]
            certain = tf.maximum(wanted, 0)
            logits, state = steps[place % len(steps)](previous, state)
            allowed = tf.gather(grammar, previous)
            drawn = sample(logits, allowed, draws[frame * frame_tokens + place], *settings)
            previous = tf.where(wanted == FREE, drawn, tf.fill([num_drafts], certain))
            ids = ids.write(frame * frame_tokens + place, previous)
            if place:  # the first of a frame, STEP, is no choice
                likelihood = tf.gather(
                    tf.nn.log_softmax(tf.where(allowed, logits, logits.dtype.min)), certain, axis=1
                )
                log_weights += tf.where(wanted == FREE, 0.0, likelihood)
        weights = tf.nn.softmax(log_weights)
        is_narrow = 1.0 / tf.reduce_sum(weights**2) < num_drafts / 2
        parent = tf.where(is_narrow, _resampled(weights, choices[frame]), tf.range(num_drafts))
        parents = parents.write(frame, parent)
        log_weights = tf.where(is_narrow, 0.0, log_weights)
        previous = tf.gather(previous, parent)
        state = tf.nest.map_structure(
            lambda part, parent=parent: tf.gather(part, parent) if part.shape.rank else part, state
        )
    return ids.stack(), parents.stack(), tf.nn.softmax(log_weights)


def _resampled(weights: tf.Tensor, choice: tf.Tensor) -> tf.Tensor:
    """Indices [drafts], each about as often as its weight says, by one number in [0, 1)."""
    num_drafts = weights.shape[0]
    places = (tf.range(num_drafts, dtype=tf.float32) + choice) / num_drafts
    found = tf.searchsorted(tf.cumsum(weights), places, side="right")
    return tf.minimum(found, num_drafts - 1)  # rounding may leave the sum below 1


def _history(ids: np.ndarray, parents: np.ndarray, chosen: int) -> np.ndarray:
    """The ids that led to a draft after the last frame, of ids [frames, tokens, drafts]."""
    tokens: list[np.ndarray] = []
    for frame in range(len(parents) - 1, -1, -1):
        chosen = parents[frame, chosen]
        tokens.append(ids[frame, :, chosen])
    return np.concatenate(tokens[::-1])
