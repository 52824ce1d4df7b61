"""Masks: the logit of an impossible id, and dropout that is the same on any number of workers."""

from __future__ import annotations

import tensorflow as tf

NEVER = -1e9  # the logit of an impossible id: finite, because 0 times infinity is not 0


def dropout(
    x: tf.Tensor, rate: float, site: int, seeds: tf.Tensor | None, *, whole_steps: bool = False
) -> tf.Tensor:
    """The activations [batch, time, features] with a share `rate` set to 0, the rest scaled up.

    `seeds` [num_slices, 2] int32, None for no dropout: the batch is cut into that many equal
    slices. The mask of a slice depends on its seed and the `site` in the network alone, not on the
    length of the batch: another worker's batch may be cut to another longest piece.
    `whole_steps` drops all features of a time step together.
    """
    if seeds is None or not rate:
        return x
    slices = []
    for rows, seed in zip(tf.split(x, seeds.shape[0]), tf.unstack(seeds), strict=True):
        num_rows, time, num_features = tf.unstack(tf.shape(rows))
        # Time first: the generator fills in order, so a longer batch only draws more at the end.
        draws = tf.random.stateless_uniform(
            [time, num_rows, 1 if whole_steps else num_features],
            tf.random.fold_in(seed, site),
            alg="philox",
        )
        kept = tf.transpose(draws, [1, 0, 2]) >= rate
        slices.append(tf.cast(kept, rows.dtype) * rows / (1 - rate))
    return tf.concat(slices, 0)
