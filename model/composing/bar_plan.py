"""Bar lines while a piece is composed: where the next one lies, and what its metre may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pipeline.scores.bars import bar_length
from pipeline.scores.labels import Features
from pipeline.vocabulary.conditions import METRE, METRES, UNKNOWN, VALUES
from pipeline.vocabulary.events import EventVocabulary

FAR = 2**30  # grid steps: of a bar whose metre is unknown
FREE = -1  # in place of an id: the network chooses the metre

Due = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


@dataclass(frozen=True)
class BarPlan:
    """Where bar lines may lie: each bar is as long as its metre token says.

    The first bar may be shorter, an upbeat, unless a metre is asked for. What is due is three
    tensors [batch] int32: the first and the last grid step at which the next bar line may lie, and
    the id of the metre that it must have, or FREE.
    """

    asked: int  # id of the metre that a user asked for, or FREE
    steps: tf.Tensor  # [vocabulary size] int32: the steps by which each id advances time
    lengths: tf.Tensor  # [vocabulary size] int32: grid steps of a bar of each metre token; else FAR
    is_bar: tf.Tensor  # [vocabulary size] bool: metre tokens
    may_precede: tf.Tensor  # [vocabulary size] bool: what may stand at a bar line before its token

    @classmethod
    def of(cls, vocabulary: EventVocabulary, wishes: Features) -> BarPlan | None:
        """The plan of these wishes; None for a vocabulary without metre.

        Raises ValueError for a metre whose bars are no whole number of grid steps.
        """
        if METRE not in vocabulary.conditions:
            return None
        block = vocabulary.blocks[METRE]
        lengths = np.full(vocabulary.size, FAR, np.int32)
        for value, metre in enumerate(METRES, UNKNOWN + 1):
            length = bar_length(*metre) * vocabulary.steps_per_quarter
            if length.denominator == 1:
                lengths[block.start + value] = int(length)
        asked = FREE
        if wishes.metre:
            asked = block.start + UNKNOWN + 1 + VALUES[METRE].index(wishes.metre)
            if lengths[asked] == FAR:
                raise ValueError(
                    f"--metre {wishes.metre}: its bars end between two steps of this model's grid "
                    f"of {vocabulary.steps_per_quarter} steps a quarter. Ask for another metre"
                )
        numbers = np.arange(vocabulary.size)
        return cls(
            asked,
            tf.constant(vocabulary.steps, tf.int32),
            tf.constant(lengths),
            tf.constant((numbers >= block.start) & (numbers < block.stop)),
            tf.constant(numbers >= vocabulary.blocks["drum"].stop),  # conditions come last
        )

    def begin(self, primer_ids: np.ndarray, batch_size: int) -> Due:
        """What is due after a primer, or after the opening of a piece.

        A primer's last bar becomes whole, and its metre goes on unless another one is asked for.
        """
        places = np.flatnonzero(self.is_bar.numpy()[primer_ids])
        first = last = 0
        asked = self.asked
        if places.size:
            metre = int(primer_ids[places[-1]])
            length = int(self.lengths.numpy()[metre])
            begun = int(self.steps.numpy()[primer_ids[: places[-1]]].sum())
            first, last = begun + (1 if length == FAR else length), begun + length
            if asked == FREE and length != FAR:
                asked = metre
        first, last, asked = (tf.constant(value, tf.int32) for value in (first, last, asked))
        return tuple(tf.fill([batch_size], value) for value in (first, last, asked))

    def restrict(self, allowed: tf.Tensor, time: tf.Tensor, due: Due) -> tf.Tensor:
        """Of these ids [batch, vocab] those that keep to the bars; `time` [batch] int32 in steps.

        Time may advance up to the next bar line. There a metre token must come before any music.
        """
        first, last, asked = due
        numbers = tf.range(tf.size(self.steps))
        may_be = (asked[:, None] == FREE) | (numbers == asked[:, None])
        is_time = (time >= first)[:, None]
        allowed &= ~self.is_bar | (is_time & may_be)
        allowed &= self.steps <= (last - time)[:, None]
        return allowed & (self.may_precede | (time < last)[:, None])

    def move_on(self, due: Due, ids: tf.Tensor, time: tf.Tensor) -> Due:
        """What is due after these ids [batch], which act at `time` [batch]."""
        first, last, asked = due
        is_bar = tf.gather(self.is_bar, ids)
        length = tf.gather(self.lengths, ids)
        # An upbeat is composed only where nothing is asked for; of an unknown bar no end is known.
        is_open = (length == FAR) | ((time == 0) & (asked == FREE))
        earliest = time + tf.where(is_open, 1, length)
        return (
            tf.where(is_bar, earliest, first),
            tf.where(is_bar, time + length, last),
            asked,
        )
