"""The features of the past that a frame model sees, updated frame by frame: never the future.

One frame goes in, the features for the next frame come out. Training runs this over a window inside
the graph; decoding takes the same step once a frame. Most values are small integers for one-hot
codes.

Frames are of pitch indices: 0 a rest, 1 .. num_pitches the pitches, num_pitches + 1 unknown (before
the piece, or before the window).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from model.networks.frames import tonality
from model.networks.frames.pitch_codes import NUM_CLASSES

LONGEST_AGE = 17  # all longer ages count as this one
NUM_MATCHES = 8  # buckets of the length of a match: 0, 1, 2-3, 4-7, 8-15, 16-31, 32-63, 64 and more
VIEWS = 2  # the past is searched twice: for all voices as now, for the highest voice as now


class Memory(NamedTuple):
    """The past of a batch of pieces."""

    frame: tf.Tensor  # [batch, voices] int32, the latest
    age: tf.Tensor  # [batch, voices] int32: frames it has sounded, 0 when unknown
    before: tf.Tensor  # [batch, voices] int32: the pitch that the voice had before this one
    history: tf.Tensor  # [batch, room, voices] int32: latest first
    matches: tf.Tensor  # [batch, views, room] int32: equal frames up to now and up to lag 1, 2, ...
    tallies: tf.Tensor  # [batch, tallies, 12] float32: frames of each pitch class, see tonality.py


class PastFeatures(NamedTuple):
    """The features of the past that the next frame may depend on."""

    frame: tf.Tensor  # [batch, voices]
    age: tf.Tensor  # [batch, voices], at most LONGEST_AGE
    before: tf.Tensor  # [batch, voices]
    copied: tf.Tensor  # [batch, views, voices]: the frame after the longest match
    match: tf.Tensor  # [batch, views]: bucket of the length of that match
    tonic: tf.Tensor  # [batch, keys]: see model/networks/frames/tonality.py
    mode: tf.Tensor  # [batch, keys]
    salience: tf.Tensor  # [batch, tallies, 12] float32


def empty_memory(batch_size: int | tf.Tensor, room: int, num_voices: int, unknown: int) -> Memory:
    """The memory at the start of a piece, for searches up to `room` frames back."""
    frame = tf.fill([batch_size, num_voices], unknown)
    return Memory(
        frame,
        tf.zeros_like(frame),
        frame,
        tf.fill([batch_size, room, num_voices], unknown),
        tf.zeros([batch_size, VIEWS, room], tf.int32),
        tf.zeros([batch_size, tonality.NUM_TALLIES, NUM_CLASSES]),
    )


def remember(memory: Memory, frame: tf.Tensor, unknown: int, frames_per_bar: int) -> Memory:
    """The memory after one more frame [batch, voices]; a frame of `unknown` alone empties it."""
    is_known = frame != unknown
    is_piece = tf.reduce_any(is_known, 1)
    held = (frame == memory.frame) & is_known
    age = tf.where(held, memory.age + 1, 1)
    before = tf.where(held, memory.before, memory.frame)

    # A match at a lag grows if the frame equals that of `lag` frames ago, else it ends.
    equal = memory.history == frame[:, None]  # [batch, room, voices]
    equal = tf.stack([tf.reduce_all(equal, 2), equal[:, :, 0]], 1)  # [batch, views, room]
    matches = tf.where(equal, memory.matches + 1, 0)
    history = tf.concat([frame[:, None], memory.history[:, :-1]], 1)
    played = tonality.count(frame, unknown - 1)[:, None]
    tallies = memory.tallies * tonality.decays(frames_per_bar)[:, None] + played
    return Memory(
        frame,
        tf.where(is_piece[:, None], age, 0),
        tf.where(is_piece[:, None], before, unknown),
        tf.where(is_piece[:, None, None], history, unknown),
        tf.where(is_piece[:, None, None], matches, 0),
        tf.where(is_piece[:, None, None], tallies, 0.0),
    )


def past_features(memory: Memory, unknown: int) -> PastFeatures:
    """The features of the past before the next frame."""
    return PastFeatures._make(
        [*_looked_up(memory, unknown), *tonality.tonal_features(memory.tallies)]
    )


def _looked_up(memory: Memory, unknown: int) -> list[tf.Tensor]:
    """The first five features of `PastFeatures`, all of them int32.

    Of matches of equal length the latest counts. The frame after a match at lag n is that of n - 1
    frames ago.
    """
    length = tf.reduce_max(memory.matches, 2)
    lag = tf.argmax(memory.matches, 2, output_type=tf.int32)  # the first of the largest
    copied = tf.gather(memory.history, lag, batch_dims=1)
    has_match = length > 0
    copied = tf.where(has_match[:, :, None], copied, unknown)
    bounds = tf.constant([2**power for power in range(NUM_MATCHES - 1)])
    match = tf.reduce_sum(tf.cast(length[:, :, None] >= bounds, tf.int32), 2)
    age = tf.minimum(memory.age, LONGEST_AGE)
    return [memory.frame, age, memory.before, copied, match]


def features_of_frames(frames: tf.Tensor, unknown: int, frames_per_bar: int) -> PastFeatures:
    """Features [batch, time, ...] of each frame [batch, time, voices], from those before it."""
    batch_size, length = tf.shape(frames)[0], tf.shape(frames)[1]
    num_voices = frames.shape[2]
    memory = empty_memory(batch_size, length, num_voices, unknown)
    # All in one array: one write for each feature would cost more than the data.
    shapes = [[num_voices]] * 3 + [[VIEWS, num_voices], [VIEWS]]
    sizes = [math.prod(shape) for shape in shapes]
    looked_up = tf.TensorArray(tf.int32, length, element_shape=[None, sum(sizes)])
    tallies = tf.TensorArray(tf.float32, length, element_shape=[None, *memory.tallies.shape[1:]])

    def step(
        time: tf.Tensor, memory: Memory, looked_up: tf.TensorArray, tallies: tf.TensorArray
    ) -> tuple[tf.Tensor, Memory, tf.TensorArray, tf.TensorArray]:
        values = _looked_up(memory, unknown)
        flat = [tf.reshape(x, [batch_size, n]) for x, n in zip(values, sizes, strict=True)]
        looked_up = looked_up.write(time, tf.concat(flat, 1))
        tallies = tallies.write(time, memory.tallies)
        memory = remember(memory, frames[:, time], unknown, frames_per_bar)
        return time + 1, memory, looked_up, tallies

    loop = tf.while_loop(lambda time, *_: time < length, step, (0, memory, looked_up, tallies))
    # From [time, batch, ...] to [batch, time, ...].
    parts = tf.split(tf.transpose(loop[2].stack(), [1, 0, 2]), sizes, axis=2)
    integers = [
        tf.reshape(x, [batch_size, length, *shape]) for x, shape in zip(parts, shapes, strict=True)
    ]
    tonal = tonality.tonal_features(tf.transpose(loop[3].stack(), [1, 0, 2, 3]))
    return PastFeatures._make([*integers, *tonal])
