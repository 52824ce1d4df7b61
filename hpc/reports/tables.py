"""Tables for the terminal and for Markdown, and the numbers in their cells."""

from __future__ import annotations

import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NOTHING = "-"  # in a cell for which there is no value

PIPED_WIDTH = 200  # columns when no terminal gives a width: lines are not wrapped for a file


@dataclass(frozen=True)
class Table:
    """Cells under headings, and what must be known to read them."""

    title: str
    columns: tuple[str, ...]  # a heading that begins with '>' is one of numbers
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def to_markdown(self) -> str:
        """The table as GitHub shows it."""
        lines = [self.columns, *self.rows]
        cells = [[cell.removeprefix(">").replace("|", "\\|") for cell in line] for line in lines]
        ruler = ["---:" if name.startswith(">") else "---" for name in self.columns]
        cells.insert(1, ruler)
        text = "\n".join(f"| {' | '.join(line)} |" for line in cells)
        return "\n\n".join([f"## {self.title}", text, *self.notes]) + "\n"


def print_tables(found: Sequence[Table]) -> None:
    """Show the tables on the terminal, or as plain lines in a file or a pipe."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    for table in found:
        grid = Grid(title=Text(table.title), title_justify="left", box=box.SIMPLE_HEAD)
        for name in table.columns:
            numbers = name.startswith(">")
            grid.add_column(
                Text(name.removeprefix(">")),
                justify="right" if numbers else "left",
                overflow="fold",
            )
        for row in table.rows:
            grid.add_row(*map(Text, row))
        if table.rows:
            console.print(grid)
        else:
            console.print(Text(table.title))
        for note in table.notes:
            console.print(Text(note), style="dim")
        console.print()


def shown_spread(values: Spread | None) -> str:
    """A median with its quartiles: '51,234 (48.1k-53.0k)'."""
    if values is None:
        return NOTHING
    if values.low is None or values.high is None:
        return f"{values.median:,.0f}"
    low, high = (f"{v / 1000:.1f}k" if v >= 1000 else f"{v:.0f}" for v in (values.low, values.high))
    return f"{values.median:,.0f} ({low}-{high})"


def duration(seconds: float) -> str:
    """A time in two units at most: '12.3 s', '3 min 05 s', '2 h 03 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of `num_values` values; one value has no quartiles."""

    median: float
    low: float | None
    high: float | None
    num_values: int


def spread(values: Sequence[float]) -> Spread | None:
    """Median and quartiles (linear interpolation, ends included); None of nothing."""
    if not values:
        return None
    if len(values) == 1:
        return Spread(values[0], None, None, 1)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high, len(values))


def counted(names: Iterable[str]) -> str:
    """Names with how often each comes: 'bath x2', 'dorchester + bath'."""
    counts = Counter(names)
    return " + ".join(name if n == 1 else f"{name} x{n}" for name, n in counts.items())
