"""Files written whole or not at all, JSON lines, digests, and checksums of small JSON objects.

A small object (a line of a .jsonl file, best.json, config.json) carries the CRC-32 of its other
entries as the entry `crc32`: a changed digit is refused, and the file stays plain JSON. Objects of
older versions have none and are read unchecked.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHECKSUM = "crc32"


def fresh_path(path: Path, is_taken: Callable[[Path], bool] = Path.exists) -> Path:
    """The path, or the first of path-2, path-3, ... that is not taken."""
    number, fresh = 1, path
    while is_taken(fresh):
        number += 1
        fresh = path.with_stem(f"{path.stem}-{number}")
    return fresh


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def with_checksum(contents: dict[str, Any]) -> dict[str, Any]:
    """The contents and, as their last entry, the CRC-32 of the others."""
    return {**contents, CHECKSUM: _crc32(contents)}


def without_checksum(contents: dict[str, Any]) -> dict[str, Any]:
    """The contents without their checksum. Raises ValueError where it is not theirs."""
    others = {name: value for name, value in contents.items() if name != CHECKSUM}
    if contents.get(CHECKSUM, checksum := _crc32(others)) != checksum:
        raise ValueError(f"its {CHECKSUM} is not that of its other entries")
    return others


def _crc32(contents: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(contents, sort_keys=True).encode()):08x}"


def read_lines(path: Path, types: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The entries of a .jsonl file, without checksums and a last line that a kill cut short.

    Raises ValueError naming any other line that is not a JSON object, whose checksum is wrong, or
    whose entry of a name in `types` is of another type.
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
        try:
            entries[-1] = without_checksum(entries[-1])
            _check_types(entries[-1], types or {})
        except ValueError as error:
            raise ValueError(
                f"line {number} of {path} is damaged: {error}. Remove the line, or begin another "
                "run"
            ) from None
    return entries


def line_of(entry: dict[str, Any]) -> str:
    """The line of a .jsonl file that holds an entry and its checksum."""
    return json.dumps(with_checksum(entry)) + "\n"


def _check_types(entry: dict[str, Any], types: Mapping[str, Any]) -> None:
    """Raise ValueError for an entry that has a value of another type."""
    for name, wanted in types.items():
        if name in entry and not isinstance(entry[name], wanted):
            raise ValueError(f"{name} is {entry[name]!r:.40}")


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
            stream.write(line_of(entry))
    except OSError as error:
        raise not_written(path, error) from error


def not_written(path: Path, error: Exception) -> OSError:
    """The error of a file that could not be written, with what to do."""
    reason = getattr(error, "strerror", None) or str(error)
    return OSError(
        f"{path} could not be written ({reason}); the checkpoints are untouched. "
        f"{advice_on(error)} and run the same command again"
    )


def advice_on(error: Exception) -> str:
    """What to do first where something could not be written."""
    return "Free some space" if is_full(error) else "Mend that"


def is_full(error: Exception) -> bool:
    """Was there no room on the disk, or in the user's share of it? Libraries say it in words."""
    codes = (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "errno", None) in codes or any(
        os.strerror(code) in str(error) for code in codes
    )


def write_json(path: Path, contents: dict[str, Any] | list[Any]) -> None:
    """Write an indented JSON file, whole or not at all; makes its folder if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as partial:
        partial.write_text(json.dumps(contents, indent=2) + "\n")
