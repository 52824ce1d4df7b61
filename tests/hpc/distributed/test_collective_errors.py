"""What a user reads of an error of TensorFlow's or Horovod's collectives."""

import subprocess
import sys

import pytest
import tensorflow as tf

from hpc.distributed.collective_errors import collective_failure, without_nodes
from tests.conftest import REPOSITORY

ABORTED = """Graph execution error:

Detected at node CollectiveReduceV2 defined at (most recent call last):
  File "/home/a/hpc/train.py", line 274, in <module>

  File "/home/a/hpc/train.py", line 50, in main

Collective ops is aborted by: Task /job:worker/replica:0/task:1 heartbeat timeout.
The error could be from a previous operation. Restart your program to reset.
\t [[{{node CollectiveReduceV2}}]] [Op:__inference__train_2692]"""


def test_an_error_that_another_rank_causes_is_one_line_without_the_graph() -> None:
    error = tf.errors.UnavailableError(None, None, ABORTED)
    assert collective_failure(error) == (
        "a collective failed (UnavailableError): Collective ops is aborted by: Task "
        "/job:worker/replica:0/task:1 heartbeat timeout."
    )


# TensorFlow 2.21, whose heartbeat was not answered in time by a busy host.
NO_HEARTBEAT = """Graph execution error:

Detected at node CollectiveReduceV2 defined at (most recent call last):
  File "/home/a/hpc/train.py", line 274, in <module>

Collective ops is aborted by: Collective ops is aborted by: Deadline Exceeded

RPC: /tensorflow.CoordinationService/Heartbeat
The error could be from a previous operation. Restart your program to reset.
Additional GRPC error information from remote target /job:worker/replica:0/task:0 while calling \
/tensorflow.WorkerService/CompleteGroup:
:UNKNOWN:Error received from peer  {grpc_message:"Deadline Exceeded\\n\\nRPC: \
/tensorflow.CoordinationService/Heartbeat\\nThe error could be", grpc_status:4}
The error could be from a previous operation. Restart your program to reset.
\t [[{{node CollectiveReduceV2}}]] [Op:__inference__train_2692]"""


def test_a_heartbeat_that_tensorflow_misses_is_one_line() -> None:
    error = tf.errors.DeadlineExceededError(None, None, NO_HEARTBEAT)
    assert collective_failure(error) == (
        "a collective failed (DeadlineExceededError): Collective ops is aborted by: Collective ops "
        "is aborted by: Deadline Exceeded RPC: /tensorflow.CoordinationService/Heartbeat"
    )


def test_horovods_error_is_read_without_tensorflows_node() -> None:
    text = "{{function_node __wrapped__HorovodAllreduce_device_/CPU:0}} Horovod has been shut down"
    error = tf.errors.UnknownError(None, None, text)
    assert collective_failure(error) == (
        "a collective failed (UnknownError): Horovod has been shut down"
    )
    assert without_nodes(text) == "Horovod has been shut down"


def test_an_error_of_the_program_itself_is_left_to_its_traceback() -> None:
    assert collective_failure(tf.errors.InvalidArgumentError(None, None, "shapes")) == ""
    assert collective_failure(KeyError("broken")) == ""


FAILING = """
import os, sys
os.environ |= {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}
from hpc import train
def fail(*arguments, **named):
    raise type(sys.argv[1], (Exception,), {})("Connection reset by peer")
train.train = fail
train.main([])
"""


@pytest.mark.parametrize(("error", "code"), [("UnavailableError", 76), ("KeyError", 1)])
def test_a_collective_that_fails_is_a_lost_rank_to_what_started_the_run(
    error: str, code: int
) -> None:
    argv = [sys.executable, "-c", FAILING, error]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    assert "Connection reset by peer" in done.stderr
