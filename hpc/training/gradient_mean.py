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
        rank: int = 0,
    ) -> None:
        self._strategy = strategy
        self._wire = wire
        self._groups = groups_of([weight.shape for weight in weights], wire, rank)

    def __call__(
        self, gradients: list[tf.Tensor], scalars: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The means over all workers, in float32: of gradients, and of `scalars` [num_scalars].

        The first collective carries the scalars, so that all workers get them in the same step.
        """
        results: dict[int, tf.Tensor] = {}
        for group in self._groups:
            means, with_scalars = self._means(
                {i: gradients[i] for i in group}, [] if results else [scalars]
            )
            scalars = with_scalars[0] if with_scalars else scalars
            results |= means
        return [results[i] for i in range(len(gradients))], scalars

    def _means(
        self, gradients: dict[int, tf.Tensor], others: list[tf.Tensor]
    ) -> tuple[dict[int, tf.Tensor], list[tf.Tensor]]:
        """The means of the gradients of one group, by index, and of other tensors."""
        sent = [tf.cast(gradient, self._wire) for gradient in gradients.values()]
        means = self._strategy.mean([*sent, *others])
        arrived = [tf.cast(mean, tf.float32) for mean in means[: len(sent)]]
        return dict(zip(gradients, arrived, strict=True)), means[len(sent) :]

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
        super().__init__(strategy, weights, rank=rank)
        self._factors: dict[int, keras.Variable] = {}  # Q of each thin gradient, by its index
        self._losses: dict[int, keras.Variable] = {}  # what its steps so far lost, on this worker
        self._paths = [weight.path for weight in weights]
        random = np.random.default_rng(seed)
        for i, weight in enumerate(weights):
            if is_thin(weight.shape, rank):
                start = random.standard_normal([weight.shape[1], rank]).astype(np.float32)
                self._factors[i] = keras.Variable(start, trainable=False)
                nothing = np.zeros(weight.shape, np.float32)
                self._losses[i] = keras.Variable(nothing, trainable=False)

    def _means(
        self, gradients: dict[int, tf.Tensor], others: list[tf.Tensor]
    ) -> tuple[dict[int, tf.Tensor], list[tf.Tensor]]:
        """As GradientMean, by two collectives: of P and of all that is sent whole, and of Q."""
        matrices = {i: m + self._losses[i].value for i, m in gradients.items() if i in self._losses}

        # P, and all that is sent whole.
        sent = gradients | {i: tf.matmul(m, self._factors[i].value) for i, m in matrices.items()}
        means = self._strategy.mean([*sent.values(), *others])
        results, others = dict(zip(sent, means, strict=False)), means[len(sent) :]

        # Q, and what both lose.
        columns = {i: tf.linalg.qr(results[i])[0] for i in matrices}
        sent = {i: tf.matmul(m, columns[i], transpose_a=True) for i, m in matrices.items()}
        means = self._strategy.mean(list(sent.values())) if sent else []
        for i, mean in zip(sent, means, strict=True):
            results[i] = tf.matmul(columns[i], mean, transpose_b=True)
            self._losses[i].assign(matrices[i] - results[i])
            self._factors[i].assign(mean)
        return results, others

    def shared_variables(self) -> Variables:
        """Q of every thin gradient."""
        return {f"powersgd/{self._paths[i]}": factor for i, factor in self._factors.items()}

    def own_variables(self) -> Variables:
        """What the steps so far have lost of every thin gradient, on this worker."""
        return {self._paths[i]: loss for i, loss in self._losses.items()}


def gradient_mean(
    config: WorkerSettings, strategy: Strategy, weights: Sequence[keras.Variable], seed: int
) -> GradientMean:
    """The mean that --compression asks for, of the gradients of these weights."""
    if config.powersgd_rank:
        return PowerSGD(strategy, weights, config.powersgd_rank, seed)
    is_wired = strategy.place.size > 1
    wire = tf.float16 if is_wired and config.compression == "fp16" else tf.float32
    return GradientMean(strategy, weights, wire)
