"""Rank 0's roll call: it waits for the hello of every other rank, whoever else connects.

All callers are served at once, each with a deadline and a limit on what it may send, so a stranger
(a port scan, a rank of another run) cannot hold up a rank. Rank 0 sends a nonce, the caller
answers with its own and a signed hello (see connection.py), and rank 0 signs its welcome. The
port closes after the roll call.
"""

from __future__ import annotations

import selectors
import socket
import time
from dataclasses import dataclass
from typing import Any

from hpc.distributed.connection import (
    HANDSHAKE_SECONDS,
    HELLO_BYTES,
    NONCE_BYTES,
    Connection,
    new_nonce,
)
from hpc.distributed.launcher import Place
from hpc.distributed.peer import Peer

MAX_CALLERS = 256  # who have not said who they are; then the first of them is turned away


@dataclass(eq=False)
class Caller:
    """Somebody who has connected, and may be a rank."""

    connection: Connection
    address: str
    nonce: bytes  # that rank 0 sent
    deadline: float
    knows_nonce: bool = False  # its own nonce has come, and the key is made


class RollCall:
    """The ranks that have come, and the strangers that were turned away."""

    def __init__(self, place: Place, listener: socket.socket, secret: bytes) -> None:
        self.place = place
        self.peers: dict[int, Peer] = {}
        self.met_at = ""  # rank 0's address on the network over which the first rank came
        self._listener, self._secret = listener, secret
        self._callers: list[Caller] = []  # the one who has waited longest comes first
        self._strangers: list[str] = []  # their addresses
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)

    def wait(self, deadline: float) -> bool:
        """Wait until all ranks have come; False if they have not before the deadline."""
        while len(self.peers) < self.place.size - 1 and time.monotonic() < deadline:
            for key, _ in self._selector.select(min(max(deadline - time.monotonic(), 0), 0.5)):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.data in self._callers:
                    self._serve(key.data)
            for caller in [c for c in self._callers if time.monotonic() > c.deadline]:
                self._turn_away(caller)
        for caller in list(self._callers):
            self._turn_away(caller)
        self._selector.close()
        return len(self.peers) == self.place.size - 1

    def missing(self) -> list[int]:
        """The ranks that have not come."""
        return sorted(set(range(1, self.place.size)) - set(self.peers))

    def strangers(self) -> str:
        """A line on the connections that were turned away; empty if there were none."""
        if not self._strangers:
            return ""
        count = len(self._strangers)
        return (
            f"warning: {self.place} turned away {count} connection{'s' * (count > 1)} that "
            f"did not have this run's key, the first from {self._strangers[0]}: another program "
            "reaches the port of the roll call. The run is not affected"
        )

    def _accept(self) -> None:
        try:
            channel, (address, _) = self._listener.accept()
        except OSError:  # the caller has left again
            return
        if len(self._callers) >= MAX_CALLERS:
            self._turn_away(self._callers[0])
        channel.setblocking(False)
        deadline = time.monotonic() + HANDSHAKE_SECONDS
        caller = Caller(Connection(channel), address, new_nonce(), deadline)
        self._callers.append(caller)
        self._selector.register(channel, selectors.EVENT_READ, caller)
        try:
            channel.sendall(caller.nonce + b"\n")
        except OSError:
            self._turn_away(caller)

    def _serve(self, caller: Caller) -> None:
        """Read what a caller has sent, and decide once its hello is complete."""
        if not caller.connection.read_some(HELLO_BYTES):
            if caller.connection.is_untouched:  # perhaps a rank, which waited too long for a nonce
                self._forget(caller)
                caller.connection.close()
            else:
                self._turn_away(caller)
            return
        while (line := caller.connection.next_line()) is not None:
            if caller.knows_nonce:
                self._decide(caller, caller.connection.open(line))
                return
            if len(line) != 2 * NONCE_BYTES:
                self._turn_away(caller)
                return
            caller.connection.agree_on_key(self._secret, caller.nonce, line, is_chief=True)
            caller.knows_nonce = True

    def _decide(self, caller: Caller, message: dict[str, Any] | None) -> None:
        """Admit the caller to the run, refuse it with a reason, or turn the stranger away."""
        if message is None:
            self._turn_away(caller)
            return
        self._forget(caller)
        connection = caller.connection
        connection.channel.setblocking(True)
        refused = self._reason_against(message.get("hello"))
        try:
            if refused:
                connection.send(refused=refused)
                connection.close()
                return
            connection.send(welcome=True)
        except OSError:
            connection.close()  # the rank tries again
            return
        self.peers[message["hello"]["rank"]] = Peer(message["hello"], connection)
        self.met_at = self.met_at or connection.channel.getsockname()[0]

    def _reason_against(self, facts: Any) -> str:
        """Why a caller with the key cannot be a rank of this run; empty if it can."""
        if not isinstance(facts, dict) or not all(
            isinstance(facts.get(name), str) for name in ("host", "address")
        ):
            return "its hello is not one of this version of the program"
        rank, size = facts.get("rank"), self.place.size
        if type(rank) is not int or not 0 < rank < size:
            return f"it is rank {rank!r}, and the ranks that rank 0 waits for are 1 to {size - 1}"
        former = self.peers.get(rank)
        if former and not _has_closed(former.connection.channel):
            return (
                f"rank {rank} has come already, as process {former.facts.get('pid')} on "
                f"{former.facts['host']}"
            )
        return ""

    def _turn_away(self, caller: Caller) -> None:
        self._strangers.append(caller.address)
        self._forget(caller)
        caller.connection.close()

    def _forget(self, caller: Caller) -> None:
        self._callers.remove(caller)
        self._selector.unregister(caller.connection.channel)


def _has_closed(channel: socket.socket) -> bool:
    """Has the other side closed? Nothing is read: a rank is silent until it has the roll."""
    try:
        return channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
