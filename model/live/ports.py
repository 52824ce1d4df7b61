"""MIDI ports by name, through mido and the system's MIDI (ALSA, JACK, CoreMIDI)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


def list_ports() -> str:
    """The MIDI ports of this machine as lines of text."""
    with _midi_system() as mido:
        outputs, inputs = mido.get_output_names(), mido.get_input_names()
    lines = [f"output (--live port:NAME)  {name}" for name in outputs]
    lines += [f"input  (--input NAME)      {name}" for name in inputs]
    return "\n".join(lines) or "no MIDI ports; --live virtual:NAME makes one"


def open_output(name: str, *, virtual: bool = False) -> Any:
    """Mido's output port whose name contains `name`, or a new one that others connect to."""
    with _midi_system() as mido:
        whole = name if virtual else _found(name, mido.get_output_names(), "output")
        return mido.open_output(whole, virtual=virtual)


def open_input(name: str) -> Any:
    """Mido's input port whose name contains `name`."""
    with _midi_system() as mido:
        return mido.open_input(_found(name, mido.get_input_names(), "input"))


def _found(name: str, names: list[str], direction: str) -> str:
    """The port of exactly this name, else the first that contains it. Raises ValueError."""
    matches = [known for known in names if known == name] or [n for n in names if name in n]
    if not matches:
        known = ", ".join(map(repr, names)) or "none"
        raise ValueError(
            f"no MIDI {direction} is called {name!r}; there are: {known}. See --list-ports"
        )
    return matches[0]


@contextlib.contextmanager
def _midi_system() -> Iterator[Any]:
    """The module mido. Raises ValueError, naming what is missing, for any error of its backend.

    ALSA writes to standard error while it fails; that is kept back.
    """
    try:
        import mido
    except ImportError:
        raise ValueError(
            "MIDI ports need mido. Run: pip install -c constraints.txt -e '.[ports]'"
        ) from None
    from model.rendering.audio import captured_output

    try:
        with captured_output():
            yield mido
    except ImportError as error:
        raise ValueError(
            f"MIDI ports need python-rtmidi ({error}). Run: pip install -c constraints.txt -e "
            "'.[ports]'"
        ) from None
    except ValueError:
        raise
    except Exception as error:  # rtmidi's own exceptions pass through mido
        raise ValueError(
            f"this machine's MIDI system does not answer: {error} On Linux the ALSA sequencer is "
            "needed (as root: modprobe snd-seq), which containers often lack; --live synth and "
            "--live stdout work without"
        ) from None
