"""A request to stop: the signals that ask for one, and the exit code that answers."""

from __future__ import annotations

import os
import signal
from types import FrameType

# Not used by shells, MPI or Slurm: "saved, start me again". slurm/train_2nodes.sh requeues on it.
EXIT_PREEMPTED = 85
SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)


class StopRequest:
    """`asked` is 1 after the first of SIGTERM, SIGUSR2 or Ctrl-C, on whichever rank it arrived.

    The request rides along with the next collective, so that all ranks leave after the same step.
    Slurm and mpirun may repeat SIGTERM and SIGUSR2; only a second Ctrl-C is impatience, and raises
    KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.asked = 0
        for number in SIGNALS:
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            # Not print(): the signal may have come in the middle of another one.
            name = signal.Signals(number).name
            os.write(2, f"{name}: this run will save after its next step, and end\n".encode())
        self.asked = 1
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def close(self) -> None:
        """Nothing is left to save: a signal from here on must not spoil the exit code.

        Python gives its handlers back before the exit handlers of MPI and Horovod run, which take
        long enough to be hit by Slurm's warning. An ignored signal stays ignored.
        """
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
