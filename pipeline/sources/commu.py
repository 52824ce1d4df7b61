"""ComMU: short tracks by composers, each with 12 fields of metadata (Hyun et al., NeurIPS 2022).

`commu_meta.csv` has a row for each `commu_midi/{train,val}/raw/commuNNNNN.mid`; as published the
MIDI files are in `commu_midi.tar`. A MIDI file may carry the chords of its metadata as a track of
its own, which is left out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

from pipeline.scores.labels import Features
from pipeline.scores.notes import Score
from pipeline.sources.archives import is_archive
from pipeline.sources.piece import Piece
from pipeline.sources.tables import cell, number, read_table, report, whole_number

TABLE, FOLDER, ARCHIVE = "commu_meta.csv", "commu_midi", "commu_midi.tar"
SPLITS = {"train": "train", "val": "valid"}  # there is no official test split
CHORD_TRACK = "chord"
COLUMNS = (
    *("audio_key", "chord_progressions", "pitch_range", "num_measures", "bpm", "genre"),
    *("track_role", "inst", "sample_rhythm", "time_signature", "min_velocity", "max_velocity"),
    *("split_data", "id"),
)


def commu_pieces(path: Path, unpack: Callable[..., Path]) -> list[Piece]:
    """The tracks with their metadata and official split, from a folder or a tar.

    A row without a file and a file without a row are left out, with a line each. Raises ValueError
    if the table or the MIDI files are missing, or for a value of another form.
    """
    table, midi = _table_and_files(path, unpack)
    rows = {row["id"]: row for row in read_table(table, COLUMNS)}
    files = {file.stem: file for file in sorted(midi.rglob("*.mid")) if file.name[:2] != "._"}
    report(f"{TABLE} names a piece without a file", rows.keys() - files.keys())
    report(f"left out, not in {TABLE}", files.keys() - rows.keys())
    if not rows.keys() & files.keys():
        raise ValueError(f"none of the {len(rows)} pieces of {table} is in {midi}")
    return [
        Piece(
            f"commu/{name}",
            files[name],
            split=cell(table, row, "split_data", _split),
            reader=read_without_chord_track,
            features=_features(table, row),
        )
        for name, row in rows.items()
        if name in files
    ]


def read_without_chord_track(path: Path) -> list[Score]:
    """The notes of a MIDI file without those of the track named `chord`.

    Raises NoNotesError if no note remains, ValueError for a damaged file.
    """
    from pipeline.scores.midi.by_music21 import (
        score_by_music21,  # music21: only parsing processes load it
    )
    from pipeline.scores.midi.rules import split_chunks
    from pipeline.scores.notes import NoNotesError

    kind, division, tracks = split_chunks(path.read_bytes())
    score = score_by_music21(kind, division, [t for t in tracks if not _is_chord_track(t)])
    if not score.notes.size:
        raise NoNotesError("no notes in it")
    return [score]


def _table_and_files(path: Path, unpack: Callable[..., Path]) -> tuple[Path, Path]:
    """The CSV file, and the folder that holds the MIDI files at some depth."""
    if is_archive(path):
        midi = unpack(path, (".mid", ".csv"))
        table = next(iter(sorted(midi.rglob(TABLE))), path.parent / TABLE)
    elif (path / FOLDER).is_dir():
        table, midi = path / TABLE, path / FOLDER
    elif (path / ARCHIVE).is_file():
        table, midi = path / TABLE, unpack(path / ARCHIVE, (".mid",))
    else:
        raise ValueError(f"{path} has neither a folder {FOLDER} nor {ARCHIVE}")
    if not table.is_file():
        raise ValueError(f"{table} does not exist; ComMU's metadata are needed beside its MIDI")
    return table, midi


def _features(table: Path, row: dict[str, str]) -> Features:
    """The 12 fields of metadata as features."""
    return Features(
        key=cell(table, row, "audio_key", _key),
        chords=cell(table, row, "chord_progressions", _chords),
        pitch_range=row["pitch_range"],
        num_measures=cell(table, row, "num_measures", whole_number),
        tempo=cell(table, row, "bpm", number),
        genre=row["genre"],
        role=row["track_role"],
        instrument=row["inst"],
        rhythm=row["sample_rhythm"],
        metre=row["time_signature"],
        min_velocity=cell(table, row, "min_velocity", whole_number),
        max_velocity=cell(table, row, "max_velocity", whole_number),
    )


def _split(text: str) -> str:
    if text not in SPLITS:
        raise ValueError(f"needed: {' or '.join(SPLITS)}")
    return SPLITS[text]


def _key(text: str) -> str:
    """'C major' for 'cmajor', 'Bb minor' for 'bbminor'."""
    match = re.fullmatch(r"([a-g])([#b]?)(major|minor)", text)
    if not match:
        raise ValueError("needed: a key such as cmajor or f#minor")
    tonic, accidental, mode = match.groups()
    return f"{tonic.upper()}{accidental} {mode}"


def _chords(text: str) -> tuple[str, ...]:
    """One symbol per eighth note: ('Am', 'Am', 'C') for "[['Am', 'Am', 'C']]"."""
    found = ast.literal_eval(text)
    if not (
        isinstance(found, list)
        and len(found) == 1
        and isinstance(found[0], list)
        and all(isinstance(symbol, str) for symbol in found[0])
    ):
        raise ValueError("needed: one list of chord symbols in a list")
    return tuple(found[0])


def _is_chord_track(track: bytes) -> bool:
    """Whether a meta event 03 names the track `chord`."""
    return b"\xff\x03" + bytes([len(CHORD_TRACK)]) + CHORD_TRACK.encode() in track
