"""The cores and the GPU that a worker computes on, and the settings that are slow on them."""

from __future__ import annotations

import os
import re

import tensorflow as tf

from hpc.config.settings import ModelSettings
from hpc.distributed.launcher import Place
from hpc.distributed.processor import by_core, cores_in_words, has_bfloat16_products, share_of_cores
from hpc.distributed.threads import keep_threads_on


def use_devices(place: Place, *, unbind: bool = False) -> str:
    """Take this worker's share of the host; its devices in words, for the log.

    With `unbind` it also takes cores of its share from which mpirun's default keeps it away.
    Call before any other TensorFlow work. One process drives one GPU, chosen by local rank. Raises
    ValueError where a host has GPUs, but fewer than processes.
    """
    bound = by_core(os.sched_getaffinity(0))
    cores = share_of_cores(place, unbind=unbind)
    # At its first use TensorFlow starts a thread for each core that its process may use. Threads
    # that exist already, MPI's own among them, must not wake on another worker's cores.
    keep_threads_on(cores)
    if place.size > 1:
        # The only thread of one core would begin to send gradients when all are computed.
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", str(max(len(cores), 2)))
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return f"CPU, {cores_in_words(cores)}" + _bound_by_the_launcher(place, cores, bound)
    if place.local_rank >= len(gpus):
        raise ValueError(
            f"this is process {place.local_rank + 1} of {place.local_size} on {place.host}, which "
            f"has {len(gpus)} GPUs: one process drives one GPU. Start at most {len(gpus)} there "
            f"(mpirun -H {place.host}:{len(gpus)}), or hide the GPUs with CUDA_VISIBLE_DEVICES="
        )
    gpu = gpus[place.local_rank]
    tf.config.set_visible_devices(gpu, "GPU")
    tf.config.experimental.set_memory_growth(gpu, True)
    name = tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
    return f"{name} {place.local_rank}, {cores_in_words(cores)}"


def name_of(devices: str) -> str:
    """'CPU', or the name of the GPU, of what `use_devices` returned."""
    return re.sub(r" \d+$", "", re.split(", cores? ", devices)[0])


def _bound_by_the_launcher(place: Place, cores: list[int], bound: list[int]) -> str:
    """What mpirun's binding did to this worker, and how to change it; empty where it did nothing.

    `bound` are the cores to which it was bound before it took its share, `cores`.
    """
    if len(bound) < len(cores):
        return f" (mpirun had bound it to {cores_in_words(bound)}; --bind-to core keeps it there)"
    share = (os.cpu_count() or 1) // place.local_size
    if place.launcher == "none" or len(cores) >= share:
        return ""
    few = f"{len(cores)} of the {share} cores of its share"
    return f" ({few}: bound by mpirun, Slurm, taskset or a container)"


def slow_settings(config: ModelSettings, *, on_cpu: bool) -> list[str]:
    """Warnings of settings that are slow, or learn worse, on this processor or GPU."""
    half = config.precision == "mixed_bfloat16"
    if on_cpu and half and not has_bfloat16_products():
        return [
            "warning: this processor has no bfloat16 products and emulates them: "
            "--precision mixed_bfloat16 is slower here than float32"
        ]
    if on_cpu:
        return []
    if config.model == "frames":
        return [
            "warning: --model frames is small operations in a row, for which an H200 took twice "
            "the time of 16 cores: CUDA_VISIBLE_DEVICES=-1 trains on the CPU"
        ]
    if half and config.model == "lstm":
        return [
            "warning: on a GPU the LSTM learned slower in bfloat16 than in float32: "
            "--precision mixed_float16 learned as float32 does, and its steps are shorter"
        ]
    return []
