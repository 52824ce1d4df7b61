"""Tokens per second without the warm-up, and the seconds of each part of a step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

WARMUP_STEPS = 2  # the first compiles, the second still allocates


class Throughput:
    """Seconds in each part of the training loop, over the steps since the last report."""

    PARTS = ("input", "step", "evaluate", "save")

    def __init__(self, tokens_per_step: int) -> None:
        self.tokens_per_step = tokens_per_step
        self._seen = 0
        self._restart()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the block to a part."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - started

    def finish_step(self) -> None:
        """Count one step; call it when the device has finished."""
        self._seen += 1
        self._steps += 1
        if self._seen == WARMUP_STEPS:
            self._restart()

    def report(self) -> dict[str, float]:
        """Means since the last report, and a new start; empty during the warm-up.

        tokens_per_second is over all workers, and over all time except evaluation;
        {input,step,evaluate,save,other}_seconds are per step.
        """
        if not self._steps or self._seen < WARMUP_STEPS:
            return {}
        elapsed = time.perf_counter() - self._started
        steps, seconds = self._steps, self._seconds
        seconds["other"] = elapsed - sum(seconds.values())
        self._restart()
        return {
            "tokens_per_second": self.tokens_per_step * steps / (elapsed - seconds["evaluate"]),
            **{f"{name}_seconds": total / steps for name, total in seconds.items()},
        }

    def _restart(self) -> None:
        self._started = time.perf_counter()
        self._steps = 0
        self._seconds = dict.fromkeys(self.PARTS, 0.0)
