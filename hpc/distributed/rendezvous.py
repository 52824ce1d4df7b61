"""The rendezvous: all ranks of a run meet before the first collective, and compare their facts.

Rank 0 opens a port; every other rank connects to it and sends its facts in a `hello`. When all
have come, rank 0 sends the roll, the facts of all ranks, to each. The connections stay open for
the watchdog (watchdog.py). They serve what the collective libraries lack: a time limit on the
start, and a comparison of all ranks before the first collective, where a difference would hang.
Nothing of the training itself uses them.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

from hpc.distributed.connection import Connection, Endpoint, connect
from hpc.distributed.launcher import Place
from hpc.distributed.time_limit import hard_limit
from hpc.distributed.watchdog import HEARTBEAT_SECONDS, Peer, Watchdog

Facts = dict[str, Any]  # of one rank; always with `rank`, `host` and `address`
Roll = list[Facts]  # the facts of every rank, in rank order


def meet(
    watchdog: Watchdog,
    facts: Facts,
    find_chief: Callable[[int], list[Endpoint]],
    *,
    port: int = 0,
    start_timeout: float,
) -> Roll:
    """The roll, when every rank of the run has come; the watchdog then watches over all of them.

    `find_chief` returns rank 0's endpoints, given the port that rank 0 has opened: `port`, or any
    free one. Raises RuntimeError naming the ranks that did not come within `start_timeout`.
    """
    place = watchdog.place
    facts = {"rank": place.rank, "host": place.host, "pid": os.getpid(), **facts}
    if place.size == 1:
        return [{**facts, "address": "127.0.0.1"}]

    # Where is rank 0? Under MPI this starts MPI, in which Python itself can be blocked.
    listener = _open_port(port, place.size) if place.is_chief else None
    with hard_limit(
        start_timeout,
        f"error: {place} has been waiting in MPI for {start_timeout:.0f} s for ranks that have not "
        "started it. Is every host up? python hpc/doctor.py -H HOSTS tells",
    ):
        endpoints = find_chief(listener.getsockname()[1] if listener else 0)

    # Meet there. The watchdog's limit is longer than ours, whose line explains more.
    watchdog.allow(start_timeout + 2 * HEARTBEAT_SECONDS, "waiting for all ranks")
    watchdog.start()
    if listener:
        with listener:
            roll, peers = _gather(place, listener, facts, start_timeout)
    else:
        roll, peers = _report(endpoints, facts, start_timeout)
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

    `names` holds the facts to compare and, for each, what to do where they differ.
    """
    chief = roll[0]
    for other in roll[1:]:
        for name, advice in names.items():
            found, needed = other[name], chief[name]
            if found != needed:
                theirs, ours = _shown(name, found, needed), _shown(name, needed, found)
                raise ValueError(
                    f"rank {other['rank']} on {other['host']} has {theirs}, rank 0 on "
                    f"{chief['host']} has {ours}: {advice}"
                )


def _open_port(port: int, size: int) -> socket.socket:
    """Rank 0's listening socket on all interfaces; on any free port if `port` is 0."""
    return socket.create_server(("0.0.0.0", port), backlog=max(size, 16))


def _gather(
    place: Place, listener: socket.socket, facts: Facts, start_timeout: float
) -> tuple[Roll, dict[int, Peer]]:
    """Rank 0's side: wait for the hello of every other rank, then send the roll to all."""
    deadline = time.monotonic() + start_timeout
    peers: dict[int, Peer] = {}
    met_at = ""  # rank 0's address on the network over which the first rank came
    while len(peers) < place.size - 1:
        listener.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            channel, _ = listener.accept()
        except TimeoutError:
            missing = sorted(set(range(1, place.size)) - set(peers))
            raise RuntimeError(
                f"rank {', '.join(map(str, missing))} did not come within "
                f"{start_timeout:.0f} s (rank 0 waited on {place.host}). Is the "
                "host up, and does the program start there? python hpc/doctor.py -H HOSTS tells"
            ) from None
        peer = _read_hello(channel, deadline)
        if peer is None:
            channel.close()
            continue
        peers[peer.facts["rank"]] = peer
        met_at = met_at or channel.getsockname()[0]
    roll = [{**facts, "address": met_at}, *(peers[rank].facts for rank in sorted(peers))]
    for peer in peers.values():
        try:
            peer.connection.send(roll=roll)
        except OSError:
            continue  # the watchdog notices that the connection is closed, and names the rank
    return roll, peers


def _read_hello(channel: socket.socket, deadline: float) -> Peer | None:
    """The rank that has connected; None for a stranger, such as a port scan."""
    connection = Connection(channel)
    channel.settimeout(max(deadline - time.monotonic(), 0.001))
    hello = connection.receive()
    channel.settimeout(None)
    if not hello or "hello" not in hello:
        return None
    return Peer(hello["hello"], connection)


def _report(
    endpoints: list[Endpoint], facts: Facts, start_timeout: float
) -> tuple[Roll, dict[int, Peer]]:
    """Every other rank's side: say hello to rank 0, then wait for the roll."""
    deadline = time.monotonic() + start_timeout
    channel = connect(endpoints, deadline)
    if channel is None:
        where = ", ".join(f"{host}:{port}" for host, port in endpoints)
        raise RuntimeError(
            f"cannot reach rank 0 at {where} within {start_timeout:.0f} s. "
            "Is a firewall between the hosts? python hpc/doctor.py -H HOSTS tells"
        )
    connection = Connection(channel)
    connection.send(hello={**facts, "address": channel.getsockname()[0]})
    channel.settimeout(max(deadline - time.monotonic(), 0.001))
    answer = connection.receive()
    channel.settimeout(None)
    if not answer or "roll" not in answer:
        raise RuntimeError("rank 0 ended before all ranks had come")
    roll = answer["roll"]
    return roll, {0: Peer(roll[0], connection)}


def _shown(name: str, value: Any, other: Any) -> str:
    """A fact in words; of a dictionary, only the entries that differ from the other rank's."""
    if isinstance(value, dict) and isinstance(other, dict):
        keys = sorted(
            key for key in value.keys() | other.keys() if value.get(key) != other.get(key)
        )
        return f"{name} " + ", ".join(f"{key} {value.get(key)}" for key in keys)
    return f"{name} {value}"
