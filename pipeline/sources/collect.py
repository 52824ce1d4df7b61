"""Where pieces come from, and which split each belongs to."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from pipeline.dataset.manifest import SPLITS, file_sha256
from pipeline.scores.labels import NO_FEATURES
from pipeline.sources.archives import ARCHIVE_SUFFIXES, extract_scores, is_archive
from pipeline.sources.catalogue import NAMED_SOURCES
from pipeline.sources.piece import Piece

MIDI_SUFFIXES = (".mid", ".midi")
NOTATION_SUFFIXES = (".xml", ".musicxml", ".mxl", ".krn", ".abc")
SCORE_SUFFIXES = MIDI_SUFFIXES + NOTATION_SUFFIXES  # what pipeline/scores/reading.py reads


@contextmanager
def open_sources(names: Sequence[str]) -> Iterator[list[Piece]]:
    """The pieces of all sources, sorted by id; files from archives exist until the end.

    A source is a folder (searched with all below it), a score file, a .zip or .tar of scores, or a
    data set by its name, such as `bach` or `jsb:PATH` (named_sources.py).
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
                raise ValueError(
                    f"source {name} does not exist; needed: a folder, a score file, a .zip or "
                    f".tar of scores, or one of: {', '.join(map(str, NAMED_SOURCES.values()))}"
                )
        yield sorted(_with_unique_ids(pieces), key=lambda piece: piece.id)


def content_digests(pieces: Sequence[Piece]) -> dict[str, str]:
    """Piece id -> hex sha256 of what it holds; of a file that cannot be read, a text of its own.

    Whoever reads the file next says why it cannot be.
    """
    digests = {}
    for piece in pieces:
        try:
            digests[piece.id] = piece.content or file_sha256(piece.path)
        except OSError:
            digests[piece.id] = f"unreadable: {piece.id}"
    return digests


def label_digests(pieces: Sequence[Piece]) -> dict[str, str]:
    """Piece id -> hex sha256 of its official split, group and features, of pieces that have any."""
    labels = {
        piece.id: [piece.split, piece.group, sorted(piece.features.known().items())]
        for piece in pieces
        if piece.split or piece.group or piece.features != NO_FEATURES
    }
    return {
        name: hashlib.sha256(repr(label).encode()).hexdigest() for name, label in labels.items()
    }


def assign_splits(
    pieces: Sequence[Piece], digests: Mapping[str, str], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Piece id -> split, such that equal files and the members of a group share one.

    A piece goes where sha256(seed, group or content) falls on the line from 0 to 1, which train,
    valid and test divide by their shares. So a piece keeps its split whatever its name and whoever
    joins the collection (cutting an ordered list by share would move pieces over the borders). Only
    a split that is left empty takes the unit nearest to its border from the fullest one, in the
    order train, valid, test: three units are enough for three splits.
    Pieces with an official split stay there.
    """
    units: dict[str, list[str]] = {}
    for piece in pieces:
        if piece.split is None:
            units.setdefault(piece.group or digests[piece.id], []).append(piece.id)
    place = {unit: _place_on_line(unit, seed) for unit in units}
    wanted = [split for split in SPLITS if shares.get(split, 0) > 0]
    split_of_unit = {unit: _split_at(place[unit], shares) for unit in units}
    for split in wanted:
        filled = Counter(split_of_unit.values())
        fullest = max(wanted, key=lambda other: filled[other])
        if filled[split] == 0 and filled[fullest] > 1:
            donors = [unit for unit in units if split_of_unit[unit] == fullest]
            after = SPLITS.index(split) > SPLITS.index(fullest)
            nearest = (max if after else min)(donors, key=lambda unit: place[unit])
            split_of_unit[nearest] = split
    splits = {piece.id: piece.split for piece in pieces if piece.split is not None}
    splits.update((name, split_of_unit[unit]) for unit, names in units.items() for name in names)
    return splits


def _place_on_line(unit: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{unit}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _split_at(place: float, shares: Mapping[str, float]) -> str:
    border = 0.0
    for split in SPLITS[:-1]:
        border += shares.get(split, 0.0)
        if place < border - 1e-12:
            return split
    return SPLITS[-1]


def _folder(folder: Path, shown: str) -> list[Piece]:
    """Every score below a folder; hidden files and macOS's `__MACOSX` shadows are no scores."""
    others: Counter[str] = Counter()
    pieces = []
    for path in folder.rglob("*"):
        name = PurePosixPath(path.relative_to(folder).as_posix())
        if any(part.startswith(".") or part == "__MACOSX" for part in name.parts):
            continue
        if path.exists() and not path.is_file():  # a link to nowhere stays: a reject, not silence
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
    """The pieces; of those with one name (from different sources) the later ones are numbered."""
    seen: Counter[str] = Counter()
    for piece in pieces:
        # A name on disk is any bytes; an id is text, whatever it is written to.
        name = piece.id.encode("utf-8", "backslashreplace").decode()
        seen[name] += 1
        if seen[name] > 1:
            name = f"{name} ({seen[name]})"
        yield replace(piece, id=name)
