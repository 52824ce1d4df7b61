"""The rendezvous: all ranks of a run meet before the first collective, and compare their facts.

Rank 0 opens a port; every other rank connects to it and sends its facts in a `hello`. When all
have come, rank 0 sends the roll, the facts of all ranks, to each. The connections stay open for
the watchdog (watchdog.py). They serve what the collective libraries lack: a time limit on the
start, and a comparison of all ranks before the first collective, where a difference would hang.
Nothing of the training itself uses them.

Only the processes that the launcher started have the run's secret, and every message is signed
with it (connection.py), so no other process can take part or end the run. This holds for these
connections alone: the collectives (TensorFlow's gRPC, MPI) have no authentication of their own.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from hpc.distributed.connection import (
    HANDSHAKE_SECONDS,
    NONCE_BYTES,
    Connection,
    Endpoint,
    connections,
    new_nonce,
)
from hpc.distributed.launcher import Place
from hpc.distributed.peer import Peer
from hpc.distributed.roll_call import RollCall
from hpc.distributed.time_limit import hard_limit
from hpc.distributed.watchdog import HEARTBEAT_SECONDS, Watchdog
from pipeline.runtime.tables import print_line

Facts = dict[str, Any]  # of one rank; always with `rank`, `host` and `address`
Roll = list[Facts]  # the facts of every rank, in rank order


def meet(
    watchdog: Watchdog,
    facts: Facts,
    find_chief: Callable[[int], tuple[list[Endpoint], bytes]],
    *,
    listen_on: Endpoint = ("0.0.0.0", 0),
    start_timeout: float,
) -> Roll:
    """The roll, when every rank of the run has come; the watchdog then watches over all of them.

    `find_chief` returns rank 0's endpoints and the run's secret, given the port that rank 0 has
    opened: that of `listen_on`, or any free one if it is 0. Raises RuntimeError naming the ranks
    that did not come within `start_timeout`.
    """
    place = watchdog.place
    facts = {"rank": place.rank, "host": place.host, "pid": os.getpid(), **facts}
    if place.size == 1:
        return [{**facts, "address": "127.0.0.1"}]

    # Where is rank 0? Under MPI this starts MPI, in which Python itself can be blocked.
    listener = _open_port(listen_on, place.size) if place.is_chief else None
    with hard_limit(
        start_timeout,
        f"error: {place} has been waiting in MPI for {start_timeout:.0f} s for ranks that have not "
        "started it. Is every host up? python hpc/doctor.py -H HOSTS tells",
    ):
        endpoints, secret = find_chief(listener.getsockname()[1] if listener else 0)

    # Meet there. The watchdog's limit is longer than ours, whose line explains more.
    watchdog.allow(start_timeout + 2 * HEARTBEAT_SECONDS, "waiting for all ranks")
    watchdog.start()
    if listener:
        with listener:
            roll, peers = _gather(place, listener, secret, facts, start_timeout)
    else:
        roll, peers = _report(endpoints, secret, facts, start_timeout)
    watchdog.watch_over(peers)
    return roll


def require_sound(roll: Roll, rank: int) -> None:
    """Raise ValueError with the first rank's `problem`, if any rank reported one.

    `rank` is the one that prints the error, whose own name the program puts before it.
    """
    for facts in roll:
        if facts.get("problem"):
            where = f"rank {facts['rank']} on {facts['host']}: " if facts["rank"] != rank else ""
            raise ValueError(where + facts["problem"])


def require_equal(roll: Roll, names: dict[str, str]) -> None:
    """Raise ValueError naming the first rank that differs from rank 0 in one of the facts.

    `names` holds the facts to compare and, for each, what to do where they differ; {python} there
    stands for a fact of that rank.
    """
    chief = roll[0]
    for other in roll[1:]:
        for name, advice in names.items():
            found, needed = other[name], chief[name]
            if found != needed:
                theirs, ours = _shown(name, found, needed), _shown(name, needed, found)
                raise ValueError(
                    f"rank {other['rank']} on {other['host']} has {theirs}, rank 0 on "
                    f"{chief['host']} has {ours}: {advice.format_map(other)}"
                )


def _open_port(listen_on: Endpoint, size: int) -> socket.socket:
    """Rank 0's listening socket, on which strangers do not keep a rank waiting."""
    return socket.create_server(listen_on, backlog=size + 512)


