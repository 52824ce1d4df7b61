"""Conditions that were asked for, said in their time while a piece is composed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from pipeline.scores.labels import Features
from pipeline.vocabulary.conditions import CHORDS, QUARTERS
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.registry import Vocabulary


class Place(NamedTuple):
    """Where a piece stands in the plan."""

    time: tf.Tensor  # [batch] int32: grid steps since its start
    due: tf.Tensor  # [batch] int32: the number of the token that comes next


@dataclass(frozen=True)
class ConditionPlan:
    """When which condition is said, and what the grammar allows until then.

    What is said comes round again after a period: the first one that is a number of times both
    that of all conditions and that of the chords asked for.
    """

    period: int  # grid steps
    times: tf.Tensor  # [num_tokens] int32: grid steps within the period
    ids: tf.Tensor  # [num_tokens] int32
    steps: tf.Tensor  # [vocabulary size] int32: by how many each id moves time on
    is_planned: tf.Tensor  # [vocabulary size] bool: is it of a condition that the plan says?

    @classmethod
    def of(cls, vocabulary: Vocabulary, wishes: Features) -> ConditionPlan | None:
        """The plan of these wishes; None where there is nothing to say.

        Where no chords are asked for, the network says its own.
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
        said = vocabulary.condition_tokens(come_round(wishes, eighths), period - 1)
        times, ids = np.array([(time, token) for time, token in said if is_planned[token]]).T
        return cls(
            period,
            tf.constant(times, tf.int32),
            tf.constant(ids, tf.int32),
            tf.constant(vocabulary.steps, tf.int32),
            tf.constant(is_planned),
        )

    def begin(self, primer_ids: np.ndarray, batch_size: int) -> Place:
        """Where pieces stand after their primer, in which all was said up to there."""
        time = self.steps.numpy()[primer_ids].sum()
        due = self.is_planned.numpy()[primer_ids].sum()
        return Place(*(tf.fill([batch_size], tf.constant(x, tf.int32)) for x in (time, due)))

    def restrict(self, allowed: tf.Tensor, place: Place) -> tf.Tensor:
        """Of the ids that the grammar allows [batch, vocab] those that keep to the plan.

        A token that is due is the only one; time moves to the next one at most.
        """
        periods, number = place.due // tf.size(self.ids), place.due % tf.size(self.ids)
        left = periods * self.period + tf.gather(self.times, number) - place.time
        within = allowed & ~self.is_planned & (self.steps <= left[:, None])
        due = tf.range(tf.size(self.steps)) == tf.gather(self.ids, number)[:, None]
        return tf.where(left[:, None] == 0, due, within)

    def move_on(self, place: Place, ids: tf.Tensor) -> Place:
        """The places after these ids [batch]."""
        said = tf.cast(tf.gather(self.is_planned, ids), tf.int32)
        return Place(place.time + tf.gather(self.steps, ids), place.due + said)


def come_round(wishes: Features, eighths: int) -> Features:
    """The wishes with their chords again and again, for at least so many eighth notes."""
    times = -(-eighths // len(wishes.chords)) if wishes.chords else 0
    return replace(wishes, chords=wishes.chords * times)
