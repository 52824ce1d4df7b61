"""The ids of parsed files on disk, with a journal from which a killed run continues."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipeline.dataset.manifest import Shard
from pipeline.preprocessing.encoder import Encoded
from pipeline.preprocessing.killable_pool import Failure
from pipeline.runtime.files import file_sha256

SPOOL, JOURNAL = "spool", "journal.jsonl"
# Of the journal; 1 had no `music` and no version, 2 no counts of notes: they are not continued.
VERSION = 3


@dataclass(frozen=True, slots=True)  # there may be a million
class Entry:
    """A piece in the spool."""

    piece: str  # id
    source: str  # id of the file that it was read from
    digest: bytes  # sha256 of its ids
    offset: int  # bytes
    num_tokens: int
    music: str = ""  # `music_digest` of its score
    notes_read: int = 0  # as in Encoded, like the next two
    notes_kept: int = 0
    adjustments: Mapping[str, int] = field(default_factory=dict)


class Spool:
    """Ids of pieces in the order in which they were parsed, on disk to save memory.

    The journal has a line for each parsed file and each written shard, appended once its bytes are
    in place. Opening it again compares sha256 digests: ids from the first difference on are
    dropped, and a shard that differs is written again.
    """

    def __init__(self, folder: Path, request: str) -> None:
        """Continue in the folder if its journal is of this request (a digest), else start anew.

        Starting anew removes all files in the folder.
        """
        self._folder = folder
        self.entries: list[Entry] = []
        self.failures: dict[str, Failure] = {}  # by the name of the file, or of the piece in it
        self.done: set[str] = set()  # ids of files
        self._shards: dict[str, Shard] = {}
        self._end = 0  # of the ids, in bytes
        if not _is_of(folder, request):
            for leftover in folder.iterdir():
                leftover.unlink()
            first = json.dumps({"request": request, "version": VERSION})
            (folder / JOURNAL).write_text(first + "\n")
            (folder / SPOOL).touch()
        self._ids = (folder / SPOOL).open("r+b")
        self._journal = (folder / JOURNAL).open("r+b")
        self._restore()

    def append(self, source: str, outcome: Sequence[Encoded | Failure] | Failure) -> None:
        """Store the outcome of a file. Raises OSError when the disk is full."""
        found = [outcome] if isinstance(outcome, Failure) else outcome
        self._ids.seek(self._end)
        line: dict[str, Any] = {"file": source, "pieces": []}
        for piece in found:
            if isinstance(piece, Failure):
                line["pieces"].append(asdict(piece))
                continue
            payload = piece.ids.astype("<i4").tobytes()
            self._ids.write(payload)
            counts = piece.notes_read, piece.notes_kept, dict(piece.adjustments)
            digest = hashlib.sha256(payload).hexdigest()
            line["pieces"].append([digest, len(payload) // 4, piece.music, *counts])
        self._ids.flush()
        self._add_line(line)
        self._apply(line)

    def read(self, entry: Entry) -> np.ndarray:
        """The ids [num_tokens] of a piece."""
        self._ids.seek(entry.offset)
        return np.frombuffer(self._ids.read(4 * entry.num_tokens), "<i4")

    def shard(self, file: str) -> Shard | None:
        """The shard of this name, if it was written before and is undamaged."""
        shard, path = self._shards.get(file), self._folder / file
        return shard if shard and path.is_file() and file_sha256(path) == shard.sha256 else None

    def add_shard(self, shard: Shard) -> None:
        """Record that a shard is written."""
        self._add_line({"shard": asdict(shard)})

    def close(self) -> None:
        """Close the files."""
        self._ids.close()
        self._journal.close()

    def _add_line(self, line: dict[str, Any]) -> None:
        self._journal.write(json.dumps(line).encode() + b"\n")
        self._journal.flush()

    def _apply(self, line: dict[str, Any]) -> None:
        """Add what a line of the journal reports."""
        if "shard" in line:
            shard = Shard(**line["shard"])
            self._shards[shard.file] = shard
            return
        source = line["file"]
        self.done.add(source)
        for number, piece in enumerate(line["pieces"], 1):
            name = source if len(line["pieces"]) == 1 else f"{source}#{number}"
            if isinstance(piece, dict):
                self.failures[name] = Failure(**piece)
                continue
            digest, num_tokens, music, notes_read, notes_kept, adjustments = piece
            # The names of rules are few: there may be a million pieces.
            by_rule = {sys.intern(rule): count for rule, count in adjustments.items()}
            place = bytes.fromhex(digest), self._end, num_tokens
            self.entries.append(Entry(name, source, *place, music, notes_read, notes_kept, by_rule))
            self._end += 4 * num_tokens

    def _restore(self) -> None:
        """Apply the lines up to the first that is cut off or reports other ids; drop the rest."""
        self._journal.readline()  # the request
        good = self._journal.tell()
        for line in _lines(self._journal):
            if not self._ids_match(line):
                break
            self._apply(line)
            good = self._journal.tell()
        self._journal.seek(good)
        self._journal.truncate()
        self._ids.truncate(self._end)

    def _ids_match(self, line: dict[str, Any]) -> bool:
        """Whether the ids that a line reports are the next ones in the spool."""
        self._ids.seek(self._end)
        return all(
            hashlib.sha256(self._ids.read(4 * piece[1])).hexdigest() == piece[0]
            for piece in line.get("pieces", ())
            if isinstance(piece, list)
        )


def _is_of(folder: Path, request: str) -> bool:
    """Whether the folder has a journal, and of this request."""
    try:
        with (folder / JOURNAL).open() as stream:
            line = stream.readline()
        # A line without its end was cut off: the next one would be appended to it.
        whole = line.endswith("\n") and (folder / SPOOL).is_file()
        return whole and json.loads(line) == {"request": request, "version": VERSION}
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _lines(journal: BinaryIO) -> Iterator[dict[str, Any]]:
    """The lines of a journal, up to the first that is cut off or no JSON."""
    while (line := journal.readline()).endswith(b"\n"):
        try:
            yield json.loads(line)
        except ValueError:
            return
