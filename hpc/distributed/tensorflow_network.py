"""TensorFlow's own network (gRPC): limits and settings that MultiWorkerMirroredStrategy lacks."""

from __future__ import annotations

import os
import socket
from contextlib import AbstractContextManager, nullcontext

import psutil

from hpc.config.settings import WorkerSettings
from hpc.distributed.launcher import Place
from hpc.distributed.time_limit import LONGEST_STRETCH, hard_limit, stretched
from hpc.distributed.watchdog import HEARTBEAT_SECONDS


def limit_on_the_start(
    place: Place, config: WorkerSettings, workers: list[str]
) -> AbstractContextManager[None]:
    """End this process if the block takes longer than --start-timeout allows.

    MultiWorkerMirroredStrategy holds the interpreter's lock while it connects to the workers, so
    the watchdog cannot. Where it can, it ends the process a moment before.
    """
    if place.size == 1:
        return nullcontext()
    seconds = stretched(config.start_timeout)
    others = ", ".join(
        f"rank {rank} at {worker}" for rank, worker in enumerate(workers) if rank != place.rank
    )
    return hard_limit(
        seconds + 2 * HEARTBEAT_SECONDS,
        f"error: {place} has been waiting in TensorFlow for {seconds:.0f} s for the other workers "
        f"to start it ({others}). Is one of them stopped, or a firewall between the hosts? "
        "python hpc/doctor.py -H HOSTS tells",
    )


def slow_tensorflows_heartbeat(config: WorkerSettings, num_workers: int) -> None:
    """Make TensorFlow's own heartbeat so slow that the watchdog always judges first.

    After 10 s without a heartbeat TensorFlow ends a worker with a traceback, whatever --timeout
    allows, and does not name the host. The strategy has no argument for it, but leaves a service
    alone that is configured before.
    """
    from tensorflow.python.eager import context

    messages = context.coordination_config_pb2  # at another place in each TensorFlow
    seconds = 2 * max(config.timeout, LONGEST_STRETCH * config.start_timeout)
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        heartbeat_timeout_in_ms=int(seconds * 1000),
        coordinated_jobs=[messages.CoordinatedJob(name="worker", num_tasks=num_workers)],
    )


def keep_connections(port: int, seconds: float) -> None:
    """Let a connection to this worker's TensorFlow live while a link is cut for so long.

    gRPC's server has Linux reset one on which data stay unconfirmed for 20 s (TCP_USER_TIMEOUT),
    and TensorFlow has no setting for it. So the option is set again on the sockets themselves.
    """
    milliseconds = min(int(seconds * 1000), 2**31 - 1)
    for connection in psutil.Process().net_connections("tcp"):
        if connection.laddr.port == port and connection.raddr:
            with socket.socket(fileno=os.dup(connection.fd)) as channel:
                channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


def avoid_proxy(workers: list[str]) -> None:
    """Let gRPC connect to the workers directly: by a proxy (http_proxy) it waits for ever."""
    variables = ("no_grpc_proxy", "no_proxy")  # gRPC reads the first one that is set
    given = next((os.environ[name] for name in variables if os.environ.get(name)), "")
    hosts = dict.fromkeys(worker.rpartition(":")[0] for worker in workers)
    os.environ.update({variables[0]: ",".join([*filter(None, [given]), *hosts])})
