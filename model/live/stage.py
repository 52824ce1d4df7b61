"""Music played while it is composed: the playing loop, and what it tells at the end.

One thread composes some seconds ahead (composing_ahead.py), this one plays each event when
the clock says so (clock.py). Where composing falls behind, the music waits and goes on
in its rhythm; that is counted.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from model.live.clock import ON, Event, MusicClock
from model.live.composing_ahead import ComposingAhead, Passage
from model.live.keys import Controls, Keyboard
from model.live.players import Player

LATE = 0.02  # seconds: what is less, nobody hears as late
LONGEST_NAP = 0.05  # seconds between two looks at the composer, the keys and the end


@dataclass
class Performance:
    """What was played, and how punctually."""

    num_notes: int = 0
    num_events: int = 0
    num_late: int = 0  # events played more than LATE after they were due
    worst_lateness: float = 0.0  # seconds
    num_waits: int = 0  # times the music stopped for the composer
    waited: float = 0.0  # seconds in all
    seconds: float = 0.0

    def count(self, event: Event, lateness: float) -> None:
        """Add an event played so many seconds after it was due."""
        self.num_events += 1
        self.num_notes += event.kind == ON
        self.num_late += lateness > LATE
        self.worst_lateness = max(self.worst_lateness, lateness)

    def report(self) -> str:
        """A line of text."""
        line = (
            f"played {self.num_notes} notes in {self.seconds:.1f} s; {self.num_late} of "
            f"{self.num_events} events late (by more than {1000 * LATE:.0f} ms), the latest by "
            f"{1000 * self.worst_lateness:.1f} ms"
        )
        if self.num_waits:
            line += f"; waited {self.num_waits} times for the composer, {self.waited:.2f} s in all"
        return line


@dataclass(frozen=True)
class Limits:
    """When to stop: before a step, or after some seconds; never where both are None."""

    steps: int | None = None
    seconds: float | None = None


class Stage:
    """Plays music to one player, under one set of controls; counts what it plays."""

    def __init__(
        self, player: Player, controls: Controls, keys: Keyboard, look_ahead: float
    ) -> None:
        """`look_ahead`: seconds of music to have composed before they are due."""
        self.controls = controls
        self.keys = keys
        self.performance = Performance()
        self._player = player
        self._look_ahead = look_ahead
        self._opened: float | None = None  # when the first music began

    def play(
        self,
        passages: Iterator[Passage],
        clock: Callable[[float], MusicClock],
        limits: Limits,
    ) -> None:
        """Play until the limits, the end of the music, or q; all keys are up afterwards.

        `clock` makes the clock of music that starts at a given time.
        """
        ahead = ComposingAhead(passages)
        try:
            buffer = clock(time.monotonic()).steps_in(self._look_ahead)
            while not ahead.wait_for(min(buffer, limits.steps or buffer) - 1, LONGEST_NAP):
                self.keys.wait(0)
                if self.controls.stop:
                    return
            if self._opened is None:
                self._player.begin()
                self._opened = time.monotonic()
            self._play(ahead, clock(time.monotonic()), limits, self._opened)
        finally:
            if self._opened is not None:
                self.performance.seconds = time.monotonic() - self._opened
            self._player.release(self.performance.seconds)
            ahead.close()

    def _play(
        self, ahead: ComposingAhead, clock: MusicClock, limits: Limits, opened: float
    ) -> None:
        waiting: deque[Event] = deque()
        last_step = math.inf if limits.steps is None else limits.steps
        end = math.inf if limits.seconds is None else time.monotonic() + limits.seconds
        while not self.controls.stop:
            now = time.monotonic()
            if clock.tempo != self.controls.tempo:
                clock.set_tempo(self.controls.tempo, now)
            step = clock.step_at(now)
            if now >= end:
                return
            ahead.want(step + clock.steps_in(self._look_ahead))
            ended, horizon = ahead.ended, ahead.horizon  # before take(): what it gives is complete
            waiting.extend(ahead.take())
            if not waiting and ended and limits.steps is None:
                return
            if not waiting and not ended and horizon <= min(step, last_step - 1):
                self._wait_for_composer(ahead, clock, min(step, last_step - 1))
                continue
            if step >= last_step and not (waiting and waiting[0].step < last_step):
                return  # not before: what a busy machine held up is played late, not lost
            due = clock.time_of(min(waiting[0].step, last_step)) if waiting else math.inf
            if due > now:
                self.keys.wait(max(0, min(due - now, LONGEST_NAP, end - now)))
                continue
            event = waiting.popleft()
            self._player.play(event, now - opened)
            self.performance.count(event, now - due)

    def _wait_for_composer(self, ahead: ComposingAhead, clock: MusicClock, step: float) -> None:
        """Hold the music where it is until there is more."""
        began = time.monotonic()
        while not ahead.wait_for(step, LONGEST_NAP) and not self.controls.stop:
            self.keys.wait(0)
        now = time.monotonic()
        clock.hold(step, now)
        self.performance.num_waits += 1
        self.performance.waited += now - began
