"""Musical time: the events of a score in order, and the clock that gives the time of each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.scores.notes import Score

OFF, ON = 0, 1  # in this order within a step: a key is released before it is struck again


class KeyEvent(NamedTuple):
    """A key struck or released; events sort by their fields in this order."""

    step: int  # of the grid, from the start of the performance
    kind: int  # OFF or ON
    program: int  # 0..127, or DRUMS
    pitch: int
    velocity: int


def events_between(score: Score, first: int, end: int, moved_by: int = 0) -> list[KeyEvent]:
    """The score's events at the steps first .. end - 1, in order, each `moved_by` steps later."""
    notes = score.notes
    events = []
    for kind, times in ((OFF, notes["onset"] + notes["duration"]), (ON, notes["onset"])):
        here = (times >= first) & (times < end)
        fields = np.stack(
            [times, notes["program"], notes["pitch"], notes["velocity"]], axis=1, dtype=np.int64
        )
        for step, program, pitch, velocity in fields[here].tolist():
            events.append(KeyEvent(step + moved_by, kind, program, pitch, velocity))
    return sorted(events)


class MusicClock:
    """Grid steps as seconds of a monotonic clock (`time.monotonic`), at a tempo that may change."""

    def __init__(self, steps_per_quarter: int, tempo: float, now: float) -> None:
        """Step 0 is now; `tempo` in quarters a minute."""
        self._steps_per_quarter = steps_per_quarter
        self._step, self._seconds = 0.0, now  # the last step whose time was set, and that time
        self.tempo = tempo

    def time_of(self, step: float) -> float:
        """The time at which a step is due."""
        return self._seconds + (step - self._step) / self.steps_in(1.0)

    def step_at(self, now: float) -> float:
        """The step, with its fraction, that is due now."""
        return self._step + self.steps_in(now - self._seconds)

    def steps_in(self, seconds: float) -> float:
        """The number of steps in a number of seconds."""
        return seconds * self.tempo / 60.0 * self._steps_per_quarter

    def set_tempo(self, tempo: float, now: float) -> None:
        """Change the tempo from now on, without a jump in the music."""
        self._step, self._seconds = self.step_at(now), now
        self.tempo = tempo

    def hold(self, step: float, now: float) -> None:
        """Make `step` the one that is due now, after a wait: the rhythm after it stays whole."""
        self._step, self._seconds = step, now
