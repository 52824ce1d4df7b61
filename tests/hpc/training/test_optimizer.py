"""The fused optimizer against Keras's own: same numbers, same variables for a checkpoint."""

from __future__ import annotations

import numpy as np
import pytest

SHAPES = {"kernel": (7, 12), "bias": (12,)}


def trained(optimizer_class, steps=30, **options):
    """Weights and optimizer after some steps with random gradients, the same for every class."""
    import keras
    import tensorflow as tf

    random = np.random.default_rng(5)
    weights = [
        keras.Variable(random.normal(size=shape).astype(np.float32), name=name)
        for name, shape in SHAPES.items()
    ]
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-3, 20, alpha=0.1, warmup_target=4e-2, warmup_steps=5
    )
    optimizer = optimizer_class(schedule, weight_decay=0.01, beta_2=0.99, name="adamw", **options)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build(weights)
    step = tf.function(lambda *gradients: optimizer.apply(gradients, weights), autograph=False)
    for _ in range(steps):
        step(*(tf.constant(random.normal(size=w.shape).astype(np.float32)) for w in weights))
    return weights, optimizer


@pytest.fixture(scope="module")
def both():
    import keras

    from hpc.training.optimizer import FusedAdamW

    return trained(keras.optimizers.AdamW), trained(FusedAdamW)


def test_weights_and_moments_are_those_of_keras_to_a_millionth(both):
    (expected, of_keras), (found, fused) = both
    pairs = [*zip(expected, found, strict=True)]
    pairs += zip(of_keras.variables, fused.variables, strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(np.array(ours), np.array(theirs), rtol=1e-6, atol=1e-6)


def test_a_checkpoint_holds_the_same_arrays_under_the_same_names(both):
    (_, of_keras), (_, fused) = both
    described = [
        [(variable.path, variable.shape, variable.dtype) for variable in optimizer.variables]
        for optimizer in (of_keras, fused)
    ]
    assert described[0] == described[1]
    assert described[0][0][0] == "adamw/iteration"


def test_what_the_operation_cannot_do_is_refused():
    from hpc.training.optimizer import FusedAdamW

    with pytest.raises(ValueError, match="no amsgrad"):
        trained(FusedAdamW, steps=0, amsgrad=True)
