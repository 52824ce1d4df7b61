"""The pieces of all sources on the command line, and digests of their contents and labels."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from pipeline.runtime.command import meant
from pipeline.runtime.files import file_sha256
from pipeline.scores.formats import SCORE_SUFFIXES
from pipeline.scores.labels import NO_FEATURES
from pipeline.sources.archives import ARCHIVE_SUFFIXES, extract_scores, is_archive
from pipeline.sources.catalogue import NAMED_SOURCES
from pipeline.sources.piece import Piece


@contextmanager
def open_sources(names: Sequence[str]) -> Iterator[list[Piece]]:
    """The pieces of all sources, sorted by id; files from archives exist until the end.

    A source is a folder (searched with all below it), a score file, a .zip or .tar of scores, or a
    data set by its name, such as `bach` or `jsb:PATH` (catalogue.py).
    Raises ValueError for a source that is missing or holds no score.
    """
    with ExitStack() as stack:

        def unpack(archive: Path, suffixes: tuple[str, ...] = SCORE_SUFFIXES) -> Path:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="scores-")))
            extract_scores(archive, folder, suffixes)
            return folder

        pieces: list[Piece] = []
        for name in names:
            data_set, colon, place = name.partition(":")
            if data_set in NAMED_SOURCES:
                pieces += NAMED_SOURCES[data_set].open(place if colon else None, unpack)
                continue
            path = Path(name)
            if path.is_file() and is_archive(path):
                pieces += _folder(unpack(path), path.name)
            elif path.is_dir():
                pieces += _folder(path, str(path))
            elif path.is_file():
                pieces.append(_file(path))
            else:
                close = meant(data_set, _names_like(data_set))
                raise ValueError(
                    f"source {name} does not exist; needed: a folder, a score file, a .zip or "
                    f".tar of scores, or one of: {', '.join(map(str, NAMED_SOURCES.values()))}"
                    f"{close}"
                )
        yield sorted(_with_unique_ids(pieces), key=lambda piece: piece.id)


def _names_like(word: str) -> list[str]:
    """The data sets of which a word may be a misspelling: a folder's name may be a little alike."""
    return [
        name for name in NAMED_SOURCES if name[0] == word[:1] and abs(len(name) - len(word)) <= 2
    ]


def content_digests(pieces: Sequence[Piece]) -> dict[str, str]:
    """Piece id -> hex sha256 of its contents, or a unique text for a file that cannot be read.

    The reader of such a file reports the reason.
    """
    digests = {}
    for piece in pieces:
        try:
            digests[piece.id] = piece.content or file_sha256(piece.path)
        except OSError:
            digests[piece.id] = f"unreadable: {piece.id}"
    return digests


def label_digests(pieces: Sequence[Piece]) -> dict[str, str]:
    """Piece id -> hex sha256 of official split, group and features, for pieces with any of them."""
    labels = {
        piece.id: [piece.split, piece.group, sorted(piece.features.known().items())]
        for piece in pieces
        if piece.split or piece.group or piece.features != NO_FEATURES
    }
    return {
        name: hashlib.sha256(repr(label).encode()).hexdigest() for name, label in labels.items()
    }


def _folder(folder: Path, shown: str) -> list[Piece]:
    """Every score below a folder, but hidden files and those in macOS's `__MACOSX` folders."""
    others: Counter[str] = Counter()
    pieces = []
    for path in folder.rglob("*"):
        name = PurePosixPath(path.relative_to(folder).as_posix())
        if any(part.startswith(".") or part == "__MACOSX" for part in name.parts):
            continue
        if path.exists() and not path.is_file():  # a broken link stays, to be rejected
            continue
        if path.suffix.lower() in SCORE_SUFFIXES:
            pieces.append(Piece(str(name), path))
        else:
            others[path.suffix.lower() or "no suffix"] += 1
    if not pieces:
        found = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
        raise ValueError(
            f"no scores in {shown}: found {found or 'nothing'}; needed: {' '.join(SCORE_SUFFIXES)}"
        )
    return pieces


def _file(path: Path) -> Piece:
    if path.suffix.lower() not in SCORE_SUFFIXES:
        raise ValueError(
            f"{path} is not a score by its suffix; needed: {' '.join(SCORE_SUFFIXES)}, or "
            f"an archive: {' '.join(ARCHIVE_SUFFIXES)}"
        )
    return Piece(path.name, path)


def _with_unique_ids(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """The pieces; of equal names (from different sources) the later ones get a number."""
    seen: Counter[str] = Counter()
    for piece in pieces:
        # A name on disk may be any bytes; an id is valid text in every file it is written to.
        name = piece.id.encode("utf-8", "backslashreplace").decode()
        seen[name] += 1
        if seen[name] > 1:
            name = f"{name} ({seen[name]})"
        yield replace(piece, id=name)
