"""A mido backend (MIDO_BACKEND) of ports within this process, for machines without MIDI."""

from __future__ import annotations

from typing import Any

from mido.ports import BaseInput, BaseOutput

OUTPUTS, INPUTS = ["Tone Generator 1"], ["Stage Keys 1"]
sent: list[Any] = []  # what was sent to any output, in order
to_come: list[Any] = []  # the messages of the input, one batch for each poll
closed: list[str] = []


class Output(BaseOutput):
    """Keeps the messages that are sent."""

    def _open(self, **options: Any) -> None:
        self.is_virtual = options.get("virtual", False)

    def _send(self, message: Any) -> None:
        sent.append(message)

    def _close(self) -> None:
        closed.append(self.name)


class Input(BaseInput):
    """Receives a batch of messages at each poll."""

    def _receive(self, block: bool = True) -> None:
        if to_come:
            self._messages.extend(to_come.pop(0))


def get_devices(**options: Any) -> list[dict[str, Any]]:
    """The ports, as mido asks for them."""
    both = [*((name, False) for name in OUTPUTS), *((name, True) for name in INPUTS)]
    return [{"name": name, "is_input": heard, "is_output": not heard} for name, heard in both]
