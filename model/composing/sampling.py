"""From logits to the next id: the grammar's mask, temperature, top-k, top-p."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Sampling:
    """How to choose among the tokens that the grammar allows: the first three in their order.

    Raises ValueError for a setting that leaves nothing to choose from.
    """

    temperature: float = 1.0  # above 1 flatter, below 1 sharper; 0 takes the likeliest token
    top_k: int = 0  # keep this many of the likeliest tokens; 0 keeps all
    top_p: float = 1.0  # of these, keep the likeliest that together reach this probability
    guidance: float = 1.0  # before all: as `FrameModel.guidance`

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature is {self.temperature}; it must be 0 or more, e.g. 1.0")
        if self.top_k < 0:
            raise ValueError(f"top-k is {self.top_k}; it must be 1 or more, or 0 to keep all")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top-p is {self.top_p}; it must be above 0 and at most 1")
        if not (math.isfinite(self.guidance) and self.guidance > 0):
            raise ValueError(f"guidance is {self.guidance}; it must be above 0, e.g. 1.7")

    def tensors(self, vocab_size: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Temperature, top-k and top-p as scalar tensors: they may change between calls."""
        greedy = self.temperature == 0
        return (
            tf.constant(1.0 if greedy else self.temperature, tf.float32),
            tf.constant(1 if greedy else self.top_k or vocab_size, tf.int32),
            tf.constant(self.top_p, tf.float32),
        )


def sample(
    logits: tf.Tensor,
    allowed: tf.Tensor,
    uniform: tf.Tensor,
    temperature: tf.Tensor,
    top_k: tf.Tensor,
    top_p: tf.Tensor,
) -> tf.Tensor:
    """The next id of each row [batch] int32, from logits [batch, vocab].

    `allowed` [batch, vocab] bool is the grammar's mask, with at least one token a row; `uniform`
    [batch] in [0, 1) is the random number of each row. The token is found by inverting the
    cumulative distribution over the kept tokens, the likeliest first. That takes one random number
    a token, and the same number gives the same token whatever else is in the batch.
    Top-p is the nucleus sampling of Holtzman et al. 2020 (arXiv 1904.09751).
    """
    vocab_size = logits.shape[-1]
    masked = tf.where(allowed, logits, -math.inf)
    ranked, ids = tf.math.top_k(masked, vocab_size)  # [batch, vocab], likeliest first
    ranked = tf.where(tf.range(vocab_size) < top_k, ranked, -math.inf)
    probability = tf.nn.softmax(ranked / temperature)
    before = tf.cumsum(probability, axis=-1, exclusive=True)
    cumulative = tf.where(before < top_p, before + probability, 0.0)  # 0 after the last token kept
    target = uniform[:, None] * tf.reduce_max(cumulative, axis=-1, keepdims=True)
    # The first token beyond the target; if rounding leaves none, argmax finds the likeliest.
    rank = tf.argmax(cumulative > target, axis=-1, output_type=tf.int32)
    return tf.gather(ids, rank, batch_dims=1)


def uniforms(seed: int, pieces: Sequence[int], first: int, count: int) -> np.ndarray:
    """Numbers in [0, 1) [count, num_pieces] float32 for positions first, first + 1, ...

    Each depends on (seed, piece, position) alone, through the counter-based generator Philox
    (Salmon et al. 2011), so a piece is the same in any batch, and on any device.
    Raises ValueError for a seed below 0 or above 64 bits.
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed is {seed}; it must be between 0 and 2**64 - 1")
    columns = []
    for piece in pieces:
        generator = np.random.Philox(key=np.array([seed, piece], np.uint64), counter=first)
        # One counter gives four numbers; a position has a counter of its own.
        columns.append(generator.random_raw(4 * count)[::4] >> np.uint64(40))
    return np.stack(columns, axis=1).astype(np.float32) * np.float32(2.0**-24)
