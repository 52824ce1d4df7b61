"""The training step and the evaluation step, compiled once, the same for every strategy."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from hpc.config.train_config import TrainConfig
from hpc.distributed.strategies import Strategy
from hpc.training.gradient_mean import Variables, gradient_mean
from model.networks.registry import Network
from pipeline.dataset.batches import target_weights
from pipeline.dataset.schedule import BatchPlan


class Steps:
    """The compiled steps of a model, for one worker's part of the global batch."""

    def __init__(
        self,
        model: Network,
        optimizer: keras.optimizers.Optimizer,
        strategy: Strategy,
        config: TrainConfig,
        plan: BatchPlan,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self._strategy = strategy
        self._config = config
        self._num_lanes = plan.manifest.num_lanes
        self._lanes = np.array(plan.local_lanes, np.int32)
        self._rows_per_lane = plan.rows_per_lane
        # Targets that this worker's batch has room for; equal on all workers, filled or not.
        self._positions = plan.local_batch_size * plan.sequence_length

        optimizer.build(model.trainable_variables)
        self.shared_optimizer = optimizer  # the one whose state is equal on all workers
        self.mean = gradient_mean(config, strategy, model.trainable_variables, config.seed)
        # The averages of the weights, which evaluation and checkpoints use in their place.
        self._averages = [
            keras.Variable(weight, trainable=False, dtype="float32", name=f"average_{index}")
            for index, weight in enumerate(model.trainable_variables if config.average else [])
        ]
        # The batch is known while the graph is built: the LSTM chooses its layout by it.
        tokens = tf.TensorSpec([plan.local_batch_size, None], tf.int32)
        scalar = tf.TensorSpec([], tf.int32)
        weights = tf.TensorSpec([None, None], tf.float32)
        # No Python `if` or loop over tensors for autograph to convert: the start is 1 s shorter.
        self._train_compiled = tf.function(
            self._train, input_signature=[tokens, scalar, scalar, scalar], autograph=False
        )
        self.evaluate = tf.function(
            self._evaluate, input_signature=[tokens, weights, scalar], autograph=False
        )

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        return float(inner.learning_rate)

    def variables(self) -> dict[str, Variables]:
        """What a checkpoint holds: the weights to use, and the state of the optimizer.

        All are equal on all workers; what is not is in `own_variables()`.
        """
        weights = self.model.named_weights()
        optimizer = by_path(self.shared_optimizer) | self.mean.shared_variables()
        if not self._averages:
            return {"weights": weights, "optimizer": optimizer}
        trained = {f"trained/{path}": weight for path, weight in weights.items()}
        averages = dict(zip(weights, self._averages, strict=True))
        return {"weights": averages, "optimizer": optimizer | trained}

    def own_variables(self) -> Variables:
        """State of this worker alone, by path."""
        return self.mean.own_variables()

    def start_from_averages(self) -> None:
        """Set the weights to their averages, which are what a new run takes from another."""
        for weight, average in zip(self.model.trainable_variables, self._averages, strict=False):
            weight.assign(average)

    def train(self, tokens: tf.Tensor, step: int, stop: int, save: int) -> dict[str, tf.Tensor]:
        """Apply the gradient of the mean loss over the global batch.

        tokens [local_batch, time + 1], sorted by lane; `stop` is 1 where this worker was asked to
        stop, `save` where it is time to save. Returns scalars that are equal on all workers: loss
        (nats per token), gradient_norm, and the shares of the workers that `stop` and `save`.
        """
        return self._train_compiled(tokens, step, stop, save)

    def _train(
        self, tokens: tf.Tensor, step: tf.Tensor, stop: tf.Tensor, save: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """`train`, to compile."""
        # The gradient of this worker's windows, in --accumulation parts.
        parts = tf.split(  # each [local_lanes, rows, time + 1]
            tf.reshape(tokens, [len(self._lanes), self._rows_per_lane, tf.shape(tokens)[1]]),
            self._config.accumulation,
            axis=1,
        )
        gradients, nats, weight = self._part(parts[0], step, 0)
        for index, part in enumerate(parts[1:], 1):
            more, more_nats, more_weight = self._part(part, step, index)
            gradients = [a + b for a, b in zip(gradients, more, strict=True)]
            nats, weight = nats + more_nats, weight + more_weight

        # Its mean over all workers. One collective carries gradients and scalars, so that all
        # workers learn of a request to stop in the same step.
        asked = tf.cast(tf.stack([stop, save]), tf.float32)
        gradients, scalars = self._exchange(gradients, tf.concat([[nats, weight], asked], 0))
        nats, weight, stop, save = tf.unstack(scalars)
        gradients = [gradient / weight for gradient in gradients]

        # The update: clip the gradient, which mixed_float16 has scaled, and apply it.
        scale = getattr(self.optimizer, "dynamic_scale", None)
        scale = tf.convert_to_tensor(1.0 if scale is None else scale)
        norm = tf.linalg.global_norm(gradients)
        gradients, _ = tf.clip_by_global_norm(gradients, self._config.clip_norm * scale, norm)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        self._average(step)
        loss, norm = nats / weight, norm / scale
        return {"loss": loss, "gradient_norm": norm, "stop": stop, "save": save}

    def _exchange(
        self, gradients: list[tf.Tensor], scalars: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The means over all workers."""
        return self.mean(gradients, scalars)

    def _average(self, step: tf.Tensor, num_steps: int = 1) -> None:
        """Move the averages towards the weights that these steps, to `step`, have made.

        Faster at first, to forget the initial weights.
        """
        steps = tf.cast(step, tf.float32)
        keep = tf.minimum(self._config.average, (1 + steps) / (10 + steps))
        keep = keep if num_steps == 1 else keep**num_steps
        for weight, average in zip(self.model.trainable_variables, self._averages, strict=False):
            average.assign(keep * average.value + (1 - keep) * weight.value)

    def _part(
        self, part: tf.Tensor, step: tf.Tensor, index: int
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """Sums over some windows [lanes, rows, time + 1]: gradients, nats and weight.

        All three are divided by the number of target positions of the whole local batch. That
        keeps them near 1 for float16 and does not change their ratios.
        """
        positions = float(self._positions)
        tokens = tf.reshape(part, [part.shape[0] * part.shape[1], tf.shape(part)[2]])
        weights = target_weights(tokens)
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            logits, _ = self.model(tokens[:, :-1], dropout_seeds=self._dropout_seeds(step, index))
            nats = sequence_loss(logits, tokens[:, 1:], weights) / positions
            loss = nats
            if hasattr(self.optimizer, "scale_loss"):
                loss = self.optimizer.scale_loss(nats)
        # Dense, because the embedding's sparse gradient would need another collective.
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
        return gradients, nats, tf.reduce_sum(weights) / positions

    def _dropout_seeds(self, step: tf.Tensor, index: int) -> tf.Tensor | None:
        """Seeds [num_local_lanes, 2], a function of seed, step and lane, not of the worker."""
        if not self._config.dropout:
            return None
        count = (step * self._config.accumulation + index) * self._num_lanes + self._lanes
        return tf.stack([tf.fill([len(self._lanes)], self._config.seed), count], axis=1)

    def _evaluate(self, tokens: tf.Tensor, weights: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
        """Sums over all workers [3], float32: of nats, of weights, of requests to stop."""
        inputs = tokens[:, :-1]
        if self._averages:
            others = self.model.non_trainable_variables
            (logits, _), _ = self.model.stateless_call(self._averages, others, inputs)
        else:
            logits, _ = self.model(inputs)
        nats = sequence_loss(logits, tokens[:, 1:], weights)
        own = tf.stack([nats, tf.reduce_sum(weights), tf.cast(stop, tf.float32)])
        return self._strategy.sum([own])[0]


def by_path(optimizer: keras.optimizers.Optimizer) -> Variables:
    """The state of an optimizer."""
    return {variable.path: variable for variable in optimizer.variables}


def sequence_loss(logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """The sum of the weighted cross-entropies, in nats; the mean is this over the sum of weights.

    logits [batch, time, vocab] float32, targets [batch, time] int, weights [batch, time] float32.
    """
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    return tf.reduce_sum(nats * weights)
