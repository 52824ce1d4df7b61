"""Extraction of scores from untrusted .zip and .tar archives."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from pipeline.sources.tables import report

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

# Far above any collection (the largest public one, Lakh, has 176,000 files and 6 GB), far below
# what fills a disk.
MAX_MEMBERS = 1_000_000
MAX_MEMBER_BYTES = 64 * 2**20
MAX_TOTAL_BYTES = 32 * 2**30

# Raised by the libraries for archives that are cut off, damaged, encrypted or packed unknown ways.
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    NotImplementedError,
)


def is_archive(path: Path) -> bool:
    """Whether the file has the suffix of an archive."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def extract_scores(archive: Path, folder: Path, suffixes: tuple[str, ...]) -> None:
    """Write the archive's plain files with these suffixes below `folder`, under their names.

    Links, devices and the like are left out. Of two files of one name the last is written, as
    tar does, with a line that says so. Raises ValueError for an archive that cannot be read,
    has a member whose name leads out of the folder, or is larger than the limits.
    """
    members = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    total_bytes = 0
    written: set[Path] = set()
    twice: set[str] = set()
    try:
        for count, (name, stream) in enumerate(members(archive, suffixes), 1):
            if count > MAX_MEMBERS:
                raise ValueError(f"{archive} holds more than {MAX_MEMBERS} files")
            path = _inside(folder, name, archive)
            twice |= {name} if path in written else set()
            written.add(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            with stream, path.open("wb") as output:
                total_bytes += _copy(stream, output, f"{archive}: {name}")
            if total_bytes > MAX_TOTAL_BYTES:
                raise ValueError(f"{archive} unpacks to more than {MAX_TOTAL_BYTES >> 30} GiB")
    except _DAMAGED as error:
        raise ValueError(f"{archive} cannot be unpacked: {error}") from None
    report(f"{archive.name} has two files of one name, the last is used", twice)


def _zip_members(archive: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            mode = member.external_attr >> 16  # the kind of file, where a Unix system wrote it
            is_plain = (mode & 0o170000) in (0, 0o100000)
            if is_plain and member.filename.lower().endswith(suffixes):
                yield member.filename, opened.open(member)


def _tar_members(archive: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive) as opened:
        for member in opened:
            if member.isreg() and member.name.lower().endswith(suffixes):
                stream = opened.extractfile(member)
                assert stream is not None  # only links and folders have none
                yield member.name, stream


def _inside(folder: Path, name: str, archive: Path) -> Path:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0]:
        raise ValueError(f"{archive}: member {name!r} leads out of the archive; refused")
    return folder.joinpath(*parts)


def _copy(stream: IO[bytes], output: IO[bytes], shown: str) -> int:
    """Number of bytes copied; they are counted, since the size in a header may be wrong."""
    num_bytes = 0
    while block := stream.read(2**20):
        num_bytes += len(block)
        if num_bytes > MAX_MEMBER_BYTES:
            raise ValueError(f"{shown} has more than {MAX_MEMBER_BYTES >> 20} MiB; refused")
        output.write(block)
    return num_bytes
