"""PowerSGD: a gradient travels as two thin matrices, and what they lose is added to the next one.

Vogels, Karimireddy and Jaggi 2019, "PowerSGD: Practical Low-Rank Gradient Compression for
Distributed Optimization", arXiv:1905.13727, algorithms 1 and 2, with the warm start of section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from hpc.distributed.strategies import Strategy
from hpc.training.gradient_mean import GradientMean, Message, Variables


class PowerSGD(GradientMean):
    """The mean of the gradients, approximated by matrices of a low rank.

    For a gradient M [rows, columns], to which its worker has added what earlier steps lost:

        P = orthonormal(mean(M Q)),    Q = mean(M' P),    result P Q',    loss M - P Q'

    where Q is that of the step before. A gradient of which this would not save half is sent whole,
    biases among them. The result depends on the mean of M alone, so that it does not depend on
    the number of workers; with one worker it is approximated in the same way.
    """

    def __init__(
        self, strategy: Strategy, weights: Sequence[keras.Variable], rank: int, seed: int
    ) -> None:
        super().__init__(strategy, weights)
        self._rank = rank
        self._thin = [i for i, shape in enumerate(self._shapes) if _saves_half(shape, rank)]
        self._factors: Variables = {}  # Q of each thin gradient
        self._losses: Variables = {}  # what the steps so far have lost of it, on this worker
        random = np.random.default_rng(seed)
        for i in self._thin:
            path, (rows, columns) = weights[i].path, self._shapes[i]
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

    def messages(self) -> list[Message]:
        """What a worker sends in a step: P and all that is sent whole, then Q."""
        first = [
            [shape[0], self._rank] if i in self._thin else shape
            for i, shape in enumerate(self._shapes)
        ]
        second = [[self._shapes[i][1], self._rank] for i in self._thin]
        return [
            [tf.TensorSpec(shape, tf.float32) for shape in shapes]
            for shapes in (first, second)
            if shapes
        ]

    def shared_variables(self) -> Variables:
        """Q of every thin gradient."""
        return self._factors

    def own_variables(self) -> Variables:
        """What the steps so far have lost of every thin gradient, on this worker."""
        return self._losses


def _saves_half(shape: Sequence[int], rank: int) -> bool:
    """Are the two thin matrices together at most half as large as the gradient of this shape?"""
    return len(shape) == 2 and 2 * rank * (shape[0] + shape[1]) <= shape[0] * shape[1]
