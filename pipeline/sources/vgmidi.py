"""VGMIDI: piano arrangements of video game music, labelled by emotion (Ferreira & Whitehead 2019).

`vgmidi_labelled.csv` has a row for each phrase that listeners judged. The phrases lie in
`labelled/phrases.zip` (or unpacked beside it), the whole pieces in `labelled/midi/`. The name of a
whole piece is that of its phrases without their number; the columns of the CSV do not always agree.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from pipeline.scores.labels import Features
from pipeline.sources.piece import Piece
from pipeline.sources.tables import cell, read_table, report, rows_by_name

TABLE = "vgmidi_labelled.csv"
COLUMNS = ("id", "series", "console", "game", "midi", "valence", "arousal")
Row = dict[str, str]


def vgmidi_pieces(folder: Path, _: Callable[..., Path]) -> list[Piece]:
    """The whole pieces, split by game; a label is kept where all phrases of the piece have it.

    A file without a row is kept without labels, and a row without a file is left out, with a line.
    Raises ValueError where there are no files, or the table cannot be read.
    """
    rows = read_table(folder / TABLE, COLUMNS)
    files = {path.name: path for path in sorted((folder / "labelled" / "midi").glob("*.mid"))}
    if not files:
        raise ValueError(f"no .mid files in {folder / 'labelled' / 'midi'}")
    by_piece: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_piece[re.sub(r"_\d+\.mid$", ".mid", _file_name(row))].append(row)
    report(f"{TABLE} names a piece that is not in labelled/midi", by_piece.keys() - files.keys())
    report(f"not in {TABLE}, kept without labels", files.keys() - by_piece.keys())
    games = {f"{row['series']}_{row['console']}_{row['game']}_": row["game"] for row in rows}
    pieces = []
    for name, path in files.items():
        if name in by_piece:
            features = _shared([_features(folder / TABLE, row) for row in by_piece[name]])
        else:
            game = next((games[start] for start in games if name.startswith(start)), None)
            features = Features(game=game)
        group = f"game {features.game or name}"
        pieces.append(Piece(f"vgmidi/{name}", path, group=group, features=features))
    return pieces


def vgmidi_phrases(folder: Path, unpack: Callable[..., Path]) -> list[Piece]:
    """The phrases that were judged, split by game, each with its own labels.

    A row without a file and a file without a row are left out, with a line each; so are a second
    row and a second file of a name. Raises ValueError
    where there is neither phrases.zip nor a folder phrases, or the table cannot be read.
    """
    rows = read_table(folder / TABLE, COLUMNS)
    phrases = folder / "labelled" / "phrases"
    if not phrases.is_dir():
        archive = phrases.with_suffix(".zip")
        if not archive.is_file():
            raise ValueError(f"{folder / 'labelled'} has neither phrases.zip nor a folder phrases")
        phrases = unpack(archive, (".mid",))
    found = [path for path in sorted(phrases.rglob("*.mid")) if path.name[:2] != "._"]
    files = {path.name: path for path in reversed(found)}
    twice = {path.name for path in found if files[path.name] != path}
    report("two files have one name, the first by path is used", twice)
    named = rows_by_name(folder / TABLE, rows, _file_name)
    report(f"{TABLE} names a phrase that is not there", named.keys() - files.keys())
    report(f"phrase left out, not in {TABLE}", files.keys() - named.keys())
    return [
        Piece(
            f"vgmidi-phrases/{name}",
            files[name],
            group=f"game {row['game']}",
            features=_features(folder / TABLE, row),
        )
        for name, row in named.items()
        if name in files
    ]


def _file_name(row: Row) -> str:
    return PurePosixPath(row["midi"]).name


def _features(table: Path, row: Row) -> Features:
    return Features(
        valence=cell(table, row, "valence", _emotion),
        arousal=cell(table, row, "arousal", _emotion),
        game=row["game"],
    )


def _emotion(text: str) -> float:
    value = float(text)
    if not -1 <= value <= 1:
        raise ValueError("a number from -1 to 1 is needed")
    return value


def _shared(labels: Sequence[Features]) -> Features:
    """The features on which all of these agree."""
    first, *others = (label.known() for label in labels)
    return Features(
        **{name: v for name, v in first.items() if all(o.get(name) == v for o in others)}
    )
