"""How far a long loop is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 5.0


def progress(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """The items, while standard error shows how many of `total` have come."""
    if sys.stderr.isatty():
        yield from _bar(items, total, what)
        return
    shown = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        if time.monotonic() - shown > SECONDS_BETWEEN_LINES and count < total:
            shown = time.monotonic()
            print(f"{what}: {count} of {total}", file=sys.stderr, flush=True)


def _bar(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
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
