"""The watch over a run: heartbeats between ranks, time limits, and the end of a process.

When a rank dies, hangs or is cut off, the collective libraries leave the others waiting for ever.
The watchdog then ends every rank with one line that names the lost one. It starts with the
connections that the rendezvous opened: rank 0 has one to every rank, every other rank has one to
rank 0. The messages, one signed JSON object a line:

step      heartbeat: the last step that the sender finished; `limit`: seconds for its present work
bye       the sender has finished its work
failed    this rank raised an error and will print it
lost      the sender ends, for the reason given in words, after `wait` seconds

A host that is cut off is left to mpirun, whose connection to it notices by its keepalive. That
works only while mpirun has sent nothing there that is unconfirmed (Linux then waits for 15
minutes), and the end of any rank makes it send something. So no rank ends before mpirun has
noticed.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol

from hpc.distributed.launcher import Place
from hpc.distributed.mpirun import EXIT_PEER_LOST, KEEPALIVE_SECONDS
from hpc.distributed.peer import Peer
from hpc.distributed.time_limit import stretched
from pipeline.runtime.command import FAREWELL_SECONDS

HEARTBEAT_SECONDS = 1.0
BLAME_SECONDS = 5.0
WARNING_SECONDS = 10.0  # of silence in a step, before a line names the silent rank
NOTICE_SECONDS = KEEPALIVE_SECONDS + 5.0  # after which mpirun has noticed a host that is cut off
LAST_WORDS_SECONDS = 5.0  # to read the log of a lost rank
CODE_SECONDS = 1.0  # after which mpirun knows its exit code, and not ours, as the first
WHAT_FOLLOWS = {
    None: "continues from the last checkpoint, if there is one",
    True: "continues from the last checkpoint",
    False: "begins anew: there is no checkpoint yet",
}
COLLECTIVES = ("tensorflow", "horovod", "mpi4py")  # modules of errors that others may have caused


class Log(Protocol):
    """The log of this rank, beside those of the others."""

    def last_words(self, facts: dict[str, Any]) -> str:
        """The end of the log of the rank with these facts."""

    def close(self) -> None:
        """Wait until all is written."""


class Watchdog:
    """Ends this process when another rank is lost, or when this rank exceeds its time limit.

    A context: its end says goodbye to the other ranks or, after an error, that this rank failed.
    """

    def __init__(self, place: Place, timeout: float) -> None:
        """`timeout`: seconds that a step may take; `allow` gives other work a limit of its own."""
        self.place = place
        self._timeout = timeout
        self.same_command = "The same command"  # that continues the run
        self.has_checkpoint: bool | None = None  # has the run one to continue from? None: unknown
        self._peers: dict[int, Peer] = {}
        self._step = 0
        self._begin(timeout, "starting")
        self._over = threading.Event()
        # A file of its own, because the program redirects the common one while libraries start.
        self._stderr = os.fdopen(os.dup(2), "w")
        self._log: Log | None = None

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

    def use_log(self, log: Log) -> None:
        """Write later lines where stderr leads now, which is a log too.

        Rank 0 shows the end of a lost rank's log.
        """
        self._stderr, self._log = os.fdopen(os.dup(2), "w"), log

    def progress(self, step: int, doing: str = "in a step") -> None:
        """Record that the main thread is alive and has finished `step`; the time limit restarts."""
        self._step = step
        is_shorter = self._limit > self._timeout
        self._begin(self._timeout, doing)
        if is_shorter:  # at once: until then the others wait for as long as the work before allowed
            self._send_heartbeat()

    def allow(self, seconds: float, doing: str) -> None:
        """Give the work that begins now, such as compiling, a time limit of its own.

        On a busy machine it is longer than these seconds (time_limit.py).
        """
        self._begin(stretched(seconds), doing)
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
                time.sleep(2 * NOTICE_SECONDS)
        self._over.set()
        self._send_all(**{"failed" if error is not None else "bye": self.place.rank})
        self._stderr.close()

    # The watch --------------------------------------------------------------------------------

    def _read(self, peer: Peer) -> None:
        """Read a peer's messages until it closes its connection."""
        while message := peer.connection.receive():
            peer.heard, peer.is_suspected = time.monotonic(), False
            if "step" in message:
                peer.step, peer.limit = message["step"], message["limit"]
            elif "bye" in message:
                peer.left = True
            elif "failed" in message:
                self._end_quietly(message["failed"], peer)
            elif "lost" in message:
                self._end(message["lost"], message["wait"])
        if not peer.left and not self._over.is_set():
            self._lose(peer, "has died (its connection is gone)")

    def _watch(self) -> None:
        """Send heartbeats; end this process when a peer is silent or this rank stands still."""
        checked = time.monotonic()
        while not self._over.wait(HEARTBEAT_SECONDS):
            now = time.monotonic()
            late = now - checked - HEARTBEAT_SECONDS
            if late > HEARTBEAT_SECONDS:
                self._leave_out(late)
            checked = now
            for peer in self._peers.values():
                peer.is_cut_off = peer.connection.has_unconfirmed()
            self._send_heartbeat()
            for peer in list(self._peers.values()):
                if not peer.left:
                    self._judge(peer)
            standing = now - self._progress
            if standing > self._limit:
                others = "".join(f"; rank {r}: step {p.step}" for r, p in self._peers.items())
                flag = "--start-timeout" if self._limit > self._timeout else "--timeout"
                self._end(
                    f"{self.place} has been {self._doing} for {standing:.0f} s, its limit "
                    f"({flag}), after step {self._step}{others}"
                )

    def _judge(self, peer: Peer) -> None:
        """Warn of a peer that has been silent, or end this process."""
        # Half its limit, so that a silent rank is named before this one's own time, spent waiting
        # for it, is up.
        patience = peer.limit / 2
        is_starting = peer.limit > self._timeout
        if peer.silent_seconds > patience:
            self._lose(peer, peer.silence(is_starting))
        elif not peer.is_suspected and peer.silent_seconds > max(WARNING_SECONDS, patience / 3):
            peer.is_suspected = True
            loss = peer.loss(peer.silence(is_starting), self._step)
            self._say(f"warning: {loss}; {self.place} waits for it until that is {patience:.0f} s")

    def _somebody_is_silent(self) -> bool:
        """Has a peer been silent for three heartbeats?"""
        return any(
            peer.silent_seconds > 3 * HEARTBEAT_SECONDS and not peer.left
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

    # The end of this process ------------------------------------------------------------------

    def _lose(self, peer: Peer, how: str) -> None:
        """End this process because of a lost peer; on rank 0 with the end of that one's log."""
        self._end(peer.loss(how, self._step), lost=peer)

    def _end(self, why: str, wait: float = 0.0, lost: Peer | None = None) -> None:
        """Name the reason here and to the other ranks; after `wait` seconds end this process."""
        if self._over.is_set():
            return
        self._over.set()
        wait = max(wait, self._seconds_until_mpirun_notices())
        self._send_all(lost=why, wait=wait)
        follows = WHAT_FOLLOWS[self.has_checkpoint]
        self._say(f"error: {why}; {self.place} ends. {self.same_command} {follows}")
        if lost and self.place.is_chief:
            # In a thread: a file system of the lost host may never answer.
            words = threading.Thread(target=self._show_log_of, args=(lost,), daemon=True)
            words.start()
            words.join(LAST_WORDS_SECONDS)
        time.sleep(max(wait, 0.0))
        self._exit()

    def _end_quietly(self, failed_rank: int, peer: Peer) -> None:
        """End this process without a line, later than the failing rank, which prints the error.

        `peer` is that rank, or rank 0, which told us and ends later than it.
        """
        self._over.set()
        if self.place.is_chief:
            self._send_all(failed=failed_rank)
        deadline = time.monotonic() + FAREWELL_SECONDS
        while peer.connection.receive(deadline):
            pass
        time.sleep(max(CODE_SECONDS, self._seconds_until_mpirun_notices()))
        self._exit()

    def _seconds_until_mpirun_notices(self) -> float:
        """Seconds until mpirun has noticed every host that is cut off; see the top of this file."""
        cut_off = [p for p in self._peers.values() if p.is_cut_off and not p.left]
        if self.place.launcher != "mpirun":
            return 0.0
        return max((NOTICE_SECONDS - peer.silent_seconds for peer in cut_off), default=0.0)

    def _exit(self) -> None:
        """End this process at once: its main thread may be blocked in a collective for ever."""
        self._stderr.close()
        if self._log:
            self._log.close()
        os._exit(EXIT_PEER_LOST)

    def _show_log_of(self, peer: Peer) -> None:
        if self._log:
            self._say(self._log.last_words(peer.facts))

    def _say(self, line: str) -> None:
        with suppress(ValueError):  # the main thread has just closed it, at its end
            print(line, file=self._stderr, flush=True)

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
