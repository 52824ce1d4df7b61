"""A request to stop: the signals that make it, and the exit code of a run that obeyed."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType

from hpc.distributed.launcher import Place
from hpc.run_folder.terminal import CLEAR_LINE, open_terminal
from pipeline.runtime.command import heeded

# Not used by shells, MPI or Slurm: "saved, start me again", as slurm/requeue.sh and launch.py do.
EXIT_PREEMPTED = 85
SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)


class StopRequest:
    """`asked` is 1 after the first SIGTERM, SIGUSR2, SIGHUP or Ctrl-C on this rank.

    The next collective carries the request, so that all ranks stop after the same step. Slurm and
    mpirun may repeat SIGTERM and SIGUSR2, which has no effect; a second Ctrl-C raises
    KeyboardInterrupt. SIGHUP comes from a terminal that closes; nohup has it ignored.
    """

    def __init__(self, place: Place) -> None:
        self.asked = 0
        self.local_steps = 1  # at the end of --local-steps all ranks save, in the same step
        self._speaks = place.is_chief  # mpirun signals all ranks
        self._launcher = place.launcher
        self._screen = open_terminal(place)
        for number in heeded(SIGNALS):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if not self.asked and self._speaks:
            # Not print(): the signal may arrive in the middle of another print().
            name = signal.Signals(number).name
            several = self.local_steps > 1
            when = f"within {self.local_steps} steps" if several else "after its next step"
            if (
                number == signal.SIGTERM and self._launcher == "mpirun"
            ):  # its Ctrl-C (docs/faults.md)
                when += ", if mpirun leaves it the time (kill -USR2 to mpirun does)"
            with suppress(OSError):  # the terminal was closed
                if self._screen:  # which shows "^C", and a bar
                    os.write(self._screen.fileno(), CLEAR_LINE.encode())
                os.write(2, f"{name}: this run will save {when}, and end\n".encode())
        self.asked = 1
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def close(self) -> None:
        """Ignore further signals: all is saved, and they must not change the exit code.

        Python removes its handlers before the exit handlers of MPI and Horovod run, which take
        long enough for Slurm's warning to arrive. An ignored signal stays ignored.
        """
        for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
