"""Conditions that were asked for, said in their time while a piece is composed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from pipeline.conditions import CHORDS
from pipeline.features import Features
from pipeline.vocabulary import EventVocabulary, Vocabulary

QUARTERS = 4096  # that are planned, longer than any piece
NEVER = np.iinfo(np.int32).max


class Place(NamedTuple):
    """Where a piece stands in the plan."""

    time: tf.Tensor  # [batch] int32: grid steps since its start
    due: tf.Tensor  # [batch] int32: the number of the token that comes next


@dataclass(frozen=True)
class ConditionPlan:
    """When which condition is said, and what the grammar allows until then."""

    times: tf.Tensor  # [num_tokens + 1] int32: grid steps; the last one is never reached
    ids: tf.Tensor  # [num_tokens + 1] int32
    steps: tf.Tensor  # [vocabulary size] int32: by how many each id moves time on
    is_planned: tf.Tensor  # [vocabulary size] bool: is it of a condition that the plan says?

    @classmethod
    def of(cls, vocabulary: Vocabulary, wishes: Features) -> ConditionPlan | None:
        """The plan of these wishes; None where there is nothing to say.

        Where no chords are asked for, the network says its own.
        """
        if not isinstance(vocabulary, EventVocabulary):
            return None
        planned = [*vocabulary.whole_conditions, *([CHORDS] if wishes.chords else [])]
        if not planned:
            return None
        numbers = np.arange(vocabulary.size)
        blocks = [vocabulary.blocks[name] for name in planned]
        is_planned = np.any([(numbers >= b.start) & (numbers < b.stop) for b in blocks], axis=0)
        end = QUARTERS * vocabulary.steps_per_quarter
        said = vocabulary.said_of(come_round(wishes), end)
        times, ids = np.array([(time, token) for time, token in said if is_planned[token]]).T
        return cls(
            tf.constant(np.append(times, NEVER), tf.int32),
            tf.constant(np.append(ids, 0), tf.int32),
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
        left = tf.gather(self.times, place.due) - place.time
        within = allowed & ~self.is_planned & (self.steps <= left[:, None])
        due = tf.range(tf.size(self.steps)) == tf.gather(self.ids, place.due)[:, None]
        return tf.where(left[:, None] == 0, due, within)

    def move_on(self, place: Place, ids: tf.Tensor) -> Place:
        """The places after these ids [batch]."""
        said = tf.cast(tf.gather(self.is_planned, ids), tf.int32)
        return Place(place.time + tf.gather(self.steps, ids), place.due + said)


def come_round(wishes: Features) -> Features:
    """The wishes with their chords again and again, longer than any piece."""
    times = -(-2 * QUARTERS // len(wishes.chords)) if wishes.chords else 0
    return replace(wishes, chords=wishes.chords * times)
