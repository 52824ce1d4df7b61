"""Files written whole or not at all, JSON lines, and digests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The entries of a .jsonl file; a last line that a kill cut short is left out.

    Raises ValueError naming a line before it that is no JSON object: something else wrote there.
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
                f"line {number} of {path} is no JSON object: {line.strip()[:60]!r}. Take the line "
                "out, or begin another run"
            )
    return entries


def replace_file(path: Path, content: str) -> None:
    """Write a file beside its place, then rename it: a kill leaves the old or the new one.

    Raises OSError naming the file where it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(content)
        partial.replace(path)
    except OSError as error:
        raise not_written(path, error) from error


def add_line(path: Path, entry: dict[str, Any]) -> None:
    """Add an entry to a .jsonl file, and close it: what was said is in the file.

    Raises OSError naming the file where it cannot be written.
    """
    try:
        with path.open("a") as stream:
            stream.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise not_written(path, error) from error


def not_written(path: Path, error: Exception) -> OSError:
    """The error, in words, of a file that could not be written."""
    reason = getattr(error, "strerror", None) or str(error)
    return OSError(
        f"{path} could not be written ({reason}); the checkpoints are untouched. Free some space "
        "and run the same command again"
    )


def write_json(path: Path, contents: dict[str, Any]) -> None:
    """Write the contents for programs: whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(contents, indent=2) + "\n")
    partial.replace(path)
