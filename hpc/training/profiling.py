"""A TensorBoard trace of a window of steps, on every rank."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from hpc.distributed.launcher import Place


class Profiler:
    """Traces steps first to last into the run's TensorBoard folder; inactive without a window."""

    def __init__(self, logdir: Path, window: tuple[int, int] | None, place: Place) -> None:
        # TensorBoard's profile tab names a trace by its host: each rank needs a folder of its own.
        self._logdir = logdir / f"rank-{place.rank}"
        self._window = window
        self._tracing = False

    @contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Mark the block as one training step, and trace it if it is in the window."""
        if self._window and not self._tracing and self._window[0] <= step <= self._window[1]:
            # TensorBoard looks for traces only in folders that hold an event file.
            tf.summary.create_file_writer(str(self._logdir)).close()
            tf.profiler.experimental.start(str(self._logdir))
            self._tracing = True
        with tf.profiler.experimental.Trace("train", step_num=step, _r=1):
            yield
        if self._window and self._tracing and step >= self._window[1]:
            self.close()

    def close(self) -> None:
        """End the trace and write it, if one is being taken."""
        if self._tracing:
            tf.profiler.experimental.stop()
            self._tracing = False
