"""The keys by which a listener changes tempo, temperature and top-p while music is played."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from model.composing.sampling import Sampling
from pipeline.scores.midi.writer import FASTEST, SLOWEST

HELP = "keys: + - tempo, T t temperature, P p top-p, q ends"
TEMPO_FACTOR, STEP = 1.05, 0.05
COLDEST, HOTTEST = 0.05, 3.0


class Controls:
    """The current settings. The composing thread reads `sampling`, the playing thread `tempo`."""

    def __init__(self, sampling: Sampling, tempo: float) -> None:
        self.sampling = sampling
        self.tempo = tempo
        self.stop = False

    def press(self, key: str) -> str | None:
        """Change the setting of a key; all settings as text, None for a key without a meaning."""
        sampling = self.sampling
        if key in "+=-":
            factor = 1 / TEMPO_FACTOR if key == "-" else TEMPO_FACTOR
            self.tempo = min(max(self.tempo * factor, SLOWEST), FASTEST)
        elif key in "tT":
            warmer = sampling.temperature + (STEP if key == "T" else -STEP)
            warmth = round(min(max(warmer, COLDEST), HOTTEST), 2)
            self.sampling = replace(sampling, temperature=warmth)
        elif key in "pP":
            wider = sampling.top_p + (STEP if key == "P" else -STEP)
            self.sampling = replace(sampling, top_p=round(min(max(wider, STEP), 1.0), 2))
        elif key == "q":
            self.stop = True
        else:
            return None
        return str(self)

    def __str__(self) -> str:
        return (
            f"tempo {self.tempo:.4g}, temperature {self.sampling.temperature:g}, "
            f"top-p {self.sampling.top_p:g}"
        )


class Keyboard:
    """Waits for the playing thread, and meanwhile passes the terminal's keys to the controls."""

    def __init__(self, controls: Controls, descriptor: int | None) -> None:
        """`descriptor` of the terminal; without a terminal None: then `wait` only sleeps."""
        self._controls = controls
        self._descriptor = descriptor

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or earlier at a key."""
        if self._descriptor is None:
            time.sleep(seconds)
        elif select.select([self._descriptor], [], [], seconds)[0]:
            key = os.read(self._descriptor, 1)
            if not key:  # the terminal was closed
                self._descriptor = None
            elif said := self._controls.press(key.decode("latin-1")):
                print(said, file=sys.stderr)


@contextlib.contextmanager
def keyboard(controls: Controls) -> Iterator[Keyboard]:
    """The keyboard of the terminal on standard input, if it is one; no key needs Enter."""
    try:
        descriptor = sys.stdin.fileno()
        is_terminal = os.isatty(descriptor)
    except (AttributeError, OSError, ValueError):  # no standard input, or one without a descriptor
        is_terminal = False
    if not is_terminal:
        yield Keyboard(controls, None)
        return
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        print(HELP, file=sys.stderr)
        yield Keyboard(controls, descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
