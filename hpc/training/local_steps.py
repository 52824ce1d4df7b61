"""Local steps: workers that exchange nothing in most steps, and then what all of these changed.

Douillard et al. 2023, "DiLoCo: Distributed Low-Communication Training of Language Models",
arXiv:2311.08105, algorithm 1. With an outer learning rate of 1 and no momentum it is the averaging
of weights: McMahan et al. 2017, arXiv:1602.05629; Stich 2019, arXiv:1805.09767.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from hpc.config.train_config import TrainConfig
from hpc.distributed.strategies import Strategy
from hpc.training.gradient_mean import Variables
from hpc.training.train_step import Steps, by_path
from model.networks.registry import Network
from pipeline.dataset.schedule import BatchPlan


class LocalSteps(Steps):
    """Steps of a worker that exchanges with the others after every --local-steps of them.

    Until then it applies the gradients of its own windows, clipped by their own norm, with an
    optimizer whose state it keeps. All began from the same weights w. In the exchange the mean of
    w - w_i over the workers i is the gradient by which an outer optimizer, SGD with Nesterov
    momentum, moves w. All workers continue from there.
    """

    def __init__(
        self,
        model: Network,
        optimizer: keras.optimizers.Optimizer,
        strategy: Strategy,
        config: TrainConfig,
        plan: BatchPlan,
    ) -> None:
        super().__init__(model, optimizer, strategy, config, plan)
        self._num_steps = config.local_steps
        self.shared_optimizer = keras.optimizers.SGD(
            config.outer_learning_rate,
            momentum=config.outer_momentum,
            nesterov=True,
            name="outer",
        )
        self.shared_optimizer.build(model.trainable_variables)
        self._starts = [
            keras.Variable(weight, trainable=False, dtype="float32", name=f"start_{index}")
            for index, weight in enumerate(model.trainable_variables)
        ]
        self._outer_step_compiled = tf.function(self._outer_step, autograph=False)

    def train(self, tokens: tf.Tensor, step: int, stop: int, save: int) -> dict[str, tf.Tensor]:
        """As Steps.train, but between two exchanges the scalars are of this worker."""
        if (step - 1) % self._num_steps == 0:
            for start, weight in zip(self._starts, self.model.trainable_variables, strict=True):
                start.assign(weight.value)
        own = super().train(tokens, step, stop, save)
        if step % self._num_steps:
            return own
        return self._outer_step_compiled(tf.constant(step), own)

    def own_variables(self) -> Variables:
        """The state of the inner optimizer, and what the exchange keeps."""
        return by_path(self.optimizer) | super().own_variables()

    def _outer_step(self, step: tf.Tensor, own: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Move the weights of all workers to the same place; the means of their scalars."""
        weights = self.model.trainable_variables
        changes = [
            start.value - weight.value for start, weight in zip(self._starts, weights, strict=True)
        ]
        changes, scalars = self.mean(changes, tf.stack(list(own.values())))
        for start, weight in zip(self._starts, weights, strict=True):
            weight.assign(start.value)
        self.shared_optimizer.apply(changes, weights)
        super()._average(step, self._num_steps)
        return dict(zip(own, tf.unstack(scalars), strict=True))

    def _exchange(
        self, gradients: list[tf.Tensor], scalars: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The worker's own, without a collective."""
        return gradients, scalars

    def _average(self, step: tf.Tensor, num_steps: int = 1) -> None:
        """Do nothing: the averages move after an exchange, when all workers have equal weights."""
