"""Reading the tables of data sets by column names, and reporting what is missing."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from pipeline.runtime.tables import print_line

Value = TypeVar("Value")

SHOWN = 10  # lines of one kind


def read_table(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows, {column: text}, of a CSV file or of a JSON file {column: {row: value}}.

    Rows without any text, which spreadsheets leave at the end, are passed over. Raises ValueError
    for any other file, a missing column of `columns`, and an incomplete row.
    """
    try:
        rows = _json_rows(path) if path.suffix.lower() == ".json" else _csv_rows(path)
    except (ValueError, csv.Error, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from None
    rows = [row for row in rows if any(row.values())]
    for index, row in enumerate(rows, 1):
        missing = [column for column in columns if row.get(column) is None]
        if missing:
            found = ", ".join(name for name, value in row.items() if name and value is not None)
            raise ValueError(
                f"{path}: row {index} has no {', '.join(missing)}; its columns are {found:.200}"
            )
    if not rows:
        raise ValueError(f"{path} has no rows")
    return rows


def rows_by_name(
    table: Path, rows: Iterable[dict[str, str]], name: Callable[[dict[str, str]], str]
) -> dict[str, dict[str, str]]:
    """Name -> row; of several rows of one name the first, with a line that says so."""
    found: dict[str, dict[str, str]] = {}
    twice = {name(row) for row in rows if found.setdefault(name(row), row) is not row}
    report(f"{table.name} has two rows for a piece, the first is used", twice)
    return found


def cell(path: Path, row: dict[str, str], column: str, convert: Callable[[str], Value]) -> Value:
    """A row's value, converted. Raises ValueError that names the row and the column."""
    try:
        return convert(row[column])
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        where = next((row[name] for name in ("id", "midi", "midi_filename") if row.get(name)), "?")
        raise ValueError(f"{path}, row {where}: {column} is {row[column]!r:.60}: {error}") from None


def number(text: str) -> float:
    """A finite number. Raises ValueError for any other text."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a finite number is needed")
    return value


def positive_number(text: str) -> float:
    """A finite number above 0. Raises ValueError for any other text."""
    if number(text) <= 0:
        raise ValueError("a number above 0 is needed")
    return number(text)


def whole_number(text: str) -> int:
    """8 for '8' and '8.0'. Raises ValueError for any other text."""
    if not number(text).is_integer() or abs(number(text)) >= 2**31:
        raise ValueError("a whole number is needed")
    return int(number(text))


def report(what: str, names: Iterable[str]) -> None:
    """Print a line for each of the first names, and how many more there are."""
    listed = sorted(names)
    for name in listed[:SHOWN]:
        print_line(f"note: {what}: {name}", sys.stderr)
    if len(listed) > SHOWN:
        print_line(f"note: {what}: and {len(listed) - SHOWN} more", sys.stderr)


def _csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:  # some begin with a byte-order mark
        return list(csv.DictReader(stream))


def _json_rows(path: Path) -> list[dict[str, str]]:
    columns = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(columns, dict) or not all(isinstance(c, dict) for c in columns.values()):
        raise ValueError("it is not of the form {column: {row: value}}")
    indices = dict.fromkeys(index for column in columns.values() for index in column)
    return [
        {name: _text(column[index]) for name, column in columns.items() if index in column}
        for index in indices
    ]


def _text(value: object) -> str:
    """Valid Unicode text: JSON may hold half of a surrogate pair."""
    return str(value).encode("utf-8", "backslashreplace").decode()
