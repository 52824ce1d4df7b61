"""The mean of the gradients over all workers, in the form in which --compression sends them."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from hpc.config.settings import WorkerSettings
from hpc.distributed.strategies import Strategy

Variables = dict[str, keras.Variable]
Message = list[tf.TensorSpec]  # what a worker sends in one collective


class GradientMean:
    """Every gradient is sent whole, in float32 or float16."""

    def __init__(
        self, strategy: Strategy, weights: Sequence[keras.Variable], wire: tf.DType = tf.float32
    ) -> None:
        self._strategy = strategy
        self._wire = wire
        self._shapes = [weight.shape for weight in weights]

    def __call__(
        self, gradients: list[tf.Tensor], scalars: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The means over all workers, in float32: of gradients, and of `scalars` [num_scalars].

        The first collective carries the scalars, so that all workers get them in the same step.
        """
        sent = [tf.cast(gradient, self._wire) for gradient in gradients]
        *means, scalars = self._strategy.mean([*sent, scalars])
        return [tf.cast(mean, tf.float32) for mean in means], scalars

    def messages(self) -> list[Message]:
        """What a worker sends in a step, besides the scalars: one message for each collective."""
        return [[tf.TensorSpec(shape, self._wire) for shape in self._shapes]]

    def shared_variables(self) -> Variables:
        """State that is equal on all workers, by path."""
        return {}

    def own_variables(self) -> Variables:
        """State of this worker alone, by path."""
        return {}


def gradient_mean(
    config: WorkerSettings, strategy: Strategy, weights: Sequence[keras.Variable], seed: int
) -> GradientMean:
    """The mean that --compression asks for, of the gradients of these weights."""
    if config.powersgd_rank:
        from hpc.training.powersgd import PowerSGD

        return PowerSGD(strategy, weights, config.powersgd_rank, seed)
    is_wired = strategy.place.size > 1
    wire = tf.float16 if is_wired and config.compression == "fp16" else tf.float32
    return GradientMean(strategy, weights, wire)
