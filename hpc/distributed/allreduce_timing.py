"""The speed of the network: an allreduce of the gradient's size, timed before step 1."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from hpc.distributed.exchange import Exchange
from hpc.distributed.messages import Message, num_bytes
from hpc.distributed.strategies import Strategy

ENOUGH = 0.8  # efficiency without advice
REPETITIONS = 5
MESSAGES = 50


@dataclass(frozen=True)
class Link:
    """A measured allreduce."""

    megabytes: float  # of one worker's gradient
    seconds: float  # median of an allreduce
    size: int
    latency_seconds: float = 0.0  # median of an allreduce of one number; 0 if not timed
    message_seconds: float = 0.0  # of a message to the next rank, all at once; 0 if not timed
    local_steps: int = 1  # from one allreduce to the next
    # Estimated seconds a step for other ways to exchange, by their flags, from the mildest on.
    alternatives: dict[str, float] = field(default_factory=dict)

    @property
    def gigabytes_per_second(self) -> float:
        """Bus bandwidth of a ring, in which each worker sends 2 (n - 1) / n of its bytes.

        Defined as in nccl-tests (doc/PERFORMANCE.md), to compare it with the rate of the link.
        """
        return 2 * (self.size - 1) / self.size * self.megabytes / 1000 / self.seconds

    def describe(self) -> str:
        """The measurement in one line."""
        return (
            f"allreduce of {self.megabytes:.1f} MB over {self.size} workers: "
            f"{self.seconds * 1000:.1f} ms, {self.gigabytes_per_second:.2f} GB/s"
        )

    def advise(self, step_seconds: float) -> str:
        """The share of a step that is not this allreduce; with advice where it is not ENOUGH.

        The least efficiency: the part of the allreduce that a step hides is not known.
        """
        exchange = self.seconds / self.local_steps
        if exchange >= step_seconds:
            what = (
                "a whole step takes" if self.local_steps == 1 else f"{self.local_steps} steps take"
            )
            return (
                f"the allreduce timed before step 1 took {self.seconds * 1000:.1f} ms, {what} "
                f"{step_seconds * self.local_steps * 1000:.1f} ms: hosts or network were busy with "
                "other work then, and the link is not known"
            )
        efficiency = 1 - exchange / step_seconds
        line = f"this link allows at least {efficiency:.0%} efficiency at this batch size"
        if efficiency >= ENOUGH:
            return line
        computing = step_seconds - exchange
        others = [
            f"{computing / (computing + seconds):.0%} with {flags}"
            for flags, seconds in self.alternatives.items()
            if seconds < exchange
        ]
        # So many times the computing for one exchange.
        factor = math.ceil(ENOUGH / (1 - ENOUGH) * exchange / computing)
        advice = (
            f"raise --global-batch-size ({factor} times for {ENOUGH:.0%}; with --accumulation "
            f"{factor} it takes no more memory), or use a faster network (python hpc/doctor.py -H "
            "HOSTS shows which one is used)"
        )
        if others:
            advice = (
                "begin a new run with one of these (docs/training.md: what each does to the loss), "
                f"or {advice}"
            )
        return f"{', '.join([line, *others])}: {advice}"


def time_allreduce(strategy: Strategy, messages: dict[Exchange, list[Message]]) -> Link:
    """The time of the collectives of an exchange, in which a worker sends `messages`.

    First those of this run, which are timed, then others to estimate.
    """
    own, *others = messages
    seconds = sum(
        _seconds_of_sum(strategy, [tf.zeros(spec.shape, spec.dtype) for spec in message])
        for message in messages[own]
    )
    latency = _seconds_of_sum(strategy, [tf.zeros([1])])

    # Each collective takes the latency, and each byte its share of the rest.
    sizes = {exchange: sum(map(num_bytes, sent)) for exchange, sent in messages.items()}
    of_a_byte = max(seconds - len(messages[own]) * latency, 0.0) / sizes[own]
    return Link(
        megabytes=sizes[own] / 1e6,
        seconds=seconds,
        size=strategy.place.size,
        latency_seconds=latency,
        message_seconds=_seconds_of_message(strategy),
        local_steps=own.local_steps,
        alternatives={
            other.flags: (len(messages[other]) * latency + sizes[other] * of_a_byte)
            / other.local_steps
            for other in others
        },
    )


def _seconds_of_sum(strategy: Strategy, tensors: list[tf.Tensor]) -> float:
    """The median time of a sum of these tensors over all workers."""

    # Tensors are arguments: TensorFlow computes an allreduce of constants only once, when it
    # compiles, because Horovod's operation is not marked as having effects.
    @tf.function(autograph=False)
    def reduce_once(*tensors: tf.Tensor) -> tf.Tensor:
        sums = strategy.sum(list(tensors))
        # To read one number of each sum is to wait until the last one has arrived.
        return tf.add_n([tf.reshape(total, [-1])[0] for total in sums])

    # The first call, which is not counted, opens the connections.
    return _median_seconds(lambda: reduce_once(*tensors).numpy(), REPETITIONS)


def _seconds_of_message(strategy: Strategy) -> float:
    """The median time of one message of 4 bytes around the ring of ranks; 0 without MPI."""
    place = strategy.place
    if place.launcher != "mpirun":
        return 0.0
    from mpi4py import MPI

    following, before = (place.rank + 1) % place.size, (place.rank - 1) % place.size
    sent, received = np.zeros(1, np.float32), np.zeros(1, np.float32)
    return _median_seconds(
        lambda: MPI.COMM_WORLD.Sendrecv(sent, following, recvbuf=received, source=before),
        MESSAGES,
    )


def _median_seconds(work: Callable[[], object], repetitions: int) -> float:
    """The median time of some repetitions, after one that is not counted."""
    seconds = []
    for _ in range(repetitions + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:]))
