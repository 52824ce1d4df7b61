"""The list of files that could not be used, and how many of them are too many."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline.preprocessing.killable_pool import Failure

REJECTS_FILE = "rejects.csv"
SHOWN = 20  # on the screen; the file has them all


def write_rejects(path: Path, rejects: Mapping[str, Failure]) -> None:
    """Write (source, kind, reason) rows, sorted by source."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["source", "kind", "reason"])
        writer.writerows([name, why.kind, why.reason] for name, why in sorted(rejects.items()))


def check_rejects(
    rejects: Mapping[str, Failure], num_files: int, max_rejects: float, list_file: Path
) -> None:
    """Nothing, if few enough files were rejected; duplicates are no failures and do not count.

    `max_rejects` is a share of the files below 1, else a number of files. Raises ValueError after
    writing the list to `list_file` and showing its beginning.
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
        f"list is in {list_file}. Mend or remove them, or raise --max-rejects"
    )
