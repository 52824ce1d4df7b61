"""The processor and the GPUs of this host, and the cores that a rank may use."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hpc.distributed.launcher import Place

BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # in /proc/cpuinfo; the last on ARM


def share_of_cores(place: Place) -> list[int]:
    """The cores that this process may compute on: its share, unless the launcher has bound it.

    Binding by Open MPI shows as an affinity smaller than the machine; it is not changed.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < (os.cpu_count() or 1) or place.local_size <= 1:
        return allowed
    return equal_part(allowed, place.local_rank, place.local_size)


def equal_part(cores: Sequence[int], index: int, num_parts: int) -> list[int]:
    """The part of this index, of equal parts of the cores; at least one core."""
    size = max(len(cores) // num_parts, 1)
    first = index * size % len(cores)
    return list(cores[first : first + size])


def processor() -> str:
    """The name of this host's CPU; its architecture where Linux gives no name."""
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        match = None
    return match[1].strip() if match else platform.machine()


def has_bfloat16_products() -> bool:
    """Has this host's CPU instructions for products of bfloat16, by its flags in Linux?"""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    names = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return bool(BFLOAT16_FLAGS & set(names.partition(":")[2].split()))


def gpus() -> list[str]:
    """Name, memory and driver of every NVIDIA GPU; an empty list without any."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    output = output_of(query)
    return output.splitlines() if output else []


def output_of(argv: Sequence[str]) -> str | None:
    """The output of a command; None if it is not installed, fails, or takes more than 20 s."""
    if shutil.which(argv[0]) is None:
        return None
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
