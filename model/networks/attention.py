"""Causal attention over a bounded past: the same for a whole window and for one id at a time.

Each position sees itself and the `window` positions before it, as sliding-window attention does
(Beltagy, Peters and Cohan 2020, arXiv 2004.05150). What a composing model carries is the keys and
values of the last `window` positions, so its memory and its time for an id do not grow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from model.networks.masks import NEVER


class Past(NamedTuple):
    """Keys and values of the last positions, the newest last."""

    keys: tf.Tensor  # [batch, window, heads, size]
    values: tf.Tensor  # [batch, window, heads, size]


def empty_past(batch_size: int, window: int, heads: int, size: int, dtype: tf.DType | str) -> Past:
    """The past before the first position: all slots are empty."""
    zeros = tf.zeros([batch_size, window, heads, size], dtype)
    return Past(zeros, zeros)


def attend(
    queries: tf.Tensor,
    keys: tf.Tensor,
    values: tf.Tensor,
    window: int,
    past: Past | None,
    count: tf.Tensor,
) -> tuple[tf.Tensor, Any]:
    """Scaled dot-product attention [batch, time, heads, size], and the past after these positions.

    queries, keys and values are [batch, time, heads, size]; `count` [] int32 is how many positions
    came before them, of which `past` holds the last; without one none came, and None comes after.
    """
    after = None
    if past is not None:
        keys, values = (tf.concat(pair, 1) for pair in zip(past, (keys, values), strict=True))
        shape = past.keys.shape
        after = Past(*(tf.ensure_shape(x[:, -window:], shape) for x in (keys, values)))
    # Queries in blocks, each with the keys that it can see: a long piece needs no square of itself.
    batch, time, heads = tf.unstack(tf.shape(queries)[:3])
    total = tf.shape(keys)[1]
    block = tf.minimum(time, window)
    num_blocks = -(-time // block)
    padding = num_blocks * block - time
    queries = tf.pad(queries, [[0, 0], [0, padding], [0, 0], [0, 0]])
    queries = tf.reshape(queries, [batch, num_blocks, block, heads, queries.shape[-1]])
    own = total - time + tf.range(num_blocks * block)  # the place of each query among the keys
    own = tf.reshape(own, [num_blocks, block])
    length = tf.minimum(window + block, total)
    first = tf.clip_by_value(own[:, 0] - window, 0, total - length)
    seen = first[:, None] + tf.range(length)
    keys, values = tf.gather(keys, seen, axis=1), tf.gather(values, seen, axis=1)

    distance = own[:, :, None] - seen[:, None, :]
    oldest = tf.maximum(total - time - count, 0)  # the slots before it are empty
    allowed = (distance >= 0) & (distance <= window) & (seen >= oldest)[:, None, :]
    scores = tf.cast(tf.einsum("bnqhs,bnkhs->bnhqk", queries, keys), tf.float32)
    scores *= queries.shape[-1] ** -0.5
    weights = tf.nn.softmax(tf.where(allowed[:, None], scores, NEVER))
    found = tf.einsum("bnhqk,bnkhs->bnqhs", tf.cast(weights, values.dtype), values)
    found = tf.reshape(found, [batch, num_blocks * block, heads, values.shape[-1]])
    return found[:, :time], after


def rotate(x: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864) of x [batch, time, heads, size].

    The first position has the number `count`. Products of rotated queries and keys depend on the
    distance of their positions alone. `size` must be even.
    """
    half = x.shape[-1] // 2
    # float64: the angle of the hundred-thousandth position must be as exact as that of the first.
    position = tf.cast(count + tf.range(tf.shape(x)[1]), tf.float64)
    rates = tf.constant(10_000.0, tf.float64) ** (-tf.range(half, dtype=tf.float64) / half)
    angle = (position[:, None] * rates)[:, None, :]
    cosine, sine = tf.cast(tf.cos(angle), x.dtype), tf.cast(tf.sin(angle), x.dtype)
    first, second = x[..., :half], x[..., half:]
    return tf.concat([first * cosine - second * sine, first * sine + second * cosine], -1)
