"""Which cores and which GPU a worker computes on, set before any other TensorFlow work."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import tensorflow as tf

from hpc.distributed.launcher import Place
from hpc.distributed.processor import share_of_cores


def use_devices(place: Place) -> str:
    """Take this worker's share of the host; what it got, in words, for the log.

    One process drives one GPU, by local rank. Raises ValueError where a host has GPUs, but fewer
    than processes.
    """
    cores = share_of_cores(place)
    # TensorFlow makes as many threads as its process may use cores, when it is first used. Threads
    # that are there already, MPI's own among them, must not wake on another worker's cores.
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended since
            os.sched_setaffinity(int(thread.name), cores)
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return f"CPU, cores {', '.join(map(str, cores))}" + _bound_by_the_launcher(place, cores)
    if place.local_rank >= len(gpus):
        raise ValueError(
            f"{place} is process {place.local_rank + 1} of {place.local_size} on its host, which "
            f"has {len(gpus)} GPUs: one process drives one GPU. Start at most {len(gpus)} there "
            f"(mpirun -H {place.host}:{len(gpus)}), or hide the GPUs with CUDA_VISIBLE_DEVICES="
        )
    gpu = gpus[place.local_rank]
    tf.config.set_visible_devices(gpu, "GPU")
    tf.config.experimental.set_memory_growth(gpu, True)
    name = tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
    return f"{name} {place.local_rank}, cores {', '.join(map(str, cores))}"


def _bound_by_the_launcher(place: Place, cores: list[int]) -> str:
    """What to do where mpirun has left this worker fewer cores than its share; else nothing."""
    share = (os.cpu_count() or 1) // place.local_size
    if place.launcher == "none" or len(cores) >= share:
        return ""
    return (
        f" of a share of {share} (bound by {place.launcher}: --bind-to none frees them; or taskset)"
    )
