"""hpc/train.py, whose rank 1 has a GPU. (TensorFlow computes on the CPU all the same.)"""

import os
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from hpc.distributed import devices
from hpc.train import main

use_devices = devices.use_devices


def with_a_gpu(*arguments: object, **options: object) -> str:
    """The devices of this rank; in words, those of a rank with a GPU."""
    use_devices(*arguments, **options)
    return "NVIDIA H100 80GB HBM3 0, cores 1"


if os.environ["OMPI_COMM_WORLD_RANK"] == "1":
    devices.use_devices = with_a_gpu
sys.exit(main())
