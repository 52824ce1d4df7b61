"""Music played while it is composed: the playing loop, and its report.

One thread composes some seconds ahead (composing_ahead.py). This one plays each event when the
clock (clock.py) says that it is due. If composing falls behind, the music waits, counts the wait,
and continues in its rhythm.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from model.live.clock import ON, KeyEvent, MusicClock
from model.live.composing_ahead import ComposingAhead, Passage
from model.live.keys import Controls, Keyboard
from model.live.players import Player

LATE = 0.02  # seconds: nobody hears a smaller delay
LONGEST_NAP = 0.05  # seconds between two checks of the composer, the keys and the end


@dataclass
class Performance:
    """The counts of what was played, and of its delays."""

    num_notes: int = 0
    num_events: int = 0
    num_late: int = 0  # events played more than LATE after they were due
    worst_lateness: float = 0.0  # seconds
    num_waits: int = 0  # times that the music waited for the composer
    waited: float = 0.0  # seconds in total
    seconds: float = 0.0

    def count(self, event: KeyEvent, lateness: float) -> None:
        """Count an event played `lateness` seconds after it was due."""
        self.num_events += 1
        self.num_notes += event.kind == ON
        self.num_late += lateness > LATE
        self.worst_lateness = max(self.worst_lateness, lateness)

    def report(self) -> str:
        """The performance in one line of text."""
        line = (
            f"played {self.num_notes} notes in {self.seconds:.1f} s; {self.num_late} of "
            f"{self.num_events} events late (by more than {1000 * LATE:.0f} ms), the latest by "
            f"{1000 * self.worst_lateness:.1f} ms"
        )
        if self.num_waits:
            line += f"; waited {self.num_waits} times for the composer, {self.waited:.2f} s in all"
        return line


@dataclass(frozen=True)
class StopAt:
    """When to stop: before a step, or after some seconds; never if both are None."""

    steps: int | None = None
    seconds: float | None = None


class Stage:
    """Plays music on one player, under one set of controls, and counts what it plays."""

    def __init__(
        self, player: Player, controls: Controls, keys: Keyboard, look_ahead: float
    ) -> None:
        """`look_ahead`: seconds of music that are composed before they are due."""
        self.controls = controls
        self.keys = keys
        self.performance = Performance()
        self._player = player
        self._look_ahead = look_ahead
        self._opened: float | None = None  # the time at which the first music began

    def play(
        self,
        passages: Iterator[Passage],
        clock: Callable[[float], MusicClock],
        stop_at: StopAt,
    ) -> None:
        """Play until `stop_at`, the end of the music, or q; all keys are up afterwards.

        `clock` makes the clock of music that starts at a given time.
        """
        ahead = ComposingAhead(passages)
        try:
            buffer = clock(time.monotonic()).steps_in(self._look_ahead)
            while not ahead.wait_for(min(buffer, stop_at.steps or buffer) - 1, LONGEST_NAP):
                self.keys.wait(0)
                if self.controls.stop:
                    return
            if self._opened is None:
                self._player.begin()
                self._opened = time.monotonic()
            self._play(ahead, clock(time.monotonic()), stop_at, self._opened)
        finally:
            if self._opened is not None:
                self.performance.seconds = time.monotonic() - self._opened
            self._player.release(self.performance.seconds)
            ahead.close()

    def _play(
        self, ahead: ComposingAhead, clock: MusicClock, stop_at: StopAt, opened: float
    ) -> None:
        """The playing loop: each event when it is due."""
        waiting: deque[KeyEvent] = deque()
        last_step = math.inf if stop_at.steps is None else stop_at.steps
        end = math.inf if stop_at.seconds is None else time.monotonic() + stop_at.seconds
        while not self.controls.stop:
            now = time.monotonic()
            if clock.tempo != self.controls.tempo:
                clock.set_tempo(self.controls.tempo, now)
            step = clock.step_at(now)
            if now >= end:
                return
            ahead.want(step + clock.steps_in(self._look_ahead))
            ended, horizon = (
                ahead.ended,
                ahead.horizon,
            )  # read before take(), which then holds all events up to there
            waiting.extend(ahead.take())
            if not waiting and ended and stop_at.steps is None:
                return
            if not waiting and not ended and horizon <= min(step, last_step - 1):
                self._wait_for_composer(ahead, clock, min(step, last_step - 1))
                continue
            if step >= last_step and not (waiting and waiting[0].step < last_step):
                return  # only now: on a busy machine the last events are played late, not lost
            due = clock.time_of(min(waiting[0].step, last_step)) if waiting else math.inf
            if due > now:
                self.keys.wait(max(0, min(due - now, LONGEST_NAP, end - now)))
                continue
            event = waiting.popleft()
            self._player.play(event, now - opened)
            self.performance.count(event, now - due)

    def _wait_for_composer(self, ahead: ComposingAhead, clock: MusicClock, step: float) -> None:
        """Wait until more music is composed; then continue at the step where the music stopped."""
        began = time.monotonic()
        while not ahead.wait_for(step, LONGEST_NAP) and not self.controls.stop:
            self.keys.wait(0)
        now = time.monotonic()
        clock.hold(step, now)
        self.performance.num_waits += 1
        self.performance.waited += now - began
