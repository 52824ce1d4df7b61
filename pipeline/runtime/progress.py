"""Progress of a long loop: a bar on a terminal, a line every few seconds in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 5.0


def progress(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Yield the items, and show on standard error how many of `total` there have been."""
    if sys.stderr.isatty():
        yield from _bar(items, total, what)
        return
    # By hand, because rich writes nothing to a pipe or file until its bar is complete.
    shown = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        if time.monotonic() - shown > SECONDS_BETWEEN_LINES and count < total:
            shown = time.monotonic()
            print(f"{what}: {count} of {total}", file=sys.stderr, flush=True)


def _bar(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Yield the items under a bar, which vanishes at the end."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            yield item
            bar.advance(task)
