"""Another rank, as this one knows it by its messages."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from hpc.distributed.connection import Connection


@dataclass
class Peer:
    """Another rank, and what its messages have said so far."""

    facts: dict[str, Any]
    connection: Connection
    step: int = 0  # the last one it finished
    limit: float = 0.0  # seconds that it may take for its present work
    heard: float = field(default_factory=time.monotonic)
    left: bool = False  # it said bye
    is_suspected: bool = False  # a warning has named it
    is_cut_off: bool = False  # its host has not confirmed the last heartbeat to it

    @property
    def silent_seconds(self) -> float:
        """How long nothing has been heard of it."""
        return time.monotonic() - self.heard

    def loss(self, how: str, own_step: int) -> str:
        """The words that name it as lost, by a rank that is in the step after `own_step`."""
        step = max(self.step, own_step - 1, 0)
        return f"rank {self.facts['rank']} on {self.facts['host']} {how} after step {step}"

    def silence(self, is_starting: bool) -> str:
        """How long it has been silent, in words, and whether its host at least answers."""
        host = "does not answer" if self.is_cut_off else "answers"
        if is_starting and not self.is_cut_off:
            host += "; where it is busy, --start-timeout must be longer"
        return f"has been silent for {self.silent_seconds:.0f} s (its host {host})"
