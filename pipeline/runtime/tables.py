"""Tables as text: aligned lines for the terminal, Markdown for files."""

from __future__ import annotations

import io
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TextIO

NOTHING = "-"  # in a cell that has no value
NUMBERS = ">"  # begins the heading of a column of numbers, which stand at its right edge

PIPED_WIDTH = 100  # columns of a table in a file or a pipe; programs read what --json writes
LONGEST_WORD = 13  # columns; longer ones may be broken
NO_BREAK = "\N{NO-BREAK SPACE}"  # a command to copy begins on the line of its program
UNLIMITED_WIDTH = 100_000  # columns: no cell is wrapped


def aligned_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows below their headings, one line each, in columns; without headings if all are empty.

    A row may have fewer cells than there are columns.
    """
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    titles = [name.removeprefix(NUMBERS) for name in columns]
    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=any(titles))
    for name, title in zip(columns, titles, strict=True):
        grid.add_column(Text(title), justify="right" if name.startswith(NUMBERS) else "left")
    for row in rows:
        grid.add_row(*map(Text, row))
    text = io.StringIO()
    # In a notebook rich would show the table at once instead of writing it.
    Console(file=text, width=UNLIMITED_WIDTH, color_system=None, force_jupyter=False).print(grid)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def broken(line: str, columns: int | None) -> str:
    """The line; where it is longer than `columns`, broken between words, its later lines indented.

    None is no terminal: programs read whole lines.
    """
    if columns is None or len(line) <= columns:
        return line
    indent = line[: len(line) - len(line.lstrip())] + "  "
    return textwrap.fill(
        line.replace("python ", f"python{NO_BREAK}"),
        columns,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ).replace(NO_BREAK, " ")


def print_lines(lines: Iterable[str], stream: TextIO | None = None) -> None:
    """Print lines, to standard output by default; on a narrower terminal broken between words."""
    stream = stream or sys.stdout
    columns = shutil.get_terminal_size().columns if stream.isatty() else None
    for line in lines:
        print(broken(line, columns), file=stream, flush=True)


def print_line(line: str, stream: TextIO | None = None) -> None:
    """Print a line as `print_lines` does."""
    print_lines([line], stream)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows below their headings, as GitHub shows tables."""
    # Not rich's box.MARKDOWN: its ruler has no colons, so GitHub puts numbers at the left edge, it
    # wraps long cells over several rows, and a "|" in a cell begins a new one.
    cells = [[cell.removeprefix(NUMBERS).replace("|", "\\|") for cell in columns]]
    cells.append(["---:" if name.startswith(NUMBERS) else "---" for name in columns])
    cells += [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


@dataclass(frozen=True)
class Table:
    """Cells under headings, and what must be known to read them."""

    title: str
    columns: tuple[str, ...]  # a heading that begins with '>' is one of numbers
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    keys: int = 1  # the first columns, which say what a row is of

    def to_markdown(self) -> str:
        """The table as GitHub shows it, with its title as a heading and its notes below."""
        table = markdown_table(self.columns, self.rows)
        return "\n\n".join([f"## {self.title}", table, *self.notes]) + "\n"


def print_tables(tables: Sequence[Table]) -> None:
    """Show the tables as wide as the terminal, or as plain text in a file or a pipe."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    is_terminal = sys.stdout.isatty()
    console = Console(width=None if is_terminal else PIPED_WIDTH)
    for table in tables:
        for number, part in enumerate(_parts(table, console.width)):
            grid = Grid(
                title=None if number else Text(table.title),
                title_justify="left",
                box=box.SIMPLE_HEAD,
                padding=(0, 1, 0, 0),
                pad_edge=False,
            )
            for name, width in zip(part.columns, _widths(part, console.width), strict=True):
                grid.add_column(
                    Text(name.removeprefix(NUMBERS)),
                    justify="right" if name.startswith(NUMBERS) else "left",
                    overflow="fold",
                    width=width,
                )
            for row in part.rows:
                grid.add_row(*map(Text, row))
            console.print(grid if table.rows else Text(table.title))
        for note in table.notes:
            console.print(Text(note), style="dim", soft_wrap=not is_terminal)
        console.print()


def _parts(table: Table, width: int) -> list[Table]:
    """The table in parts whose columns fit a terminal without a broken word, if that is possible.

    Each part begins with the key columns; a table without rows, or that fits, is one part.
    """
    least = _least_widths(table)
    keys = list(range(table.keys))
    parts: list[list[int]] = [keys]
    for column in range(table.keys, len(table.columns)):
        wanted = [*parts[-1], column]
        if parts[-1] != keys and sum(least[i] for i in wanted) > _room(width, len(wanted)):
            wanted = [*keys, column]
            parts.append(wanted)
        parts[-1] = wanted
    if len(parts) == 1 or not table.rows:
        return [table]
    return [
        replace(
            table,
            columns=tuple(table.columns[i] for i in part),
            rows=tuple(tuple(row[i] for i in part) for row in table.rows),
        )
        for part in parts
    ]


def _widths(table: Table, width: int) -> list[int]:
    """The widths of the columns: a narrow terminal breaks lines between words where it can.

    The widest columns are narrowed until all fit, but none below its longest word while there is
    another one to narrow.
    """
    least = _least_widths(table)
    headings = [name.removeprefix(NUMBERS) for name in table.columns]
    widths = [max(map(len, column)) for column in zip(headings, *table.rows, strict=True)]
    room = _room(width, len(widths))
    for limits in (least, [1] * len(widths)):
        while sum(widths) > room:
            spare = [have > limit for have, limit in zip(widths, limits, strict=True)]
            if not any(spare):
                break
            widest = max(range(len(widths)), key=lambda i: spare[i] * widths[i])
            widths[widest] -= 1
    return widths


def _least_widths(table: Table) -> list[int]:
    """The widths below which a word is broken: of those in cells, `LONGEST_WORD` characters count.

    A number is never broken.
    """
    return [
        max(
            _longest_word(name.removeprefix(NUMBERS)),
            min(
                _longest_word(" ".join(cells)),
                UNLIMITED_WIDTH if name.startswith(NUMBERS) else LONGEST_WORD,
            ),
        )
        for name, *cells in zip(table.columns, *table.rows, strict=True)
    ]


def _room(width: int, num_columns: int) -> int:
    """Characters for all cells of a row: a space and a border stand beside each column."""
    return width - 2 * num_columns


def _longest_word(text: str) -> int:
    return max(map(len, text.split()), default=1)
