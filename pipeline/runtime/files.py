"""Files written whole or not at all, JSON lines, and digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The entries of a .jsonl file, without a last line that a kill cut short.

    Raises ValueError naming any other line that is not a JSON object.
    """
    if not path.is_file():
        return []
    entries = []
    lines = path.read_text(errors="replace").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            break
        try:
            entries.append(json.loads(line))
        except ValueError:
            entries.append(None)
        if not isinstance(entries[-1], dict):
            raise ValueError(
                f"line {number} of {path} is no JSON object: {line.strip()[:60]!r}. Remove the "
                "line, or begin another run"
            )
    return entries


@contextmanager
def new_file(path: Path, *, keep_suffix: bool = False) -> Iterator[Path]:
    """A path beside `path` to write to; at the end of the block the file is renamed to `path`.

    So a kill leaves the old file or the new one, never half of one; an error removes the new file.
    With `keep_suffix` the name has the suffix of `path`, for libraries that choose a format by it.
    """
    name = f"{path.stem}.partial{path.suffix}" if keep_suffix else f"{path.name}.partial"
    partial = path.with_name(name)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def replace_file(path: Path, content: str) -> None:
    """Write a text file, whole or not at all. Raises OSError naming the file."""
    try:
        with new_file(path) as partial:
            partial.write_text(content)
    except OSError as error:
        raise not_written(path, error) from error


def add_line(path: Path, entry: dict[str, Any]) -> None:
    """Append an entry to a .jsonl file and close it. Raises OSError naming the file."""
    try:
        with path.open("a") as stream:
            stream.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise not_written(path, error) from error


def not_written(path: Path, error: Exception) -> OSError:
    """The error of a file that could not be written, with what to do."""
    reason = getattr(error, "strerror", None) or str(error)
    return OSError(
        f"{path} could not be written ({reason}); the checkpoints are untouched. Free some space "
        "and run the same command again"
    )


def write_json(path: Path, contents: dict[str, Any]) -> None:
    """Write an indented JSON file, whole or not at all; makes its folder if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as partial:
        partial.write_text(json.dumps(contents, indent=2) + "\n")
