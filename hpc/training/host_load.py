"""How busy the host of a rank is: its cores, its memory, and the memory of the rank's GPU."""

from __future__ import annotations

import os

import psutil
import tensorflow as tf


class HostLoad:
    """Cores and memory, read from the system in less than a millisecond."""

    def __init__(self) -> None:
        psutil.cpu_percent()  # the next call returns the mean since this one
        self._process = psutil.Process()
        self._has_gpu = bool(tf.config.list_logical_devices("GPU"))

    def report(self) -> dict[str, float]:
        """Busy cores since the last report, of all programs; memory in use now, in 1e9 bytes.

        The memory of the GPU is the most that TensorFlow has used of it so far in this process.
        """
        memory = psutil.virtual_memory()
        found = {
            "host_busy_cores": psutil.cpu_percent() / 100 * (os.cpu_count() or 1),
            "host_memory_gigabytes": (memory.total - memory.available) / 1e9,
            "own_memory_gigabytes": self._process.memory_info().rss / 1e9,
        }
        if self._has_gpu:
            info = tf.config.experimental.get_memory_info("GPU:0")
            found["gpu_memory_gigabytes"] = info["peak"] / 1e9
        return found
