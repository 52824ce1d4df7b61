"""Causal attention over a bounded past: the same for a whole window and for one id at a time.

Each position attends to itself and to the `window` positions before it: sliding-window attention
(Beltagy, Peters and Cohan 2020, arXiv 2004.05150). While decoding, the cache holds the keys and
values of the last `window` positions, so neither its memory nor the time for an id grows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from model.networks.masks import NEVER


class KVCache(NamedTuple):
    """Keys and values of the last positions, the newest last."""

    keys: tf.Tensor  # [batch, window, heads, size]
    values: tf.Tensor  # [batch, window, heads, size]


def empty_cache(
    batch_size: int, window: int, heads: int, size: int, dtype: tf.DType | str
) -> KVCache:
    """The cache before the first position: all its slots are empty."""
    zeros = tf.zeros([batch_size, window, heads, size], dtype)
    return KVCache(zeros, zeros)


def attend(
    queries: tf.Tensor,
    keys: tf.Tensor,
    values: tf.Tensor,
    window: int,
    cache: KVCache | None,
    count: tf.Tensor,
) -> tuple[tf.Tensor, Any]:
    """Scaled dot-product attention [batch, time, heads, size], and the cache after these positions.

    queries, keys and values are [batch, time, heads, size]. `count` [] int32 is the number of
    positions before these; `cache` holds the last of them. Without a cache there were none before,
    and the cache returned is None.
    """
    new_cache = None
    if cache is not None:  # keys and values [batch, window + time, heads, size]
        keys, values = (tf.concat(pair, 1) for pair in zip(cache, (keys, values), strict=True))
        shape = cache.keys.shape
        new_cache = KVCache(*(tf.ensure_shape(x[:, -window:], shape) for x in (keys, values)))

    # Cut the queries into blocks [batch, num_blocks, block, heads, size] and give each block only
    # the keys in its reach: a long piece needs no matrix of time x time scores.
    batch, time, heads = tf.unstack(tf.shape(queries)[:3])
    total = tf.shape(keys)[1]
    block = tf.minimum(time, window)
    num_blocks = -(-time // block)
    padding = num_blocks * block - time
    queries = tf.pad(queries, [[0, 0], [0, padding], [0, 0], [0, 0]])
    queries = tf.reshape(queries, [batch, num_blocks, block, heads, queries.shape[-1]])

    # Positions among the keys: of each query [num_blocks, block], of the keys in a block's reach
    # [num_blocks, length].
    query_position = total - time + tf.range(num_blocks * block)
    query_position = tf.reshape(query_position, [num_blocks, block])
    length = tf.minimum(window + block, total)
    first = tf.clip_by_value(query_position[:, 0] - window, 0, total - length)
    key_position = first[:, None] + tf.range(length)
    keys = tf.gather(keys, key_position, axis=1)  # [batch, num_blocks, length, heads, size]
    values = tf.gather(values, key_position, axis=1)

    # Mask [num_blocks, block, length]: not the future, not beyond the window, no empty slot.
    distance = query_position[:, :, None] - key_position[:, None, :]
    oldest = tf.maximum(total - time - count, 0)  # the cache's slots before it are empty
    allowed = (distance >= 0) & (distance <= window) & (key_position >= oldest)[:, None, :]
    scores = tf.cast(tf.einsum("bnqhs,bnkhs->bnhqk", queries, keys), tf.float32)
    scores *= queries.shape[-1] ** -0.5
    weights = tf.nn.softmax(tf.where(allowed[:, None], scores, NEVER))
    attended = tf.einsum("bnhqk,bnkhs->bnqhs", tf.cast(weights, values.dtype), values)
    attended = tf.reshape(attended, [batch, num_blocks * block, heads, values.shape[-1]])
    return attended[:, :time], new_cache


def rotate(x: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864) of x [batch, time, heads, size].

    The first position has the number `count`. The product of a rotated query and a rotated key
    depends on the distance of their positions alone. `size` must be even.
    """
    half = x.shape[-1] // 2
    # float64: the angle of the hundred-thousandth position must be as exact as that of the first.
    position = tf.cast(count + tf.range(tf.shape(x)[1]), tf.float64)
    rates = tf.constant(10_000.0, tf.float64) ** (-tf.range(half, dtype=tf.float64) / half)
    angle = (position[:, None] * rates)[:, None, :]  # [time, 1, size / 2]
    cosine, sine = tf.cast(tf.cos(angle), x.dtype), tf.cast(tf.sin(angle), x.dtype)
    first, second = x[..., :half], x[..., half:]
    return tf.concat([first * cosine - second * sine, first * sine + second * cosine], -1)
