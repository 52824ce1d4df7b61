"""A TensorBoard trace of a window of steps, on every rank."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from hpc.distributed.launcher import Place


class Profiler:
    """Traces steps first to last into the run's TensorBoard folder; inactive without a window."""

    def __init__(
        self,
        logdir: Path,
        window: tuple[int, int] | None,
        place: Place,
        hosts: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        """`hosts`: of all ranks, in rank order; `say` gets the line about where the traces are."""
        self._run_dir = logdir
        # TensorBoard's profile tab names a trace by its host: each rank needs a folder of its own.
        self._logdir = logdir / f"rank-{place.rank}"
        self._window = window
        self._hosts, self._say = hosts, say
        self._traced: list[int] = []  # steps of the trace that is being taken

    @contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Mark the block as one training step, and trace it if it is in the window."""
        if self._window and not self._traced and self._window[0] <= step <= self._window[1]:
            # TensorBoard looks for traces only in folders that hold an event file.
            tf.summary.create_file_writer(str(self._logdir)).close()
            tf.profiler.experimental.start(str(self._logdir))
            self._traced = [step]
        with tf.profiler.experimental.Trace("train", step_num=step, _r=1):
            yield
        if self._window and self._traced:
            self._traced.append(step)
            if step >= self._window[1]:
                self.close()

    def close(self) -> None:
        """End the trace, write it, and say where it is, if one is being taken."""
        if self._traced:
            tf.profiler.experimental.stop()
            where = ", ".join(f"rank-{rank} on {host}" for rank, host in enumerate(self._hosts))
            first, last = self._traced[0], self._traced[-1]
            self._say(f"profile of steps {first} to {last} in {self._run_dir}: {where}")
            self._traced = []
