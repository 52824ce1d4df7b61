"""Conditions that a user asked for, inserted at their steps while a piece is composed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from model.composing.bar_plan import BarPlan
from pipeline.scores.labels import Features
from pipeline.vocabulary.conditions import CHORDS, QUARTERS
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.grammar import START
from pipeline.vocabulary.registry import Vocabulary


@dataclass(frozen=True)
class ConditionPlan:
    """The steps and ids of all condition tokens, which repeat after a period.

    The period is the least common multiple of the conditions' own (`QUARTERS`) and that of the
    chords asked for. Bar lines are apart from it: their places depend on the metre, which the
    network may choose. What is due is the number of the next planned token [batch], and what
    `BarPlan` says.
    """

    period: int  # grid steps; 0: only bar lines are planned
    times: tf.Tensor  # [num_tokens] int32: grid steps within the period
    ids: tf.Tensor  # [num_tokens] int32
    steps: tf.Tensor  # [vocabulary size] int32: the steps by which each id advances time
    is_planned: tf.Tensor  # [vocabulary size] bool: tokens that only the plan may insert
    opens: tf.Tensor  # [vocabulary size] bool: tokens that stand before the first note
    bars: BarPlan | None = None  # None: no bar line is planned

    @classmethod
    def of(cls, vocabulary: Vocabulary, wishes: Features) -> ConditionPlan | None:
        """The plan of these wishes; None for a vocabulary without conditions.

        If no chords are asked for, the network chooses its own.
        """
        if not isinstance(vocabulary, EventVocabulary) or not vocabulary.conditions:
            return None
        planned = [*vocabulary.piece_conditions, *([CHORDS] if wishes.chords else [])]
        bars = BarPlan.of(vocabulary, wishes)
        steps = tf.constant(vocabulary.steps, tf.int32)
        numbers = np.arange(vocabulary.size)
        is_planned = np.zeros(vocabulary.size, bool)
        for block in (vocabulary.blocks[name] for name in planned):
            is_planned |= (numbers >= block.start) & (numbers < block.stop)
        last_of_music = vocabulary.blocks["drum"].stop
        opens = tf.constant((numbers == START) | (numbers >= last_of_music))
        if not planned:
            none = tf.zeros([0], tf.int32)
            return cls(0, none, none, steps, tf.constant(is_planned), opens, bars)
        eighths = math.lcm(2 * QUARTERS, len(wishes.chords) or 1)
        period = eighths * vocabulary.steps_per_quarter // 2
        tokens = vocabulary.condition_tokens(repeat_chords(wishes, eighths), period - 1)
        times, ids = np.array([(time, token) for time, token in tokens if is_planned[token]]).T
        return cls(
            period,
            tf.constant(times, tf.int32),
            tf.constant(ids, tf.int32),
            steps,
            tf.constant(is_planned),
            opens,
            bars,
        )

    @property
    def due_specs(self) -> Any:
        """The shape and type of what is due, for tf.function."""
        number = tf.TensorSpec([None], tf.int32)
        return number, (number, number, number) if self.bars else ()

    def begin(self, primer_ids: np.ndarray, batch_size: int) -> Any:
        """What is due after a primer with all planned tokens so far."""
        number = tf.constant(self.is_planned.numpy()[primer_ids].sum(), tf.int32)
        bars = self.bars.begin(primer_ids, batch_size) if self.bars else ()
        return tf.fill([batch_size], number), bars

    def restrict(
        self, allowed: tf.Tensor, previous: tf.Tensor, time: tf.Tensor, due: Any
    ) -> tf.Tensor:
        """Of the ids that the grammar allows [batch, vocab] those that keep to the plan.

        `previous` [batch] are the ids before, `time` [batch] int32 is grid steps since the start of
        the piece, which is its first note. A planned token that is due is the only id allowed;
        before it, time may advance up to it.
        """
        due, bars = due
        is_open = (time == 0) & tf.gather(self.opens, previous)
        allowed &= ~is_open[:, None] | (self.steps == 0)
        if self.bars:
            allowed = self.bars.restrict(allowed, time, bars)
        if not self.period:
            return allowed
        periods, number = due // tf.size(self.ids), due % tf.size(self.ids)
        left = periods * self.period + tf.gather(self.times, number) - time
        within = allowed & ~self.is_planned & (self.steps <= left[:, None])
        planned = tf.range(tf.size(self.steps)) == tf.gather(self.ids, number)[:, None]
        return tf.where(left[:, None] == 0, planned, within)

    def move_on(self, due: Any, ids: tf.Tensor, time: tf.Tensor) -> Any:
        """What is due after these ids [batch], which act at `time` [batch]."""
        number, bars = due
        number += tf.cast(tf.gather(self.is_planned, ids), tf.int32)
        return number, self.bars.move_on(bars, ids, time) if self.bars else ()


def repeat_chords(wishes: Features, eighths: int) -> Features:
    """The wishes with their chords repeated for at least `eighths` eighth notes."""
    times = -(-eighths // len(wishes.chords)) if wishes.chords else 0
    return replace(wishes, chords=wishes.chords * times)
