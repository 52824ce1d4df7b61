"""Conditions that a user asked for, inserted at their steps while a piece is composed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from pipeline.scores.labels import Features
from pipeline.vocabulary.conditions import CHORDS, QUARTERS
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.registry import Vocabulary


@dataclass(frozen=True)
class ConditionPlan:
    """The steps and ids of all condition tokens, which repeat after a period.

    The period is the least common multiple of the conditions' own (`QUARTERS`) and that of the
    chords asked for.
    """

    period: int  # grid steps
    times: tf.Tensor  # [num_tokens] int32: grid steps within the period
    ids: tf.Tensor  # [num_tokens] int32
    steps: tf.Tensor  # [vocabulary size] int32: the steps by which each id advances time
    is_planned: tf.Tensor  # [vocabulary size] bool: tokens that only the plan may insert

    @classmethod
    def of(cls, vocabulary: Vocabulary, wishes: Features) -> ConditionPlan | None:
        """The plan of these wishes; None for a vocabulary without conditions.

        If no chords are asked for, the network chooses its own.
        """
        if not isinstance(vocabulary, EventVocabulary):
            return None
        planned = [*vocabulary.piece_conditions, *([CHORDS] if wishes.chords else [])]
        if not planned:
            return None
        numbers = np.arange(vocabulary.size)
        blocks = [vocabulary.blocks[name] for name in planned]
        is_planned = np.any([(numbers >= b.start) & (numbers < b.stop) for b in blocks], axis=0)
        eighths = math.lcm(2 * QUARTERS, len(wishes.chords) or 1)
        period = eighths * vocabulary.steps_per_quarter // 2
        tokens = vocabulary.condition_tokens(repeat_chords(wishes, eighths), period - 1)
        times, ids = np.array([(time, token) for time, token in tokens if is_planned[token]]).T
        return cls(
            period,
            tf.constant(times, tf.int32),
            tf.constant(ids, tf.int32),
            tf.constant(vocabulary.steps, tf.int32),
            tf.constant(is_planned),
        )

    def begin(self, primer_ids: np.ndarray, batch_size: int) -> tf.Tensor:
        """The numbers [batch] of the tokens due after a primer with all planned ones so far."""
        due = self.is_planned.numpy()[primer_ids].sum()
        return tf.fill([batch_size], tf.constant(due, tf.int32))

    def restrict(self, allowed: tf.Tensor, time: tf.Tensor, due: tf.Tensor) -> tf.Tensor:
        """Of the ids that the grammar allows [batch, vocab] those that keep to the plan.

        `time` [batch] int32 is grid steps since the start of the piece, `due` [batch] int32 the
        number of the next planned token. A planned token that is due is the only id allowed; before
        it, time may advance up to it.
        """
        periods, number = due // tf.size(self.ids), due % tf.size(self.ids)
        left = periods * self.period + tf.gather(self.times, number) - time
        within = allowed & ~self.is_planned & (self.steps <= left[:, None])
        planned = tf.range(tf.size(self.steps)) == tf.gather(self.ids, number)[:, None]
        return tf.where(left[:, None] == 0, planned, within)

    def move_on(self, due: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        """The numbers [batch] of the tokens due after these ids [batch]."""
        return due + tf.cast(tf.gather(self.is_planned, ids), tf.int32)


def repeat_chords(wishes: Features, eighths: int) -> Features:
    """The wishes with their chords repeated for at least `eighths` eighth notes."""
    times = -(-eighths // len(wishes.chords)) if wishes.chords else 0
    return replace(wishes, chords=wishes.chords * times)
