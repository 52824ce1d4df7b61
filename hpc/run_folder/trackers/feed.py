"""The scalars of a run on their way to another tracker; training never waits for it.

A tracker is a file of this folder, named as --tracker names it (docs/trackers.md). It defines
LIBRARY, the module that it needs, and `open_tracker`. All calls come from one thread, on the chief.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol

from hpc.distributed.collective_errors import first_line

CLOSE_SECONDS = 30.0  # that a run which has ended waits for its tracker


class Tracker(Protocol):
    """What `open_tracker(run_dir, settings, facts)` of a tracker's file returns."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record the scalars of a step, by names such as train/loss."""

    def close(self, ended: str) -> None:
        """Record the end: 'done', 'early', 'stopped' or 'failed' (hpc/train.py)."""


def require_library(name: str) -> None:
    """Raise ValueError where the library of the tracker `name` is not installed."""
    library = _file_of(name).LIBRARY
    if importlib.util.find_spec(library) is None:
        raise ValueError(
            f"--tracker {name} needs {library}, which is not installed here. Run: pip install "
            + (f"-c constraints.txt -e '.[{name}]'" if name in _extras() else library)
        )


def _extras() -> list[str]:
    """The extras of this program; none where it runs uninstalled."""
    try:
        return importlib.metadata.metadata("chorale-hpc").get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return []


class Feed:
    """A thread that opens a tracker and hands it what it is given; a failure is said once."""

    def __init__(
        self,
        name: str,
        run_dir: Path,
        settings: Mapping[str, Any],
        facts: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        """Start the thread.

        `settings` are those by which runs are compared, `facts` say where and how the run trains.
        """
        self._name = name
        self._say = say
        self._open = lambda: _file_of(name).open_tracker(run_dir, settings, facts)
        self._tracker: Tracker | None = None
        self._queue: SimpleQueue[tuple[int, Mapping[str, float]] | str] = SimpleQueue()
        self._num_given = self._num_sent = 0
        self._has_failed = False
        self._thread = Thread(target=self._send_all, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Have the tracker record the scalars of a step, at once or later."""
        self._num_given += 1
        self._queue.put((step, values))

    def close(self, ended: str) -> None:
        """Send what is left, for at most CLOSE_SECONDS, and say what was not sent."""
        self._queue.put(ended)
        self._thread.join(CLOSE_SECONDS)
        if self._num_sent < self._num_given:
            self._say(
                f"warning: {self._name} lacks {self._num_given - self._num_sent} of the "
                f"{self._num_given} records of this start; metrics.jsonl has all"
            )

    def _send_all(self) -> None:
        """Send one item after the other, to the end. A failed one is left out."""
        while True:
            item = self._queue.get()
            try:
                # A server that was away at the start may answer later.
                self._tracker = self._tracker or self._open()
                if isinstance(item, str):
                    self._tracker.close(item)
                else:
                    self._tracker.scalars(*item)
                    self._num_sent += 1
            except Exception as error:
                if not self._has_failed:
                    self._has_failed = True
                    what = f"{type(error).__name__}: {first_line(error)}"
                    self._say(f"warning: --tracker {self._name} failed, training goes on: {what}")
            if isinstance(item, str):
                return


def _file_of(name: str) -> Any:
    """The module of a tracker."""
    return import_module(f"{__package__}.{name}")
