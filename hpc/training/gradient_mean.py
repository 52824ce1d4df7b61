"""The mean of the gradients over all workers, in the form in which --compression sends them.

PowerSGD: Vogels, Karimireddy and Jaggi 2019, "PowerSGD: Practical Low-Rank Gradient Compression for
Distributed Optimization", arXiv:1905.13727, algorithms 1 and 2, with the warm start of section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from hpc.config.settings import WorkerSettings
from hpc.distributed.messages import groups_of, is_thin
from hpc.distributed.strategies import Strategy

Variables = dict[str, keras.Variable]


class GradientMean:
    """Every gradient is sent whole, in float32 or float16.

    They leave in groups, the last layer's first: a group is on the network while the backward pass
    makes the next ones. The groups never change, and so neither does the order of the sums.
    """

    def __init__(
        self,
        strategy: Strategy,
        weights: Sequence[keras.Variable],
        wire: tf.DType = tf.float32,
    ) -> None:
        self._strategy = strategy
        self._wire = wire
        self._groups = groups_of([tf.TensorSpec(weight.shape, wire) for weight in weights])

    def __call__(
        self, gradients: list[tf.Tensor], scalars: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The means over all workers, in float32: of gradients, and of `scalars` [num_scalars].

        The first collective carries the scalars, so that all workers get them in the same step.
        """
        results: dict[int, tf.Tensor] = {}
        for group in self._groups:
            sent = [tf.cast(gradients[i], self._wire) for i in group]
            with_scalars = [] if results else [scalars]
            means = self._strategy.mean([*sent, *with_scalars])
            if with_scalars:
                scalars = means.pop()
            results |= zip(group, (tf.cast(mean, tf.float32) for mean in means), strict=True)
        return [results[i] for i in range(len(gradients))], scalars

    def shared_variables(self) -> Variables:
        """State that is equal on all workers, by path."""
        return {}

    def own_variables(self) -> Variables:
        """State of this worker alone, by path."""
        return {}


class PowerSGD(GradientMean):
    """A gradient travels as two thin matrices, and what they lose is added to the next one.

    For a gradient M [rows, columns], to which its worker has added what earlier steps lost:

        P = orthonormal(mean(M Q)),    Q = mean(M' P),    result P Q',    loss M - P Q'

    where Q is that of the step before. A gradient that is not `is_thin` is sent whole. The result
    depends on the mean of M alone, and so not on the number of workers; with one worker it is
    approximated in the same way.
    """

    def __init__(
        self, strategy: Strategy, weights: Sequence[keras.Variable], rank: int, seed: int
    ) -> None:
        super().__init__(strategy, weights)
        self._thin = [i for i, weight in enumerate(weights) if is_thin(weight.shape, rank)]
        self._factors: Variables = {}  # Q of each thin gradient
        self._losses: Variables = {}  # what the steps so far have lost of it, on this worker
        random = np.random.default_rng(seed)
        for i in self._thin:
            path, (rows, columns) = weights[i].path, weights[i].shape
            start = random.standard_normal([columns, rank]).astype(np.float32)
            self._factors[f"powersgd/{path}"] = keras.Variable(start, trainable=False)
            nothing = np.zeros([rows, columns], np.float32)
            self._losses[path] = keras.Variable(nothing, trainable=False)

    def __call__(
        self, gradients: list[tf.Tensor], scalars: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """As GradientMean, by two collectives: of P and of all that is sent whole, and of Q."""
        factors, losses = list(self._factors.values()), list(self._losses.values())
        matrices = [gradients[i] + loss.value for i, loss in zip(self._thin, losses, strict=True)]

        # P, and all that is sent whole.
        products = [tf.matmul(m, q.value) for m, q in zip(matrices, factors, strict=True)]
        whole = [i for i in range(len(gradients)) if i not in self._thin]
        *means, scalars = self._strategy.mean([*products, *(gradients[i] for i in whole), scalars])
        columns = [tf.linalg.qr(product)[0] for product in means[: len(products)]]
        results = dict(zip(whole, means[len(products) :], strict=True))

        # Q, and what both lose.
        products = [
            tf.matmul(m, p, transpose_a=True) for m, p in zip(matrices, columns, strict=True)
        ]
        means = self._strategy.mean(products) if products else []
        for i, m, p, mean, q, loss in zip(
            self._thin, matrices, columns, means, factors, losses, strict=True
        ):
            results[i] = tf.matmul(p, mean, transpose_b=True)
            loss.assign(m - results[i])
            q.assign(mean)
        return [results[i] for i in range(len(gradients))], scalars

    def shared_variables(self) -> Variables:
        """Q of every thin gradient."""
        return self._factors

    def own_variables(self) -> Variables:
        """What the steps so far have lost of every thin gradient, on this worker."""
        return self._losses


def gradient_mean(
    config: WorkerSettings, strategy: Strategy, weights: Sequence[keras.Variable], seed: int
) -> GradientMean:
    """The mean that --compression asks for, of the gradients of these weights."""
    if config.powersgd_rank:
        return PowerSGD(strategy, weights, config.powersgd_rank, seed)
    is_wired = strategy.place.size > 1
    wire = tf.float16 if is_wired and config.compression == "fp16" else tf.float32
    return GradientMean(strategy, weights, wire)
