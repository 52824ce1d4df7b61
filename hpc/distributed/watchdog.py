"""The watch over a run: heartbeats between ranks, time limits, and the end of a process.

When a rank dies, hangs or is cut off, the collective libraries leave the others waiting for ever.
The watchdog then ends every rank with one line that names the lost one. It starts with the
connections that the rendezvous opened: rank 0 has one to every rank, every other rank has one to
rank 0. The messages, one signed JSON object a line:

step      heartbeat: the last step that the sender finished; `limit`: seconds for its present work
bye       the sender has finished its work
failed    this rank raised an error and will print it
lost      the sender ends, for the reason given in words
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from hpc.distributed.connection import Connection
from hpc.distributed.launcher import Place

HEARTBEAT_SECONDS = 1.0
BLAME_SECONDS = 5.0
FAREWELL_SECONDS = 2.0  # for the failing rank to print its error before mpirun ends it
COLLECTIVES = ("tensorflow", "horovod", "mpi4py")  # modules of errors that others may have caused
EXIT_PEER_LOST = 76  # sysexits' EX_PROTOCOL: the other side did not do its part


@dataclass
class Peer:
    """Another rank, and what its messages have said so far."""

    facts: dict[str, Any]
    connection: Connection
    step: int = 0  # the last one it finished
    limit: float = 0.0  # seconds that it may take for its present work
    heard: float = field(default_factory=time.monotonic)
    left: bool = False  # it said bye


class Watchdog:
    """Ends this process when another rank is lost, or when this rank exceeds its time limit.

    A context: its end says goodbye to the other ranks or, after an error, that this rank failed.
    """

    def __init__(self, place: Place, timeout: float) -> None:
        """`timeout`: seconds that a step may take; `allow` gives other work a limit of its own."""
        self.place = place
        self._timeout = timeout
        self.same_command = "The same command"  # that continues the run
        self._peers: dict[int, Peer] = {}
        self._step = 0
        self._begin(timeout, "starting")
        self._over = threading.Event()
        # A file of its own, because the program redirects the common one while libraries start.
        self._stderr = os.fdopen(os.dup(2), "w")

    # What the program reports -----------------------------------------------------------------

    def start(self) -> None:
        """Begin to check this rank's own time limit."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def watch_over(self, peers: dict[int, Peer]) -> None:
        """Begin to check the other ranks, keyed by rank, and to send them heartbeats."""
        for peer in peers.values():
            # It had nothing to send before, and is in the same phase of its start as this rank.
            peer.heard, peer.limit = time.monotonic(), self._limit
        self._peers = peers
        for rank, peer in peers.items():
            threading.Thread(
                target=self._read, args=(peer,), name=f"rank {rank}", daemon=True
            ).start()

    def progress(self, step: int, doing: str = "in a step") -> None:
        """Record that the main thread is alive and has finished `step`; the time limit restarts."""
        self._step = step
        is_shorter = self._limit > self._timeout
        self._begin(self._timeout, doing)
        if is_shorter:  # at once: until then the others wait for as long as the work before allowed
            self._send_heartbeat()

    def allow(self, seconds: float, doing: str) -> None:
        """Give the work that begins now, such as compiling, a time limit of its own."""
        self._begin(seconds, doing)
        # At once: the work may block the interpreter, and with it the heartbeats.
        self._send_heartbeat()

    def _begin(self, seconds: float, doing: str) -> None:
        self._progress, self._limit, self._doing = time.monotonic(), seconds, doing

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if type(error).__module__.startswith(COLLECTIVES) and self._peers:
            # A collective also fails when another rank is gone. The watch then names that rank and
            # ends this process: within moments if it has died, at its limit if it is silent.
            self._over.wait(BLAME_SECONDS)
            while self._somebody_is_silent() and not self._over.wait(HEARTBEAT_SECONDS):
                pass
            if self._over.is_set():
                # Another thread is ending this process, and says why: say nothing beside it.
                time.sleep(2 * FAREWELL_SECONDS)
        self._over.set()
        self._send_all(**{"failed" if error is not None else "bye": self.place.rank})

    # The watch --------------------------------------------------------------------------------

    def _read(self, peer: Peer) -> None:
        """Read a peer's messages until it closes its connection."""
        while message := peer.connection.receive():
            peer.heard = time.monotonic()
            if "step" in message:
                peer.step, peer.limit = message["step"], message["limit"]
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
        checked = time.monotonic()
        while not self._over.wait(HEARTBEAT_SECONDS):
            now = time.monotonic()
            late = now - checked - HEARTBEAT_SECONDS
            if late > HEARTBEAT_SECONDS:
                self._leave_out(late)
            checked = now
            self._send_heartbeat()
            for peer in list(self._peers.values()):
                # Half its limit, so that a silent rank is named before this one's own time, spent
                # waiting for it, is up.
                silent = now - peer.heard
                if silent > peer.limit / 2 and not peer.left:
                    self._end(self._loss(peer, f"has been silent for {silent:.0f} s"))
            standing = now - self._progress
            if standing > self._limit:
                others = "".join(f"; rank {r}: step {p.step}" for r, p in self._peers.items())
                self._end(
                    f"{self.place} has been {self._doing} for {standing:.0f} s, its limit, after "
                    f"step {self._step}{others}"
                )

    def _somebody_is_silent(self) -> bool:
        """Has a peer missed two heartbeats?"""
        now = time.monotonic()
        return any(
            now - peer.heard > 3 * HEARTBEAT_SECONDS and not peer.left
            for peer in self._peers.values()
        )

    def _leave_out(self, seconds: float) -> None:
        """Do not count this time, in which this process did not run, against any rank.

        It was stopped, or suspended with its job or its virtual machine, or a library held the
        interpreter's lock: what the others sent meanwhile has not been read yet.
        """
        now = time.monotonic()
        self._progress = min(self._progress + seconds, now)
        for peer in self._peers.values():
            peer.heard = min(peer.heard + seconds, now)

    def _loss(self, peer: Peer, how: str) -> str:
        """The line that names a lost peer."""
        rank, host = peer.facts["rank"], peer.facts["host"]
        return f"rank {rank} on {host} {how} after step {max(peer.step, self._step - 1, 0)}"

    # The end of this process ------------------------------------------------------------------

    def _end(self, why: str) -> None:
        """End this process, and name the reason here and to the other ranks."""
        if self._over.is_set():
            return
        self._over.set()
        self._send_all(lost=why)
        print(
            f"error: {why}; {self.place} ends. {self.same_command} continues from the last "
            "checkpoint",
            file=self._stderr,
            flush=True,
        )
        # The main thread may be blocked in a collective for ever: no clean-up can be waited for.
        os._exit(EXIT_PEER_LOST)

    def _end_quietly(self, failed_rank: int) -> None:
        """End this process without a line, later than the failing rank, which prints the error."""
        self._over.set()
        if self.place.is_chief:
            self._send_all(failed=failed_rank)
        time.sleep(FAREWELL_SECONDS)
        os._exit(EXIT_PEER_LOST)

    def _send_heartbeat(self) -> None:
        self._send_all(step=self._step, limit=self._limit)

    def _send_all(self, **message: Any) -> None:
        """Send a message to every peer that is still there."""
        for peer in list(self._peers.values()):
            if not peer.left:
                try:
                    peer.connection.send(**message)
                except OSError:
                    continue  # the thread that reads from it notices, and names it
