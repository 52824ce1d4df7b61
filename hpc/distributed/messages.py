"""What a worker sends in an exchange, by the form of --compression."""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from hpc.config.settings import WorkerSettings

Message = list[tf.TensorSpec]  # what a worker sends in one collective
# Of a group of gradients: fewer bytes than these would not be worth a collective of their own.
LEAST_BYTES, LEAST_SHARE = 2**16, 1 / 8


def messages_of(compression: str, shapes: Sequence[Sequence[int]]) -> list[Message]:
    """What a worker sends, besides scalars, for gradients of these shapes."""
    rank = WorkerSettings(compression=compression).powersgd_rank
    if not rank:
        wire = tf.float16 if compression == "fp16" else tf.float32
        specs = [tf.TensorSpec(shape, wire) for shape in shapes]
        return [[specs[i] for i in group] for group in groups_of(specs)]
    first = [[shape[0], rank] if is_thin(shape, rank) else shape for shape in shapes]
    second = [[shape[1], rank] for shape in shapes if is_thin(shape, rank)]
    return [[tf.TensorSpec(shape) for shape in part] for part in (first, second) if part]


def groups_of(gradients: Message) -> list[list[int]]:
    """Indices of the gradients that each collective of a step carries, in the order of sending.

    From the last gradient to the first, as the backward pass makes them: a group can be sent while
    the next ones are computed. What is left for the last group may be small.
    """
    least = max(LEAST_BYTES, num_bytes(gradients) * LEAST_SHARE)
    groups: list[list[int]] = [[]]
    for i in reversed(range(len(gradients))):
        if num_bytes([gradients[j] for j in groups[-1]]) >= least:
            groups.append([])
        groups[-1].append(i)
    return groups


def num_bytes(message: Message) -> int:
    """The size of a message."""
    return sum(math.prod(spec.shape) * spec.dtype.size for spec in message)


def is_thin(shape: Sequence[int], rank: int) -> bool:
    """Are two matrices of this rank together at most half as large as the gradient they stand for?

    Others, biases among them, PowerSGD sends whole.
    """
    return len(shape) == 2 and 2 * rank * (shape[0] + shape[1]) <= shape[0] * shape[1]
