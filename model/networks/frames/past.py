"""What a frame model is told of the past: kept up to date frame by frame, so never of the future.

One frame goes in, the features for the next one come out. Training runs it over a window inside the
graph, composing takes the same step once a frame. All values are small integers, ready for one-hot.

Frames are of pitch indices: 0 a rest, 1 .. num_pitches the pitches, num_pitches + 1 unknown (before
the piece, or before the window).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from model.networks.frames import tonality
from model.networks.frames.pitch_codes import NUM_CLASSES

LONGEST_AGE = 17  # ages from this one on look the same
NUM_MATCHES = 8  # buckets of the length of a match: 0, 1, 2-3, 4-7, 8-15, 16-31, 32-63, 64 and more
VIEWS = 2  # the past is searched for where all voices were as now, and where the first one was


class Memory(NamedTuple):
    """The past of a batch of pieces."""

    frame: tf.Tensor  # [batch, voices] int32, the latest
    age: tf.Tensor  # [batch, voices] int32: frames it has sounded, 0 when unknown
    before: tf.Tensor  # [batch, voices] int32: the other pitch that the voice had last
    history: tf.Tensor  # [batch, room, voices] int32: latest first
    matches: tf.Tensor  # [batch, views, room] int32: frames alike up to now and up to lag 1, 2, ...
    tallies: tf.Tensor  # [batch, tallies, 12] float32: frames of each pitch class, see tonality.py


class Features(NamedTuple):
    """What the next frame may depend on."""

    frame: tf.Tensor  # [batch, voices]
    age: tf.Tensor  # [batch, voices], at most LONGEST_AGE
    before: tf.Tensor  # [batch, voices]
    copied: tf.Tensor  # [batch, views, voices]: what followed where the past was most like now
    match: tf.Tensor  # [batch, views]: bucket of how long it was alike
    tonic: tf.Tensor  # [batch, keys]: see model/networks/frames/tonality.py
    mode: tf.Tensor  # [batch, keys]
    salience: tf.Tensor  # [batch, tallies, 12] float32


def empty_memory(batch_size: int | tf.Tensor, room: int, num_voices: int, unknown: int) -> Memory:
    """The memory at the start of a piece; it will look back `room` frames."""
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
    """The memory after one more frame [batch, voices]; a frame of `unknown` empties it."""
    is_known = frame != unknown
    goes_on = tf.reduce_any(is_known, 1)
    held = (frame == memory.frame) & is_known
    age = tf.where(held, memory.age + 1, 1)
    before = tf.where(held, memory.before, memory.frame)

    # A match at a lag grows where the frame is that of lag frames ago, else it ends.
    alike = memory.history == frame[:, None]
    alike = tf.stack([tf.reduce_all(alike, 2), alike[:, :, 0]], 1)
    matches = tf.where(alike, memory.matches + 1, 0)
    history = tf.concat([frame[:, None], memory.history[:, :-1]], 1)
    sung = tonality.count(frame, unknown - 1)[:, None]
    tallies = memory.tallies * tonality.decays(frames_per_bar)[:, None] + sung
    return Memory(
        frame,
        tf.where(goes_on[:, None], age, 0),
        tf.where(goes_on[:, None], before, unknown),
        tf.where(goes_on[:, None, None], history, unknown),
        tf.where(goes_on[:, None, None], matches, 0),
        tf.where(goes_on[:, None, None], tallies, 0.0),
    )


def features(memory: Memory, unknown: int) -> Features:
    """What is known of the past before the next frame."""
    return Features._make([*_looked_up(memory, unknown), *tonality.heard(memory.tallies)])


def _looked_up(memory: Memory, unknown: int) -> list[tf.Tensor]:
    """The features that are whole numbers and need no more than the memory, in their order.

    Of matches of equal length the latest counts. After one at lag n came the frame of n - 1 ago.
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


def features_of_frames(frames: tf.Tensor, unknown: int, frames_per_bar: int) -> Features:
    """Features of every frame [batch, time, voices], each [batch, time, ...], without a look ahead.

    Those of a frame come from the frames before it.
    """
    batch_size, length = tf.shape(frames)[0], tf.shape(frames)[1]
    num_voices = frames.shape[2]
    memory = empty_memory(batch_size, length, num_voices, unknown)
    # In one array: a write for each kind would cost more than what is written.
    shapes = [[num_voices]] * 3 + [[VIEWS, num_voices], [VIEWS]]
    sizes = [math.prod(shape) for shape in shapes]
    told = tf.TensorArray(tf.int32, length, element_shape=[None, sum(sizes)])
    tallies = tf.TensorArray(tf.float32, length, element_shape=[None, *memory.tallies.shape[1:]])

    def step(
        time: tf.Tensor, memory: Memory, told: tf.TensorArray, tallies: tf.TensorArray
    ) -> tuple[tf.Tensor, Memory, tf.TensorArray, tf.TensorArray]:
        values = _looked_up(memory, unknown)
        flat = [tf.reshape(x, [batch_size, n]) for x, n in zip(values, sizes, strict=True)]
        told = told.write(time, tf.concat(flat, 1))
        tallies = tallies.write(time, memory.tallies)
        memory = remember(memory, frames[:, time], unknown, frames_per_bar)
        return time + 1, memory, told, tallies

    loop = tf.while_loop(lambda time, *_: time < length, step, (0, memory, told, tallies))
    parts = tf.split(tf.transpose(loop[2].stack(), [1, 0, 2]), sizes, axis=2)
    looked_up = [
        tf.reshape(x, [batch_size, length, *shape]) for x, shape in zip(parts, shapes, strict=True)
    ]
    heard = tonality.heard(tf.transpose(loop[3].stack(), [1, 0, 2, 3]))
    return Features._make([*looked_up, *heard])
