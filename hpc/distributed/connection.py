"""TCP between ranks: a connection of JSON lines, a connection to rank 0, a free port."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any, TextIO

Endpoint = tuple[str, int]


class Connection:
    """JSON lines over a socket; several threads may write."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.channel.settimeout(None)
        self._lines: TextIO = channel.makefile("r", encoding="utf-8")
        self._lock = threading.Lock()

    def send(self, **message: Any) -> None:
        """Write one message. Raises OSError where the other side is gone."""
        with self._lock:
            self.channel.sendall((json.dumps(message) + "\n").encode())

    def receive(self) -> dict[str, Any] | None:
        """The next message; None when the other side has closed."""
        try:
            line = self._lines.readline()
            return json.loads(line) if line.endswith("\n") else None
        except (OSError, ValueError):
            return None


def free_port() -> int:
    """A TCP port that is free on this host now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def connect(endpoints: list[Endpoint], deadline: float) -> socket.socket | None:
    """A connection to the first endpoint that answers; None if none does before the deadline."""
    # On another host, rank 0's loopback address is that host itself: use it only where there is
    # no network.
    reachable = [e for e in endpoints if not e[0].startswith("127.")] or endpoints
    while time.monotonic() < deadline:
        for endpoint in reachable:
            try:
                left = max(deadline - time.monotonic(), 0.001)
                return socket.create_connection(endpoint, timeout=min(left, 3.0))
            except OSError:
                continue
        time.sleep(0.2)
    return None
