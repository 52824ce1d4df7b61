"""The roll call and the watch: a side channel over which ranks know of each other.

Rank 0 listens; every other rank keeps one TCP connection to it, with one JSON object a line. It
serves what the collective libraries lack: a time limit on the start, a comparison of all ranks
before the first collective, and, when a rank dies, hangs or is cut off, one line that names it
instead of an endless silence. Nothing of the training itself goes this way.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from hpc.distributed.connection import Connection, Endpoint, connect
from hpc.distributed.launcher import Place
from hpc.distributed.time_limit import hard_limit

HEARTBEAT_SECONDS = 1.0
BLAME_SECONDS = 5.0
COLLECTIVES = ("tensorflow", "horovod", "mpi4py")  # modules of errors that others may have caused
EXIT_PEER_LOST = 76  # sysexits' EX_PROTOCOL: the other side did not do its part


@dataclass
class Peer:
    """What is known of one rank; `step` is the last one it finished."""

    facts: dict[str, Any]
    connection: Connection | None = None
    step: int = 0
    heard: float = field(default_factory=time.monotonic)
    left: bool = False


class Peers:
    """All ranks of a run, as this one sees them."""

    def __init__(self, place: Place, start_timeout: float, timeout: float) -> None:
        self.place = place
        self.timeout = timeout
        self.roll: list[dict[str, Any]] = []  # the facts of every rank, in rank order
        self._start_timeout = start_timeout
        self._peers: dict[int, Peer] = {}
        self._step = 0
        self._progress = time.monotonic()
        self._limit = start_timeout
        self._doing = "starting"
        self._over = threading.Event()
        # Its own, since libraries are kept from the common one while they start.
        self._stderr = os.fdopen(os.dup(2), "w")
        self._listener: socket.socket | None = None

    def listen(self, port: int = 0) -> int:
        """Open the chief's port (any free one, unless given) and return it."""
        self._listener = socket.create_server(("0.0.0.0", port), backlog=max(self.place.size, 16))
        return self._listener.getsockname()[1]

    def watch(self) -> None:
        """Begin to watch the time, and the other ranks as soon as they are known."""
        threading.Thread(target=self._watch, name="peers", daemon=True).start()

    def meet(self, endpoints: list[Endpoint], facts: dict[str, Any]) -> None:
        """Wait until every rank is here and has told its facts; `roll` then holds them all.

        Raises RuntimeError naming the ranks that did not come within the start's time limit.
        """
        facts = {"rank": self.place.rank, "host": self.place.host, "pid": os.getpid(), **facts}
        if self.place.size == 1:
            self.roll = [{**facts, "address": "127.0.0.1"}]
            return
        # A little more than the limit within, which ends with a better explanation.
        self.allow(self._start_timeout + 2 * HEARTBEAT_SECONDS, "waiting for all ranks")
        if self.place.is_chief:
            self._gather(facts)
        else:
            self._report(endpoints, facts)

    def require_sound(self) -> None:
        """Raise ValueError with the first rank's problem, if any rank told of one (`problem`)."""
        for facts in self.roll:
            if facts.get("problem"):
                where = f"rank {facts['rank']} on {facts['host']}: " if self.place.size > 1 else ""
                raise ValueError(where + facts["problem"])

    def require_equal(self, names: dict[str, str]) -> None:
        """Raise ValueError naming the first rank that differs from rank 0 in one of the facts.

        `names` holds the facts to compare and, for each, what to do where they differ.
        """
        for other in self.roll[1:]:
            for name, advice in names.items():
                found, needed = other[name], self.roll[0][name]
                if found != needed:
                    theirs, ours = _shown(name, found, needed), _shown(name, needed, found)
                    raise ValueError(
                        f"rank {other['rank']} on {other['host']} has {theirs}, rank 0 on "
                        f"{self.roll[0]['host']} has {ours}: {advice}"
                    )

    def progress(self, step: int, doing: str = "in a step") -> None:
        """Tell that this rank is alive in its main thread, and which step it has finished."""
        self._step, self._doing = step, doing
        self._progress = time.monotonic()
        self._limit = self.timeout

    def allow(self, seconds: float, doing: str) -> None:
        """Give what comes next (compiling, restoring) a time limit of its own."""
        self._progress, self._limit, self._doing = time.monotonic(), seconds, doing

    def __enter__(self) -> Peers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say goodbye to the others or, after an error, that this rank fails and will say why."""
        if type(error).__module__.startswith(COLLECTIVES) and self.place.size > 1:
            # A collective also breaks when another rank is gone: the watch then names that rank,
            # and ends this process, within moments.
            self._over.wait(BLAME_SECONDS)
        self._over.set()
        self._tell_all(**{"failed" if error is not None else "bye": self.place.rank})

    # The start -----------------------------------------------------------------------------

    def _gather(self, facts: dict[str, Any]) -> None:
        assert self._listener is not None, "the chief listens before it meets"
        deadline = time.monotonic() + self._start_timeout
        met_at = ""
        while len(self._peers) < self.place.size - 1:
            self._listener.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                channel, _ = self._listener.accept()
            except TimeoutError:
                missing = sorted(set(range(1, self.place.size)) - set(self._peers))
                raise RuntimeError(
                    f"rank {', '.join(map(str, missing))} did not come within "
                    f"{self._start_timeout:.0f} s (rank 0 waited on {self.place.host}). Is the "
                    "host up, and does the program start there? python hpc/doctor.py -H HOSTS tells"
                ) from None
            channel.settimeout(max(deadline - time.monotonic(), 0.001))
            connection = Connection(channel)
            hello = connection.receive()
            if not hello or "hello" not in hello:
                channel.close()  # not one of ours: a port scan, say
                continue
            reported = hello["hello"]
            self._peers[reported["rank"]] = Peer(reported, connection)
            met_at = met_at or channel.getsockname()[0]
        for peer in self._peers.values():
            peer.heard = time.monotonic()  # nothing was due before
        others = [self._peers[rank].facts for rank in sorted(self._peers)]
        self.roll = [{**facts, "address": met_at}, *others]
        self._tell_all(roll=self.roll)
        for rank, peer in self._peers.items():
            self._listen_to(rank, peer)

    def _report(self, endpoints: list[Endpoint], facts: dict[str, Any]) -> None:
        deadline = time.monotonic() + self._start_timeout
        channel = connect(endpoints, deadline)
        if channel is None:
            where = ", ".join(f"{host}:{port}" for host, port in endpoints)
            raise RuntimeError(
                f"{self.place} cannot reach rank 0 at {where} within {self._start_timeout:.0f} s. "
                "Is a firewall between the hosts? python hpc/doctor.py -H HOSTS tells"
            )
        connection = Connection(channel)
        connection.send(hello={**facts, "address": channel.getsockname()[0]})
        channel.settimeout(max(deadline - time.monotonic(), 0.001))
        answer = connection.receive()
        channel.settimeout(None)
        if not answer or "roll" not in answer:
            raise RuntimeError(f"{self.place}: rank 0 ended before all ranks had come")
        self.roll = answer["roll"]
        self._peers[0] = Peer(self.roll[0], connection)
        self._listen_to(0, self._peers[0])

    # The watch -----------------------------------------------------------------------------

    def _listen_to(self, rank: int, peer: Peer) -> None:
        name = f"rank {rank}"
        threading.Thread(target=self._hear, args=(rank, peer), name=name, daemon=True).start()

    def _hear(self, rank: int, peer: Peer) -> None:
        assert peer.connection is not None
        while message := peer.connection.receive():
            peer.heard = time.monotonic()
            if "step" in message:
                peer.step = message["step"]
            elif "bye" in message:
                peer.left = True
            elif "failed" in message:
                self._end_quietly(message["failed"])
            elif "lost" in message:
                self._end(message["lost"])
        if not peer.left and not self._over.is_set():
            self._end(self._loss(peer, "has died (its connection is gone)"))

    def _watch(self) -> None:
        """Send heartbeats; end this process when a peer is silent or this rank stands still."""
        while not self._over.wait(HEARTBEAT_SECONDS):
            self._tell_all(step=self._step)
            now = time.monotonic()
            for peer in list(self._peers.values()) if self.roll else []:
                # Half the limit: a rank that is silent is then named before this one's own time,
                # spent waiting for it, is up.
                silent = now - peer.heard
                if silent > self.timeout / 2 and not peer.left:
                    self._end(self._loss(peer, f"has been silent for {silent:.0f} s"))
            standing = now - self._progress
            if standing > self._limit:
                others = "".join(f"; rank {r}: step {p.step}" for r, p in self._peers.items())
                self._end(
                    f"{self.place} has been {self._doing} for {standing:.0f} s, its limit, after "
                    f"step {self._step}{others}"
                )

    def _loss(self, peer: Peer, how: str) -> str:
        rank, host = peer.facts["rank"], peer.facts["host"]
        return f"rank {rank} on {host} {how} after step {max(peer.step, self._step - 1, 0)}"

    def _end(self, why: str) -> None:
        if self._over.is_set():
            return
        self._over.set()
        self._tell_all(lost=why)
        print(
            f"error: {why}; {self.place} ends. The same command continues from the last checkpoint",
            file=self._stderr,
            flush=True,
        )
        # The main thread may stand in a collective for ever: no clean-up can be waited for.
        os._exit(EXIT_PEER_LOST)

    def _end_quietly(self, failed_rank: int) -> None:
        """End without a word, a little later: what the failing rank prints must be seen last."""
        self._over.set()
        if self.place.is_chief:
            self._tell_all(failed=failed_rank)
        time.sleep(2.0)
        os._exit(EXIT_PEER_LOST)

    def _tell_all(self, **message: Any) -> None:
        for peer in list(self._peers.values()):
            if peer.connection is not None and not peer.left:
                try:
                    peer.connection.send(**message)
                except OSError:
                    continue  # its reader notices, and says so


def open_peers(
    place: Place,
    facts: dict[str, Any],
    find_chief: Callable[[int], list[Endpoint]],
    *,
    port: int = 0,
    start_timeout: float,
    timeout: float,
) -> Peers:
    """The peers after the roll call. `find_chief` makes rank 0's endpoints of its open port."""
    peers = Peers(place, start_timeout, timeout)
    if place.size == 1:
        peers.meet([], facts)
        return peers
    own_port = peers.listen(port) if place.is_chief else 0
    with hard_limit(
        start_timeout,
        f"error: {place} has been waiting in MPI for {start_timeout:.0f} s for ranks that have not "
        "started it. Is every host up? python hpc/doctor.py -H HOSTS tells",
    ):
        endpoints = find_chief(own_port)
    peers.watch()
    peers.meet(endpoints, facts)
    return peers


def _shown(name: str, value: Any, other: Any) -> str:
    """A fact in words; of a dictionary, only what differs from the other rank's."""
    if isinstance(value, dict) and isinstance(other, dict):
        keys = sorted(
            key for key in value.keys() | other.keys() if value.get(key) != other.get(key)
        )
        return f"{name} " + ", ".join(f"{key} {value.get(key)}" for key in keys)
    return f"{name} {value}"
