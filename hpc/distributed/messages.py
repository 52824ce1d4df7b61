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
    wire = tf.float16 if compression == "fp16" else tf.float32
    messages: list[Message] = []
    for group in groups_of(shapes, wire, rank):
        parts = [_parts(shapes[i], wire, rank) for i in group]
        messages.append([first for first, *_ in parts])
        if second := [rest[0] for _, *rest in parts if rest]:
            messages.append(second)
    return messages


def groups_of(
    shapes: Sequence[Sequence[int]], wire: tf.DType = tf.float32, rank: int = 0
) -> list[list[int]]:
    """Indices of the gradients of these shapes that leave together, in the order of sending.

    From the last gradient to the first, as the backward pass makes them: a group can be sent while
    the next ones are computed. What is left for the last group may be small. `rank` is that of
    PowerSGD, 0 without it.
    """
    sizes = [num_bytes(_parts(shape, wire, rank)) for shape in shapes]
    least = max(LEAST_BYTES, sum(sizes) * LEAST_SHARE)
    groups: list[list[int]] = [[]]
    for i in reversed(range(len(sizes))):
        if sum(sizes[j] for j in groups[-1]) >= least:
            groups.append([])
        groups[-1].append(i)
    return groups


def num_bytes(message: Message) -> int:
    """The size of a message."""
    return sum(math.prod(spec.shape) * spec.dtype.size for spec in message)


def is_thin(shape: Sequence[int], rank: int) -> bool:
    """Are two matrices of this rank together at most half as large as the gradient they stand for?

    Others, biases among them, PowerSGD sends whole. Rank 0 is no PowerSGD.
    """
    if len(shape) != 2 or not rank:
        return False
    return 2 * rank * (shape[0] + shape[1]) <= shape[0] * shape[1]


def _parts(shape: Sequence[int], wire: tf.DType, rank: int) -> Message:
    """What is sent for one gradient: itself, or two thin matrices, one after the other."""
    if is_thin(shape, rank):
        return [tf.TensorSpec([length, rank], wire) for length in shape]
    return [tf.TensorSpec(shape, wire)]
