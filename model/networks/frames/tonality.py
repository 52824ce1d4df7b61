"""The key of the music so far: tallies of pitch classes over the past, and the key they fit best.

A frame model sees the degree of every pitch in the key, and chooses pitches by their degree too. So
what it learns in one key holds in all of them, and the music that it composes stays in a key
instead of wandering off.

Pitch classes count from the lowest pitch of the vocabulary, as in pitch_codes.py: only distances
matter here.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from model.networks.frames.pitch_codes import NO_CLASS, NUM_CLASSES

HALF_LIVES = (1.0, 4.0)  # bars after which a note counts half; a third tally does not decay
NUM_TALLIES = len(HALF_LIVES) + 1
KEYED = (1, 2)  # the tallies that a key is estimated from: lately, and the whole piece so far
NUM_MODES = 3  # major, minor, none yet

# How well each degree fits a key: probe-tone ratings of Krumhansl and Kessler 1982 (Psychological
# Review 89), as in Krumhansl 1990, Cognitive Foundations of Musical Pitch, table 2.1.
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


def decays(frames_per_bar: int) -> tf.Tensor:
    """[tallies] float32: the share of a tally that is left a frame later."""
    return tf.constant([*(0.5 ** (1 / (bars * frames_per_bar)) for bars in HALF_LIVES), 1.0])


def count(frame: tf.Tensor, num_pitches: int) -> tf.Tensor:
    """[batch, 12] float32: the voices on each pitch class, of pitch indices [batch, voices].

    Indices as in model/networks/frames/past.py: 0 is a rest, and num_pitches + 1 unknown.
    """
    is_pitch = (frame > 0) & (frame <= num_pitches)
    classes = tf.where(is_pitch, (frame - 1) % NUM_CLASSES, -1)  # -1 is no class: zeros
    return tf.reduce_sum(tf.one_hot(classes, NUM_CLASSES), 1)


def tonal_features(tallies: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Tonics and modes [..., keys] int32, and saliences, of tallies [..., tallies, 12]."""
    return *keys(tallies), salience(tallies)


def salience(tallies: tf.Tensor) -> tf.Tensor:
    """Log of 12 times the share of each pitch class [..., tallies, 12]: 0 if all are equal."""
    prior = 0.5  # frames for each class, so that a class that never sounded has a share too
    total = tf.reduce_sum(tallies, -1, keepdims=True) + NUM_CLASSES * prior
    return tf.math.log((tallies + prior) / total * NUM_CLASSES)


def keys(tallies: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Tonics (12 before the first note) and modes [..., keys] int32 that fit the tallies best.

    The key whose profile correlates most with the tally (Krumhansl and Schmuckler).
    """
    tallies = tf.gather(tallies, KEYED, axis=-2)
    fit = tf.tensordot(tallies, tf.constant(_profiles()), [[-1], [1]])  # [..., keys, 24]
    best = tf.argmax(fit, -1, output_type=tf.int32)
    is_known = tf.reduce_sum(tallies, -1) > 0
    tonic = tf.where(is_known, best % NUM_CLASSES, NO_CLASS)
    return tonic, tf.where(is_known, best // NUM_CLASSES, NUM_MODES - 1)


def _profiles() -> np.ndarray:
    """[24, 12] float32: the profiles of the major keys, then of the minor ones; mean 0, norm 1."""
    rows = [np.roll(profile, tonic) for profile in (MAJOR, MINOR) for tonic in range(NUM_CLASSES)]
    centred = np.array(rows) - np.mean(rows, axis=1, keepdims=True)
    return (centred / np.linalg.norm(centred, axis=1, keepdims=True)).astype(np.float32)
