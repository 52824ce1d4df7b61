"""Dropout whose masks do not depend on which worker holds which part of the batch."""

from __future__ import annotations

import tensorflow as tf


def dropout(
    x: tf.Tensor, rate: float, site: int, seeds: tf.Tensor | None, *, whole_steps: bool = False
) -> tf.Tensor:
    """The activations [batch, time, features] with a share `rate` zero, the rest scaled up.

    `seeds` [num_slices, 2] int32, None for no dropout: the batch is cut into that many equal
    slices, and the mask of each depends on its seed and the `site` in the network alone.
    `whole_steps` drops all features of a time step together.
    """
    if seeds is None or not rate:
        return x
    slices = []
    for rows, seed in zip(tf.split(x, seeds.shape[0]), tf.unstack(seeds), strict=True):
        shape = tf.concat([tf.shape(rows)[:2], [1]], 0) if whole_steps else None
        seed = tf.random.fold_in(seed, site)
        slices.append(
            tf.nn.experimental.stateless_dropout(
                rows, rate, seed=seed, rng_alg="philox", noise_shape=shape
            )
        )
    return tf.concat(slices, 0)
