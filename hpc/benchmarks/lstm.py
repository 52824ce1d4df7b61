"""Benchmark rows of the LSTM: a training step against Keras, PyTorch and the product rate.

Every step is the whole of training: embedding, 2 LSTM layers of 512, logits, cross-entropy,
gradients, AdamW; batch 32, 128 steps, on one core. All run in turn, in one run of the command.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc.benchmarks.rows import (
    BenchmarkRow,
    Options,
    alternate,
    cpu_seconds,
    load_tensorflow_on_one_core,
    paired_ratio,
)
from hpc.distributed.processor import has_bfloat16_products

if TYPE_CHECKING:
    import tensorflow as tf

ROWS = {  # name -> target
    "lstm-keras": ">= 1.7",  # tokens/s against keras.layers.LSTM
    "lstm-torch": ">= 1.05",  # tokens/s against torch.nn.LSTM
    "lstm-matmul": ">= 0.95",  # floating-point operations/s against the product of 2048 x 2048
    "lstm-bfloat16": ">= 1.3",  # tokens/s with bfloat16 products against float32
}
VOCAB_SIZE, UNITS, LAYERS, BATCH, TIME = 235, 512, 2, 32, 128
TOKENS = BATCH * TIME
# Two per multiplication and addition; a gradient takes two products for each one forwards.
STEP_FLOPS = 3 * 2 * TOKENS * UNITS * (LAYERS * 2 * 4 * UNITS + VOCAB_SIZE)
MATRIX = 2048


def measure(names: list[str], options: Options) -> list[BenchmarkRow]:
    """The rows asked for. Sets threads, so it must be the first use of TensorFlow."""
    load_tensorflow_on_one_core()
    import keras

    from model.networks.hoisted_lstm import HoistedLSTM

    parts = {"hoisted": training_step(HoistedLSTM), "matmul": matrix_product()}
    missing = {}
    if "lstm-keras" in names:
        parts["keras"] = training_step(keras.layers.LSTM)
    if "lstm-bfloat16" in names:
        if has_bfloat16_products():
            parts["bfloat16"] = training_step(HoistedLSTM, "mixed_bfloat16")
        else:
            missing["lstm-bfloat16"] = "this processor has no bfloat16 products"
    torch = None
    if "lstm-torch" in names:
        try:
            torch, parts["torch"] = torch_step(options.torch_python)
        except OSError as error:
            missing["lstm-torch"] = str(error)
    seconds = alternate(parts, options.rounds)
    if torch:
        torch.communicate()
    return [row(name, seconds, missing.get(name, "")) for name in names]


def row(name: str, seconds: dict[str, list[float]], missing: str) -> BenchmarkRow:
    """One row, from the seconds of the parts."""
    if missing:
        return BenchmarkRow.judged(name, None, ROWS[name], missing)
    other, ours = name.removeprefix("lstm-"), "hoisted"
    if other == "bfloat16":
        ours, other = other, ours
    work, unit = dict.fromkeys(seconds, float(TOKENS)), "tokens/s"
    if other == "matmul":
        work, unit = {ours: STEP_FLOPS / 1e9, other: 2 * MATRIX**3 / 1e9}, "GFLOP/s"
    rates = {part: [work[part] / taken for taken in seconds[part]] for part in (ours, other)}
    value, spread = paired_ratio(rates[ours], rates[other])
    our_rate, other_rate = (statistics.median(rates[part]) for part in (ours, other))
    note = f"{our_rate:.4g} against {other_rate:.4g} {unit}; pairs {spread}"
    return BenchmarkRow.judged(name, value, ROWS[name], note)


def training_step(layer: type, precision: str = "float32") -> Callable[[], float]:
    """Run a training step of the network with LSTM layers of this class; its seconds."""
    import keras
    import tensorflow as tf

    from hpc.training.optimizer import FusedAdamW

    keras.utils.set_random_seed(1)
    network = keras.Sequential(
        [
            keras.layers.Embedding(VOCAB_SIZE, UNITS, dtype=precision),
            *(layer(UNITS, return_sequences=True, dtype=precision) for _ in range(LAYERS)),
            keras.layers.Dense(VOCAB_SIZE, dtype=precision),
        ]
    )
    network.build([None, None])
    optimizer = FusedAdamW()
    optimizer.build(network.trainable_variables)
    tokens = tf.random.uniform([BATCH, TIME + 1], 0, VOCAB_SIZE, tf.int32)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
    def step(tokens: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = tf.cast(network(tokens[:, :-1], training=True), tf.float32)
            nats = tf.nn.sparse_softmax_cross_entropy_with_logits(tokens[:, 1:], logits)
            loss = tf.reduce_mean(nats)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply(
            [tf.convert_to_tensor(gradient) for gradient in gradients],
            network.trainable_variables,
        )
        return loss

    return lambda: cpu_seconds(lambda: step(tokens).numpy())


def matrix_product() -> Callable[[], float]:
    """Multiply two large square matrices; the seconds. No step can be faster than products."""
    import tensorflow as tf

    square = tf.random.normal([MATRIX, MATRIX])
    product: Any = tf.function(lambda: tf.matmul(square, square)[0, 0], autograph=False)
    return lambda: cpu_seconds(lambda: product().numpy())


def torch_step(python: str) -> tuple[subprocess.Popen[str], Callable[[], float]]:
    """The process that holds the same network in PyTorch, and a step of it; its seconds.

    Raises OSError if that Python has no PyTorch.
    """
    script = Path(__file__).with_name("lstm_in_torch.py")
    sizes = [str(size) for size in (VOCAB_SIZE, UNITS, LAYERS, BATCH, TIME)]
    process = subprocess.Popen(
        [python, str(script), *sizes],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin and process.stdout
    requests, answers = process.stdin, process.stdout
    if not answers.readline().startswith("ready"):
        process.communicate()
        raise OSError(f"{python} has no PyTorch: give one that has with --torch-python")

    def step() -> float:
        requests.write("step\n")
        requests.flush()
        return float(answers.readline())

    return process, step
