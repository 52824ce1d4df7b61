"""Under mpirun: start Horovod as a training does, and print where this worker's threads may run."""

from __future__ import annotations

import json
import os


def threads() -> dict[int, tuple[int, list[int]]]:
    """Niceness and cores of every thread of this process."""
    from hpc.distributed.threads import own_threads

    return {
        number: (os.getpriority(os.PRIO_PROCESS, number), sorted(os.sched_getaffinity(number)))
        for number in own_threads()
    }


def main() -> None:
    """Print one line of JSON: the worker's cores, and niceness and cores of its threads."""
    from mpi4py import MPI

    from hpc.config.train_config import TrainConfig
    from hpc.distributed.addresses import chief_address
    from hpc.distributed.devices import use_devices
    from hpc.distributed.launcher import find_place
    from hpc.distributed.processor import share_of_cores
    from hpc.distributed.strategies import open_strategy

    place = find_place(os.environ)
    chief_address(place, 1, os.environ)  # begins MPI, and with it MPI's threads
    cores = share_of_cores(place)
    use_devices(place)
    before = threads()
    strategy = open_strategy("horovod", place, TrainConfig(), [])
    found = threads()
    line = {
        "cores": cores,
        "of_tensorflow": int(os.environ["TF_NUM_INTEROP_THREADS"]),
        "of_horovod": [found[number] for number in found if number not in before],
        "others": [found[number] for number in found if number in before],
    }
    os.write(1, f"{json.dumps(line)}\n".encode())
    # A worker that shuts Horovod down ends its thread at every worker, looked at or not.
    MPI.COMM_WORLD.Barrier()
    strategy.close()


if __name__ == "__main__":
    main()
