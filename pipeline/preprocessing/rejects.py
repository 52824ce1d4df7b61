"""The list of files and tunes that could not be used, and the error where they are too many."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from dataclasses import astuple, fields
from pathlib import Path

from pipeline.preprocessing.killable_pool import Failure
from pipeline.runtime.files import new_file
from pipeline.runtime.tables import print_line

REJECTS_FILE = "rejects.csv"
SHOWN = 20  # rows on the screen; the file has all


def write_rejects(path: Path, rejects: Mapping[str, Failure]) -> None:
    """Write a row for each rejected file, or piece of a file (`book.abc#2`), sorted by source.

    The counts are empty where they are not known: the notes counted in the file, and the number
    that the reader found, where it is another.
    """
    with (
        new_file(path) as partial,
        partial.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["source", *(field.name for field in fields(Failure))])
        writer.writerows([name, *astuple(why)] for name, why in sorted(rejects.items()))


def check_rejects(
    rejects: Mapping[str, Failure],
    num_pieces: int,
    max_rejects: float,
    list_file: Path,
    things: str = "files",
) -> None:
    """Raise ValueError if too many pieces were rejected; duplicates do not count.

    A piece is a file, or a tune of a file of several, which `things` names. `max_rejects` is a
    share of the pieces if it is below 1, else a number of pieces. Before the error the list is
    written to `list_file` and its first rows are printed.
    """
    failed = {name: why for name, why in rejects.items() if why.kind != "duplicate"}
    allowed = int(max_rejects) if max_rejects >= 1 else int(max_rejects * num_pieces)
    if len(failed) <= allowed:
        return
    write_rejects(list_file, rejects)
    for name, failure in sorted(failed.items())[:SHOWN]:
        print_line(f"  {name}: {failure.kind}: {failure.reason}", sys.stderr)
    raise ValueError(
        f"{len(failed)} of {num_pieces} {things} could not be used, {allowed} would be accepted. "
        f"The list is in {list_file}. Repair or remove them, or raise --max-rejects"
    )
