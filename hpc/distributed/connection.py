"""TCP between ranks: signed JSON lines, a connection to rank 0, a free port.

Any process that reaches the port can connect, so every line carries a signature (HMAC-SHA256) by a
key that only this connection has: it is made from the run's secret, which the launcher carries to
all ranks, and a random number (nonce) of each side. The signature covers the sender's side and the
number of the message, so that no line can be replayed, left out or sent back. The lines are not
encrypted: they hold no secret.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import math
import secrets
import socket
import struct
import termios
import threading
import time
from collections.abc import Iterator
from typing import Any

Endpoint = tuple[str, int]

HELLO_BYTES = 2**18  # the longest line that is read from a caller not yet known
MESSAGE_BYTES = 2**26  # and from a rank: the roll holds the facts of all
NONCE_BYTES = 32
HANDSHAKE_SECONDS = 10.0  # for the other side's nonce and first message


def new_nonce() -> bytes:
    """A random number as hexadecimal digits, which no other connection has."""
    return secrets.token_hex(NONCE_BYTES).encode()


class Connection:
    """Signed JSON lines over a socket; several threads may write."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self._buffer = b""
        self._lock = threading.Lock()
        self._key = b""
        self._side, self._other_side = b"", b""
        self._num_sent = self._num_received = 0
        self.is_untouched = True  # nothing has been read

    def agree_on_key(
        self, secret: bytes, chief_nonce: bytes, other_nonce: bytes, *, is_chief: bool
    ) -> None:
        """Sign and check all lines from now on by this connection's own key."""
        nonces = b"chorale %b %b" % (chief_nonce, other_nonce)
        self._key = hmac.digest(secret, nonces, hashlib.sha256)
        sides = (b"chief", b"other") if is_chief else (b"other", b"chief")
        self._side, self._other_side = sides

    def send(self, **message: Any) -> None:
        """Write one message. Raises OSError where the other side is gone."""
        body = json.dumps(message).encode()
        with self._lock:
            signature = self._sign(self._side, self._num_sent, body)
            self._num_sent += 1
            self.channel.sendall(b"%b %b\n" % (signature, body))

    def receive(
        self, deadline: float = math.inf, limit: int = MESSAGE_BYTES
    ) -> dict[str, Any] | None:
        """The next message; None when the other side has closed, or the line is not its next one.

        None also at the `deadline`, and for a line of more than `limit` bytes.
        """
        line = self.read_line(deadline, limit)
        return None if line is None else self.open(line)

    def open(self, line: bytes) -> dict[str, Any] | None:
        """The message in a signed line; None unless it is the other side's next one."""
        signature, _, body = line.partition(b" ")
        expected = self._sign(self._other_side, self._num_received, body)
        if not self._key or not hmac.compare_digest(signature, expected):
            return None
        self._num_received += 1
        message = json.loads(body)
        return message if isinstance(message, dict) else None

    def read_line(self, deadline: float, limit: int) -> bytes | None:
        """The next line without its end; None where none comes before the deadline."""
        while True:
            if (line := self.next_line()) is not None:
                return line
            left = deadline - time.monotonic()
            self.channel.settimeout(None if left == math.inf else max(left, 0.001))
            if not self.read_some(limit):
                return None

    def next_line(self) -> bytes | None:
        """The first line of what has been read, without its end; None if it is incomplete."""
        line, end, rest = self._buffer.partition(b"\n")
        if not end:
            return None
        self._buffer = rest
        return line

    def read_some(self, limit: int) -> bool:
        """Read what has come; False if the other side has closed or wrote more than `limit`."""
        try:
            chunk = self.channel.recv(2**16)
        except OSError:
            return False
        self._buffer += chunk
        self.is_untouched = self.is_untouched and not chunk
        return bool(chunk) and len(self._buffer) <= limit

    def has_unconfirmed(self) -> bool:
        """Has the other host not confirmed some of what was sent? It does so if a process hangs.

        tcp(7), SIOCOUTQ. False for a connection that is closed.
        """
        try:
            answer = fcntl.ioctl(self.channel, termios.TIOCOUTQ, bytes(4))
        except (OSError, ValueError):
            return False
        return bool(struct.unpack("i", answer)[0])

    def close(self) -> None:
        """Close the socket."""
        self.channel.close()

    def _sign(self, side: bytes, number: int, body: bytes) -> bytes:
        return (
            hmac.new(self._key, b"%b %d %b" % (side, number, body), hashlib.sha256)
            .hexdigest()
            .encode()
        )


def free_port() -> int:
    """A TCP port that is free on this host now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def connections(endpoints: list[Endpoint], deadline: float) -> Iterator[socket.socket]:
    """Connections to the endpoints, one after the other, again and again until the deadline."""
    # On another host, rank 0's loopback address is that host itself: use it only where there is
    # no network.
    reachable = [e for e in endpoints if not e[0].startswith("127.")] or endpoints
    while time.monotonic() < deadline:
        for endpoint in reachable:
            try:
                left = max(deadline - time.monotonic(), 0.001)
                yield socket.create_connection(endpoint, timeout=min(left, 3.0))
            except OSError:
                continue
        time.sleep(0.2)
