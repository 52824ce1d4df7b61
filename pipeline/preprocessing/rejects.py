"""The list of files that could not be used, and the error where they are too many."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline.preprocessing.killable_pool import Failure
from pipeline.runtime.files import new_file

REJECTS_FILE = "rejects.csv"
SHOWN = 20  # rows on the screen; the file has all


def write_rejects(path: Path, rejects: Mapping[str, Failure]) -> None:
    """Write (source, kind, reason) rows, sorted by source."""
    with (
        new_file(path) as partial,
        partial.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["source", "kind", "reason"])
        writer.writerows([name, why.kind, why.reason] for name, why in sorted(rejects.items()))


def check_rejects(
    rejects: Mapping[str, Failure], num_files: int, max_rejects: float, list_file: Path
) -> None:
    """Raise ValueError if too many files were rejected; duplicates do not count.

    `max_rejects` is a share of the files if it is below 1, else a number of files. Before the error
    the list is written to `list_file` and its first rows are printed.
    """
    failed = {name: why for name, why in rejects.items() if why.kind != "duplicate"}
    allowed = int(max_rejects) if max_rejects >= 1 else int(max_rejects * num_files)
    if len(failed) <= allowed:
        return
    write_rejects(list_file, rejects)
    for name, failure in sorted(failed.items())[:SHOWN]:
        print(f"  {name}: {failure.kind}: {failure.reason}", file=sys.stderr)
    raise ValueError(
        f"{len(failed)} of {num_files} files could not be used, {allowed} would be accepted. The "
        f"list is in {list_file}. Repair or remove them, or raise --max-rejects"
    )
