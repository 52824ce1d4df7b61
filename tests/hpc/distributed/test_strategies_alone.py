"""Of the strategies, what needs neither MPI nor a second process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

from hpc.distributed.connection import free_port
from tests.conftest import REPOSITORY

OPENED_ALONE = """
import sys, time
from hpc.config.train_config import TrainConfig
from hpc.distributed.launcher import Place
from hpc.distributed.strategies import open_strategy

config = TrainConfig(start_timeout=3.0)
print("ready", flush=True)
open_strategy("multiworker", Place(0, 2, host="host0"), config, sys.argv[1:])
"""


def test_the_limit_of_the_start_holds_while_tensorflow_blocks_the_interpreter() -> None:
    workers = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    process = subprocess.Popen(
        [sys.executable, "-c", OPENED_ALONE, *workers],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        _, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert re.search(
        r"rank 0 on host0 has been waiting in TensorFlow for \d+ s for the other", errors
    )
    assert f"rank 1 at {workers[1]}" in errors