def _gather(
    place: Place, listener: socket.socket, secret: bytes, facts: Facts, start_timeout: float
) -> tuple[Roll, dict[int, Peer]]:
    """Rank 0's side: wait for the hello of every other rank, then send the roll to all."""
    call = RollCall(place, listener, secret)
    is_complete = call.wait(time.monotonic() + start_timeout)
    if line := call.strangers():
        print_line(line, sys.stderr)
    if not is_complete:
        raise RuntimeError(
            f"rank {', '.join(map(str, call.missing()))} did not come within "
            f"{start_timeout:.0f} s (rank 0 waited on {place.host}). Is the "
            "host up, and does the program start there? python hpc/doctor.py -H HOSTS tells"
        )
    peers = call.peers
    roll = [{**facts, "address": call.met_at}, *(peers[rank].facts for rank in sorted(peers))]
    for peer in peers.values():
        try:
            peer.connection.send(roll=roll)
        except OSError:
            continue  # the watchdog notices that the connection is closed, and names the rank
    return roll, peers


def _report(
    endpoints: list[Endpoint], secret: bytes, facts: Facts, start_timeout: float
) -> tuple[Roll, dict[int, Peer]]:
    """Every other rank's side: say hello to rank 0, then wait for the roll."""
    deadline = time.monotonic() + start_timeout
    for channel in connections(endpoints, deadline):
        connection = Connection(channel)
        if _is_welcome(connection, secret, facts, deadline):
            break
        connection.close()
    else:
        where = ", ".join(f"{host}:{port}" for host, port in endpoints)
        raise RuntimeError(
            f"cannot reach rank 0 at {where} within {start_timeout:.0f} s. "
            "Is a firewall between the hosts? python hpc/doctor.py -H HOSTS tells"
        )
    answer = connection.receive(deadline)
    if not answer or "roll" not in answer:
        raise RuntimeError("rank 0 ended before all ranks had come")
    roll = answer["roll"]
    return roll, {0: Peer(roll[0], connection)}


def _is_welcome(connection: Connection, secret: bytes, facts: Facts, deadline: float) -> bool:
    """Does the other side know the secret, and take this rank in? False if it is not rank 0.

    Raises RuntimeError with rank 0's reason where it refuses this rank.
    """
    soon = min(deadline, time.monotonic() + HANDSHAKE_SECONDS)
    chief_nonce = connection.read_line(soon, 2 * NONCE_BYTES + 1)
    if chief_nonce is None or len(chief_nonce) != 2 * NONCE_BYTES:
        return False
    nonce = new_nonce()
    connection.agree_on_key(secret, chief_nonce, nonce, is_chief=False)
    try:
        connection.channel.sendall(nonce + b"\n")
        connection.send(hello={**facts, "address": connection.channel.getsockname()[0]})
    except OSError:
        return False
    answer = connection.receive(soon) or {}
    if "refused" in answer:
        raise RuntimeError(f"rank 0 does not take this rank in: {answer['refused']}")
    return "welcome" in answer


def _shown(name: str, value: Any, other: Any) -> str:
    """A fact in words; of a dictionary, only the entries that differ from the other rank's."""
    if isinstance(value, dict) and isinstance(other, dict):
        keys = sorted(
            key for key in value.keys() | other.keys() if value.get(key) != other.get(key)
        )
        return f"{name} " + ", ".join(f"{key} {value.get(key)}" for key in keys)
    return f"{name} {value}"
