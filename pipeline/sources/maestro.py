"""MAESTRO: piano performances with composers and an official split (Hawthorne et al. 2019).

`maestro-v3.0.0.csv` (or .json, column by column) has a row for each performance; no composition is
in two splits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from pipeline.scores.formats import MIDI_SUFFIXES
from pipeline.scores.labels import Features
from pipeline.sources.archives import is_archive
from pipeline.sources.piece import Piece
from pipeline.sources.tables import cell, read_table, report, rows_by_name, whole_number

TABLES = ("maestro-v*.csv", "maestro-v*.json")
COLUMNS = ("canonical_composer", "split", "year", "midi_filename")
SPLITS = {"train": "train", "validation": "valid", "test": "test"}


def maestro_pieces(path: Path, unpack: Callable[..., Path]) -> list[Piece]:
    """The performances with composer, year and official split, from a folder, an archive, a table.

    A row without a file and a file without a row are left out, with a line each; so is a second
    row of a file. Raises ValueError if the table or all of its
    files are missing, or for a value of another form.
    """
    if is_archive(path):
        path = unpack(path, (".mid", ".midi", ".csv", ".json"))
    tables = [path] if path.is_file() else _tables_below(path)
    if not tables:
        raise ValueError(f"{path} holds no {' or '.join(TABLES)}")
    table = tables[0]
    rows = rows_by_name(
        table,
        read_table(table, COLUMNS),
        lambda row: str(cell(table, row, "midi_filename", _inside)),
    )
    files = {name: table.parent / name for name in rows}
    missing = [name for name, file in files.items() if not file.is_file()]
    there = {path for path in table.parent.rglob("*.mid*") if path.suffix in MIDI_SUFFIXES}
    others = [path for path in there - {*files.values()} if path.name[:2] != "._"]
    report(f"left out, not in {table.name}", (f"{p.relative_to(table.parent)}" for p in others))
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
