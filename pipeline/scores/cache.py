"""A cache on disk of scores read before: music21 may take a second for a page of notation."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from pipeline.runtime.files import new_file
from pipeline.scores.formats import MIDI_SUFFIXES, MUSIC21, Reading
from pipeline.scores.notes import NOTE, Refusal, Score

DIGEST_BYTES = 32


def default_folder() -> Path:
    """The folder that CHORALE_CACHE names, else `chorale` in the user's cache folder."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CHORALE_CACHE") or Path(caches) / "chorale")


def usable_folder(folder: Path) -> Path:
    """The folder, created if missing. Raises OSError where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}; scores are kept here: set CHORALE_CACHE to another folder, or use "
            "--no-cache",
            str(folder),
        ) from None
    return folder


Pieces = Sequence[Score | Refusal]  # of a file, in its order


@dataclass(frozen=True)
class ScoreCache:
    """The pieces of files: their scores, or why they are refused; by file contents and reader.

    An entry holds data only. Its sha256 is checked, and a damaged entry counts as missing and is
    replaced. MIDI read by symusic is not cached, since reading it again is faster. A file that
    could not be read is read again each time.
    """

    folder: Path

    def read(self, path: Path, reading: Reading, read: Callable[[Path, Reading], Pieces]) -> Pieces:
        """The pieces in the file: from the cache, else by `read`. Raises what `read` raises."""
        is_midi = path.suffix.lower() in MIDI_SUFFIXES
        if is_midi and reading.midi_reader != MUSIC21:
            return read(path, reading)
        entry = self._entry(path, reading)
        with suppress(OSError, ValueError, KeyError, TypeError, zlib.error):
            return _unpack(entry.read_bytes())
        pieces = read(path, reading)
        with suppress(OSError):  # a full disk is no fault of the file that was read
            entry.parent.mkdir(exist_ok=True)
            # Several processes may write one entry at once: each renames a file of its own.
            own = entry.with_name(f"{entry.name}.{os.getpid()}")
            with new_file(own) as partial:
                partial.write_bytes(_pack(pieces))
            own.replace(entry)
        return pieces

    def _entry(self, path: Path, reading: Reading) -> Path:
        known = hashlib.sha256(f"{_reader()} {path.suffix.lower()}".encode())
        known.update(repr(sorted(reading.for_manifest().items())).encode())
        with path.open("rb") as stream:
            known.update(hashlib.file_digest(stream, "sha256").digest())
        name = known.hexdigest()
        return self.folder / name[:2] / name


@cache
def _reader() -> str:
    """A digest of all code about scores: a change to any of it invalidates all older entries."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _pack(pieces: Pieces) -> bytes:
    about = [
        asdict(piece)
        if isinstance(piece, Refusal)
        else [
            *(piece.notes.size, piece.resolution, piece.tempo),
            *(dict(piece.adjustments), piece.notes_read, list(piece.time_signatures)),
        ]
        for piece in pieces
    ]
    scores = (piece for piece in pieces if isinstance(piece, Score))
    notes = b"".join(score.notes.astype(NOTE).tobytes() for score in scores)
    contents = json.dumps(about).encode() + b"\n" + zlib.compress(notes, 1)
    return hashlib.sha256(contents).digest() + contents


def _unpack(entry: bytes) -> Pieces:
    """The pieces of an entry. Raises ValueError, or what json and zlib raise, for a damaged one."""
    contents = entry[DIGEST_BYTES:]
    if hashlib.sha256(contents).digest() != entry[:DIGEST_BYTES]:
        raise ValueError("a damaged entry")
    about, _, packed = contents.partition(b"\n")
    notes, first = np.frombuffer(zlib.decompress(packed), NOTE), 0
    pieces: list[Score | Refusal] = []
    for piece in json.loads(about):
        if isinstance(piece, dict):
            pieces.append(Refusal(**piece))
            continue
        num_notes, *about_score = piece
        pieces.append(Score(notes[first : first + num_notes].copy(), *about_score))
        first += num_notes
    return pieces
