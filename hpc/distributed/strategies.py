"""How the workers of a run sum their numbers: the strategies Single, MultiWorker and Horovod.

A strategy is one operation, `sum_alike`, and what is made from it. Variables are ordinary ones in
every process, and stay equal because every process applies the same averaged gradient. So the
training step is the same code for every strategy. (Under MultiWorkerMirroredStrategy this also
avoids that Keras 3's optimizer sums mirrored gradients again, after they were clipped.)
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from hpc.config.settings import WorkerSettings
from hpc.distributed.launcher import Place
from hpc.distributed.processor import cores_in_words
from hpc.distributed.tensorflow_network import (
    avoid_proxy,
    keep_connections,
    limit_on_the_start,
    slow_tensorflows_heartbeat,
)
from hpc.distributed.threads import BACKGROUND_NICENESS, keep_off_the_compute, own_threads
from pipeline.runtime.tensorflow_loading import quiet_libraries


class Strategy:
    """The collectives of a run, all made from `sum_alike`, in which the strategies differ."""

    name = ""

    def __init__(self, place: Place, config: WorkerSettings, workers: list[str]) -> None:
        """Start the collective library. `workers` holds host:port of every rank, in rank order."""
        self.place = place
        self.config = config

    def sum_alike(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Each tensor summed over all workers, in one collective; all are of one dtype."""
        raise TypeError(f"{type(self).__name__} does not say how to sum")

    def close(self) -> None:
        """End the collective library; either all ranks call this, or none."""

    def start_timeline(self, path: Path) -> None:
        """Record from now on what each collective waits for; only Horovod can."""

    def describe(self) -> str:
        """The settings of this run's collectives in one line; empty where there are none."""
        return ""

    def sum(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Each tensor summed over all workers, by one collective for each dtype."""
        sums: dict[int, tf.Tensor] = {}
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            alike = [i for i, tensor in enumerate(tensors) if tensor.dtype == dtype]
            sums |= zip(alike, self.sum_alike([tensors[i] for i in alike]), strict=True)
        return [sums[i] for i in range(len(tensors))]

    def mean(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Each tensor averaged over all workers."""
        size = self.place.size
        return [t / tf.cast(size, t.dtype) for t in self.sum(tensors)] if size > 1 else tensors

    def gather(self, values: np.ndarray) -> np.ndarray:
        """[size, num_values]: the values [num_values] of every rank, in rank order."""
        rows = np.zeros((self.place.size, len(values)), np.asarray(values).dtype)
        rows[self.place.rank] = values
        return self._sum_arrays(rows)

    def broadcast(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The chief's arrays on every rank, bit for bit; shapes and types are equal everywhere."""
        # As integers: 0 + x keeps every bit of x, which it does not for the floats -0.0 and NaN.
        words = [np.frombuffer(_padded(array), np.int32) for array in arrays.values()]
        joined = np.concatenate(words or [np.zeros(0, np.int32)])
        joined = self._sum_arrays(joined if self.place.is_chief else np.zeros_like(joined))
        received, start = {}, 0
        for (name, array), word in zip(arrays.items(), words, strict=True):
            content = joined[start : start + word.size].tobytes()[: array.nbytes]
            received[name] = np.frombuffer(content, array.dtype).reshape(array.shape)
            start += word.size
        return received

    def _sum_arrays(self, array: np.ndarray) -> np.ndarray:
        """An array summed over all workers."""
        if not array.size:  # TensorFlow's ring is made for tensors that have something in them
            return array
        return self.sum([tf.constant(array)])[0].numpy()


class Single(Strategy):
    """One process, without any collective."""

    name = "single"

    def sum_alike(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """The tensors themselves."""
        return tensors


class MultiWorker(Strategy):
    """TensorFlow's collectives, of tf.distribute.MultiWorkerMirroredStrategy."""

    name = "multiworker"

    def __init__(self, place: Place, config: WorkerSettings, workers: list[str]) -> None:
        super().__init__(place, config, workers)
        os.environ["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": workers}, "task": {"type": "worker", "index": place.rank}}
        )
        avoid_proxy(workers)
        if place.size > 1:
            slow_tensorflows_heartbeat(config, place.size)
        implementations = tf.distribute.experimental.CommunicationImplementation
        implementation = {
            "auto": implementations.AUTO,
            "ring": implementations.RING,
            "nccl": implementations.NCCL,
        }[config.collective]
        with limit_on_the_start(place, config, workers), quiet_libraries():
            self._strategy = tf.distribute.MultiWorkerMirroredStrategy(
                communication_options=tf.distribute.experimental.CommunicationOptions(
                    implementation=implementation
                )
            )
        self._sum_eagerly = tf.function(self._all_reduce, autograph=False)
        if place.size > 1:
            # The first collective opens the connections.
            self.gather(np.array([place.rank]))
            keep_connections(int(workers[place.rank].rpartition(":")[2]), config.timeout)

    def sum_alike(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """By an allreduce in the strategy's replica context."""
        if tf.executing_eagerly():
            return self._sum_eagerly(tensors)
        return self._all_reduce(tensors)

    def describe(self) -> str:
        """The implementation asked for; TensorFlow does not report which one auto chooses."""
        return f"collectives: TensorFlow's, implementation {self.config.collective}"

    def _all_reduce(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        def in_replica(*tensors: tf.Tensor) -> list[tf.Tensor]:
            # An identity: the strategy needs tensors whose device is known.
            here = [tf.identity(tensor) for tensor in tensors]
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, here)

        return self._strategy.run(in_replica, args=tuple(tensors))


class Horovod(Strategy):
    """Horovod's allreduce, over MPI or NCCL as it was built; all calls to Horovod are here."""

    name = "horovod"

    def __init__(self, place: Place, config: WorkerSettings, workers: list[str]) -> None:
        super().__init__(place, config, workers)
        settings = {
            "HOROVOD_FUSION_THRESHOLD": config.fusion_threshold * 2**20 or None,
            "HOROVOD_CYCLE_TIME": config.cycle_time or None,
            # Else gradients of several groups share a buffer when they happen to be ready together,
            # and the order of their sums would depend on that.
            "HOROVOD_DISABLE_GROUP_FUSION": 1,
            "HOROVOD_AUTOTUNE": 1 if config.autotune else None,
            "HOROVOD_TIMELINE": "DYNAMIC" if config.timeline else None,  # started after set-up
        }
        os.environ.update({name: str(v) for name, v in settings.items() if v is not None})
        threads = own_threads()
        import horovod.tensorflow as hvd

        hvd.init()
        if hvd.size() != place.size:
            raise ValueError(
                f"{place.launcher} started {place.size} processes, but Horovod sees {hvd.size()}: "
                "it was built against another MPI than mpirun's. Run make horovod with this mpirun"
            )
        self._hvd = hvd
        self._cores = sorted(os.sched_getaffinity(0))
        for thread in own_threads() - threads:
            keep_off_the_compute(thread, self._cores)

    def sum_alike(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """By one grouped allreduce: its fusion, and so the order of its sums, never changes."""
        return self._hvd.grouped_allreduce(tensors, op=self._hvd.Sum)

    def start_timeline(self, path: Path) -> None:
        """Write Horovod's timeline on rank 0, which sees what every rank waits for."""
        if self.config.timeline and self.place.is_chief:
            self._hvd.start_timeline(str(path), mark_cycles=True)

    def describe(self) -> str:
        """The library under Horovod, its cycle and fusion, and where its own thread runs."""
        library = "NCCL" if self._hvd.nccl_built() and self._has_gpu() else "MPI"
        yields = communication_facts().get("OMPI_MCA_mpi_yield_when_idle") == "1"
        settings = {
            "cycle": (os.environ.get("HOROVOD_CYCLE_TIME"), "ms", 1),
            "fusion buffer": (self.config.fusion_threshold or None, "MiB", 128),
        }
        parts = [
            f"{name} {default if value is None else value} {unit}{' (default)' * (value is None)}"
            for name, (value, unit, default) in settings.items()
        ]
        parts += ["autotuned"] * self.config.autotune
        return (
            f"collectives: Horovod over {library}"
            f"{', which yields while it waits' * yields}; {', '.join(parts)}; its thread at nice "
            f"{BACKGROUND_NICENESS} on {cores_in_words(self._cores)}"
        )

    def _has_gpu(self) -> bool:
        return bool(tf.config.list_physical_devices("GPU"))

    def close(self) -> None:
        """Shut Horovod's background thread down."""
        self._hvd.shutdown()


STRATEGIES = {strategy.name: strategy for strategy in Strategy.__subclasses__()}


def open_strategy(name: str, place: Place, config: WorkerSettings, workers: list[str]) -> Strategy:
    """Start the collective library of this run. Call before any other TensorFlow work.

    Raises ValueError for a flag that this strategy cannot use.
    """
    if config.timeline and name != Horovod.name:
        raise ValueError(
            f"--timeline is a record that only Horovod makes, and the strategy is {name}. Use "
            "--profile, which all strategies have, or --strategy horovod"
        )
    return STRATEGIES[name](place, config, workers)


def communication_facts() -> dict[str, Any]:
    """The environment variables that affect a run's communication, for its record."""
    prefixes = ("HOROVOD_", "OMPI_MCA_", "NCCL_")
    # Job numbers, addresses and folders that mpirun gives its ranks: they differ at every launch.
    of_a_launch = tuple(
        "OMPI_MCA_" + name for name in ("orte_", "ess", "pmix", "initial_wdir", "shmem_RUNTIME")
    )
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(prefixes) and not name.startswith(of_a_launch)
    }


def _padded(array: np.ndarray) -> bytes:
    """The bytes of an array, padded to whole int32 numbers."""
    content = np.ascontiguousarray(array).tobytes()
    return content + bytes(-len(content) % 4)
