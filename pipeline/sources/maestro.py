"""MAESTRO: piano performances with composers and an official split (Hawthorne et al. 2019).

`maestro-v3.0.0.csv` (or .json, column by column) has a row for each performance; no composition is
in two splits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from pipeline.scores.labels import Features
from pipeline.sources.archives import is_archive
from pipeline.sources.piece import Piece
from pipeline.sources.tables import cell, read_table, report, whole_number

TABLES = ("maestro-v*.csv", "maestro-v*.json")
COLUMNS = ("canonical_composer", "split", "year", "midi_filename")
SPLITS = {"train": "train", "validation": "valid", "test": "test"}


def maestro_pieces(path: Path, unpack: Callable[..., Path]) -> list[Piece]:
    """The performances with composer, year and official split, from a folder, an archive, a table.

    A row without a file is left out, with a line. Raises ValueError if the table or all of its
    files are missing, or for a value of another form.
    """
    if is_archive(path):
        path = unpack(path, (".mid", ".midi", ".csv", ".json"))
    tables = [path] if path.is_file() else _tables_below(path)
    if not tables:
        raise ValueError(f"{path} holds no {' or '.join(TABLES)}")
    table = tables[0]
    rows = {row["midi_filename"]: row for row in read_table(table, COLUMNS)}
    files = {
        name: table.parent / cell(table, row, "midi_filename", _inside)
        for name, row in rows.items()
    }
    missing = [name for name, file in files.items() if not file.is_file()]
    report(f"{table.name} names a file that is not there", missing)
    if len(missing) == len(files):
        raise ValueError(f"none of the {len(rows)} MIDI files that {table} names is there")
    return [
        Piece(
            f"maestro/{name}",
            files[name],
            split=cell(table, row, "split", _split),
            features=Features(
                composer=row["canonical_composer"], year=cell(table, row, "year", whole_number)
            ),
        )
        for name, row in rows.items()
        if files[name].is_file()
    ]


def _tables_below(folder: Path) -> list[Path]:
    """The newest version's table first, the CSV before the JSON; an archive has a folder in it."""
    return [
        table
        for pattern in TABLES
        for below in ("", "*/")
        for table in sorted(folder.glob(below + pattern), reverse=True)
    ]


def _split(text: str) -> str:
    if text not in SPLITS:
        raise ValueError(f"needed: {', '.join(SPLITS)}")
    return SPLITS[text]


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("it leads out of the data set")
    return path
