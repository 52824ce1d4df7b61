"""Pitch indices as a network reads and writes them: one-hot codes in, logits of pitches out.

Indices as in model/networks/frames/past.py: 0 a rest, 1 .. num_pitches the pitches, num_pitches + 1
unknown. Pitch classes count from the lowest pitch, not from C; 12 stands for none.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

NUM_CLASSES = 12
NO_CLASS = NUM_CLASSES


@dataclass(frozen=True)
class PitchCodes:
    """One-hot codes and logits of the pitches of a voice."""

    num_pitches: int
    dtype: str  # of the one-hot codes

    @property
    def num_indices(self) -> int:
        """Number of indices that a voice can take: the rest and the pitches."""
        return 1 + self.num_pitches

    @property
    def unknown(self) -> int:
        """The index that stands for an unknown pitch."""
        return 1 + self.num_pitches

    @property
    def num_moves(self) -> int:
        """Number of moves from one pitch to another; the index after them stands for no move."""
        return 2 * self.num_pitches + 1

    def is_pitch(self, index: tf.Tensor) -> tf.Tensor:
        """[...] bool: the index is neither a rest nor unknown."""
        return (index > 0) & (index <= self.num_pitches)

    def one_hot(self, values: tf.Tensor, depth: int) -> tf.Tensor:
        """One-hot codes [..., depth] of values [...]."""
        return tf.one_hot(values, depth, dtype=self.dtype)

    def one_hots(self, values: tf.Tensor, depth: int) -> tf.Tensor:
        """One-hot codes [..., n * depth] of values [..., n]."""
        ones = self.one_hot(values, depth)
        shape = tf.concat([tf.shape(values)[:-1], [values.shape[-1] * depth]], 0)
        return tf.reshape(ones, shape)

    def pitches(self, indices: tf.Tensor) -> tf.Tensor:
        """One-hot codes [..., n * (1 + indices)] of pitch indices [..., n], unknown ones too."""
        return self.one_hots(indices, self.unknown + 1)

    def moves(self, moves: tf.Tensor) -> tf.Tensor:
        """One-hot codes [..., n * (moves + 1)] of moves [..., n] that `interval` returned."""
        return self.one_hots(moves, self.num_moves + 1)

    def interval(self, pitch: tf.Tensor, origin: tf.Tensor) -> tf.Tensor:
        """Index [...] of the move from `origin` to `pitch`, pitch indices of equal shapes [...].

        It is `num_moves` if either is no pitch.
        """
        both = self.is_pitch(pitch) & self.is_pitch(origin)
        return tf.where(both, pitch - origin + self.num_pitches, self.num_moves)

    def class_of(self, pitch: tf.Tensor) -> tf.Tensor:
        """The pitch classes [...] of pitch indices [...]; 12 for a rest or an unknown pitch."""
        return tf.where(self.is_pitch(pitch), (pitch - 1) % NUM_CLASSES, NO_CLASS)

    def logits_of_moves(self, moves: tf.Tensor, origin: tf.Tensor) -> tf.Tensor:
        """Logits [..., 1 + pitches] from those of moves [..., moves] from a pitch; 0 for a rest."""
        target = tf.range(1, self.num_pitches + 1)
        index = tf.clip_by_value(
            target - origin[..., None] + self.num_pitches, 0, self.num_moves - 1
        )
        values = tf.gather(moves, index, batch_dims=index.shape.rank - 1)
        values = tf.where(self.is_pitch(origin)[..., None], values, 0.0)
        return tf.concat([tf.zeros_like(values[..., :1]), values], -1)

    def logits_of_classes(self, classes: tf.Tensor) -> tf.Tensor:
        """Logits [..., 1 + pitches] from those of pitch classes [..., 12]; 0 for a rest."""
        octaves = -(-self.num_pitches // NUM_CLASSES)
        of_pitches = tf.concat([classes] * octaves, -1)[..., : self.num_pitches]
        return tf.concat([tf.zeros_like(of_pitches[..., :1]), of_pitches], -1)


def above(classes: tf.Tensor, roots: tf.Tensor) -> tf.Tensor:
    """Semitones [...] from roots [...] up to pitch classes [...], 0..11; 12 if either is none."""
    both = (classes < NO_CLASS) & (roots < NO_CLASS)
    return tf.where(both, (classes - roots) % NUM_CLASSES, NO_CLASS)


def from_roots(logits: tf.Tensor, roots: tf.Tensor) -> tf.Tensor:
    """Logits of pitch classes [..., 12], from those [..., n, 12] of semitones above n roots.

    Roots [..., n] of class 12 add nothing.
    """
    index = (tf.range(NUM_CLASSES) - roots[..., None]) % NUM_CLASSES
    values = tf.gather(logits, index, batch_dims=index.shape.rank - 1)
    return tf.reduce_sum(tf.where(roots[..., None] < NO_CLASS, values, 0.0), -2)
