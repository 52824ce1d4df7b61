"""One voice of a frame: logits of its pitches, from the past and the voices above it.

A head does not give each pitch a logit of its own only. What speaks for a pitch is also how far it
lies from the voice's last one, which interval it makes with every voice above, its degree in the
key, and whether it moves in parallel with another voice. All of these hold in any transposition.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from model.networks.frames import tonality
from model.networks.frames.past import LONGEST_AGE, NUM_MATCHES, Features
from model.networks.frames.pitch_codes import NO_CLASS, NUM_CLASSES, PitchCodes, above, from_roots


class VoiceHead(keras.layers.Layer):
    """The head of one voice; 0 is the highest."""

    def __init__(
        self, voice: int, codes: PitchCodes, num_places: int, units: int, precision: str
    ) -> None:
        super().__init__(name=f"voice_{voice}", dtype=precision)
        self.voice = voice
        self.codes = codes
        self.num_places = num_places
        self.sizes = [
            codes.num_indices,  # the pitch itself
            codes.num_moves,  # the move from the voice's last one
            codes.num_moves,  # the interval to the voice next above
            voice * NUM_CLASSES,  # the interval to each voice above, octaves left out
            voice * NUM_CLASSES,  # keeping it while the other voice moves: of each interval
            len(tonality.KEYED) * NUM_CLASSES,  # the degree in each key
            tonality.NUM_TALLIES,  # how much the pitch class was sung
        ]
        dense = keras.layers.Dense
        self.seen = dense(units, use_bias=False, name=f"seen_{voice}", dtype=precision)
        self.choices = dense(sum(self.sizes), name=f"choices_{voice}", dtype=precision)

    def hidden(
        self, context: tf.Tensor, known: Features, place: tf.Tensor, others: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        """Activations [..., units] from a projection of the recurrent output of that size.

        `others`: what the voices above sing in this frame, [...] of pitch indices each.
        """
        told = tf.concat(self._told(known, place, others), -1)
        return tf.nn.relu(context + self.seen(told))

    def logits(self, hidden: tf.Tensor, known: Features, others: Sequence[tf.Tensor]) -> tf.Tensor:
        """Logits [..., 1 + pitches] float32 of a rest and the pitches."""
        codes = self.codes
        numbers = tf.cast(self.choices(hidden), tf.float32)
        pitches, moves, intervals, harmony, parallels, in_keys, weights = tf.split(
            numbers, self.sizes, axis=-1
        )
        of_classes = tf.reduce_sum(weights[..., None] * known.salience, -2)
        of_classes += from_roots(_in_rows(in_keys, len(tonality.KEYED)), known.tonic)
        logits = pitches + codes.logits_of_moves(moves, self._origin(known))
        if others:
            roots = codes.class_of(tf.stack(others, -1))
            of_classes += from_roots(_in_rows(harmony, self.voice), roots)
            interval, keeps = self._parallel(known, others)
            of_intervals = _in_rows(parallels, self.voice) * tf.one_hot(interval, NUM_CLASSES)
            of_voices = tf.reduce_sum(of_intervals, -1, keepdims=True)
            of_classes += tf.reduce_sum(of_voices * tf.one_hot(keeps, NUM_CLASSES), -2)
            logits += codes.logits_of_moves(intervals, others[-1])
        return logits + codes.logits_of_classes(of_classes)

    def _origin(self, known: Features) -> tf.Tensor:
        """The voice's last pitch; after a rest the one before it, as it comes back near by."""
        last = known.frame[..., self.voice]
        return tf.where(last == 0, known.before[..., self.voice], last)

    def _parallel(
        self, known: Features, others: Sequence[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """[..., voices above]: the interval to a voice that has moved, the class that keeps it."""
        codes = self.codes
        own = codes.class_of(known.frame[..., self.voice, None])
        now = tf.stack(others, -1)
        before = known.frame[..., : self.voice]
        interval = above(own, codes.class_of(before))
        moved = (now != before) & codes.is_pitch(now) & (interval < NO_CLASS)
        kept = (codes.class_of(now) + interval) % NUM_CLASSES
        return interval, tf.where(moved, kept, -1)  # -1: no class, as tf.one_hot reads it

    def _told(
        self, known: Features, place: tf.Tensor, others: Sequence[tf.Tensor]
    ) -> list[tf.Tensor]:
        codes, voice = self.codes, self.voice
        last, origin = known.frame[..., voice], self._origin(known)
        told = [
            codes.pitches(tf.stack([last, known.before[..., voice]], -1)),
            codes.one_hot(known.age[..., voice], LONGEST_AGE + 1),
            codes.one_hot(place, self.num_places + 1),
            codes.one_hots(known.match, NUM_MATCHES),
            codes.moves(codes.interval(known.copied[..., voice], origin[..., None])),
            degrees(tf.stack([origin, *others], -1), known.tonic, codes),
            codes.one_hots(known.mode, tonality.NUM_MODES),
        ]
        if others:
            now, before = tf.stack(others, -1), known.frame[..., :voice]
            classes = codes.class_of(before)
            told += [
                codes.pitches(now),
                codes.moves(codes.interval(now, origin[..., None])),
                codes.moves(codes.interval(now, before)),
                codes.one_hots(above(codes.class_of(last[..., None]), classes), NUM_CLASSES + 1),
                # Does the voice above follow the copies that the search proposes?
                flat(tf.cast(known.copied[..., :voice] == now[..., None, :], codes.dtype)),
            ]
        return told


def degrees(pitches: tf.Tensor, tonic: tf.Tensor, codes: PitchCodes) -> tf.Tensor:
    """[..., keys * n * 13], a one at the degree in each key of n pitches [..., n]; last is none."""
    of_each = above(codes.class_of(pitches)[..., None, :], tonic[..., None])
    return flat(codes.one_hots(of_each, NUM_CLASSES + 1))


def _in_rows(logits: tf.Tensor, count: int) -> tf.Tensor:
    """[..., count, 12] of [..., count * 12]."""
    return tf.reshape(logits, tf.concat([tf.shape(logits)[:-1], [count, NUM_CLASSES]], 0))


def flat(values: tf.Tensor) -> tf.Tensor:
    """[..., n * m] of [..., n, m]."""
    size = values.shape[-2] * values.shape[-1]
    return tf.reshape(values, tf.concat([tf.shape(values)[:-2], [size]], 0))
