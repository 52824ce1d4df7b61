"""One voice of a frame: logits of its pitches, from the past and the voices above it.

The logit of a pitch is a sum. One part belongs to the pitch itself; the others to its distance from
the voice's last pitch, its interval with every voice above, its degree in the key, and to parallel
motion with another voice. Those hold in any transposition.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from model.networks.frames import tonality
from model.networks.frames.past import LONGEST_AGE, NUM_MATCHES, PastFeatures
from model.networks.frames.pitch_codes import NO_CLASS, NUM_CLASSES, PitchCodes, above, from_roots


class VoiceHead(keras.layers.Layer):
    """The head of one voice; 0 is the highest."""

    def __init__(self, voice: int, codes: PitchCodes, units: int, precision: str) -> None:
        super().__init__(name=f"voice_{voice}", dtype=precision)
        self.voice = voice
        self.codes = codes
        self.sizes = [
            codes.num_indices,  # the pitch itself
            codes.num_moves,  # the move from the voice's last pitch
            codes.num_moves,  # the interval to the voice next above
            voice * NUM_CLASSES,  # the interval to each voice above, without octaves
            voice * NUM_CLASSES,  # keeping that interval while the other voice moves
            len(tonality.KEYED) * NUM_CLASSES,  # the degree in each key
            tonality.NUM_TALLIES,  # how often the pitch class has sounded
        ]
        dense = keras.layers.Dense
        self.seen = dense(units, use_bias=False, name=f"seen_{voice}", dtype=precision)
        self.choices = dense(sum(self.sizes), name=f"choices_{voice}", dtype=precision)

    def hidden(
        self, context: tf.Tensor, known: PastFeatures, step: tf.Tensor, others: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        """Activations [..., units] from `context`, a projection [..., units] of the LSTM's output.

        `step` [..., n]: features of the STEP; `others`: the pitch indices [...] of each voice above
        in this frame.
        """
        features = tf.concat(self._input_features(known, step, others), -1)
        return tf.nn.relu(context + self.seen(features))

    def logits(
        self,
        hidden: tf.Tensor,
        known: PastFeatures,
        others: Sequence[tf.Tensor],
        guidance: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Logits [..., 1 + pitches] float32 of a rest and the pitches.

        `guidance` multiplies what belongs to the pitch itself, to parallel motion and to the keys.
        """
        codes = self.codes
        numbers = tf.cast(self.choices(hidden), tf.float32)
        pitches, moves, intervals, harmony, parallels, in_keys, weights = tf.split(
            numbers, self.sizes, axis=-1
        )
        if guidance is not None:
            pitches, parallels, in_keys = (guidance * p for p in (pitches, parallels, in_keys))
        of_classes = tf.reduce_sum(weights[..., None] * known.salience, -2)
        of_classes += from_roots(_by_class(in_keys, len(tonality.KEYED)), known.tonic)
        logits = pitches + codes.logits_of_moves(moves, self._origin(known))
        if others:
            roots = codes.class_of(tf.stack(others, -1))
            of_classes += from_roots(_by_class(harmony, self.voice), roots)
            interval, keeps = self._parallel(known, others)
            of_intervals = _by_class(parallels, self.voice) * tf.one_hot(interval, NUM_CLASSES)
            of_voices = tf.reduce_sum(of_intervals, -1, keepdims=True)
            of_classes += tf.reduce_sum(of_voices * tf.one_hot(keeps, NUM_CLASSES), -2)
            logits += codes.logits_of_moves(intervals, others[-1])
        return logits + codes.logits_of_classes(of_classes)

    def _origin(self, known: PastFeatures) -> tf.Tensor:
        """The voice's last pitch; during a rest the pitch before it, near which a voice returns."""
        last = known.frame[..., self.voice]
        return tf.where(last == 0, known.before[..., self.voice], last)

    def _parallel(
        self, known: PastFeatures, others: Sequence[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Both [..., voices above]: the interval to a voice, and the class that would keep it."""
        codes = self.codes
        own = codes.class_of(known.frame[..., self.voice, None])
        now = tf.stack(others, -1)
        before = known.frame[..., : self.voice]
        interval = above(own, codes.class_of(before))
        moved = (now != before) & codes.is_pitch(now) & (interval < NO_CLASS)
        kept = (codes.class_of(now) + interval) % NUM_CLASSES
        return interval, tf.where(moved, kept, -1)  # -1: no class, as tf.one_hot reads it

    def _input_features(
        self, known: PastFeatures, step: tf.Tensor, others: Sequence[tf.Tensor]
    ) -> list[tf.Tensor]:
        """The head's own input, as parts [..., n] of ones and zeros."""
        codes, voice = self.codes, self.voice
        last, origin = known.frame[..., voice], self._origin(known)
        features = [
            codes.pitches(tf.stack([last, known.before[..., voice]], -1)),
            codes.one_hot(known.age[..., voice], LONGEST_AGE + 1),
            step,
            codes.one_hots(known.match, NUM_MATCHES),
            codes.moves(codes.interval(known.copied[..., voice], origin[..., None])),
            degrees(tf.stack([origin, *others], -1), known.tonic, codes),
            codes.one_hots(known.mode, tonality.NUM_MODES),
        ]
        if others:
            now, before = tf.stack(others, -1), known.frame[..., :voice]
            classes = codes.class_of(before)
            features += [
                codes.pitches(now),
                codes.moves(codes.interval(now, origin[..., None])),
                codes.moves(codes.interval(now, before)),
                codes.one_hots(above(codes.class_of(last[..., None]), classes), NUM_CLASSES + 1),
                # Does the voice above follow the copies that the search proposes?
                flat(tf.cast(known.copied[..., :voice] == now[..., None, :], codes.dtype)),
            ]
        return features


def degrees(pitches: tf.Tensor, tonic: tf.Tensor, codes: PitchCodes) -> tf.Tensor:
    """One-hot degrees [..., keys * n * 13] in each key of pitches [..., n]; 12 is none."""
    of_each = above(codes.class_of(pitches)[..., None, :], tonic[..., None])
    return flat(codes.one_hots(of_each, NUM_CLASSES + 1))


def _by_class(logits: tf.Tensor, count: int) -> tf.Tensor:
    """Logits [..., count, 12] of logits [..., count * 12]."""
    return tf.reshape(logits, tf.concat([tf.shape(logits)[:-1], [count, NUM_CLASSES]], 0))


def flat(values: tf.Tensor) -> tf.Tensor:
    """[..., n * m] of [..., n, m]."""
    size = values.shape[-2] * values.shape[-1]
    return tf.reshape(values, tf.concat([tf.shape(values)[:-2], [size]], 0))
