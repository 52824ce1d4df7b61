"""ComMU: short tracks by composers, each with 12 fields of metadata (Hyun et al., NeurIPS 2022).

`commu_meta.csv` has a row for each `commu_midi/{train,val}/raw/commuNNNNN.mid`; as published the
MIDI files are in `commu_midi.tar`. A MIDI file may carry the chords of its metadata as a track of
its own, which is left out.

A track of 5, 9 or 17 bars begins with a pick-up; its chords are those of the full bars and begin
one bar in. (ComMU's own code, github.com/POZAlabs/ComMU-code, commu/preprocessor, also says so:
`is_incomplete_measure`.) `Features.chords` then begins with a bar of NO_CHORD.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pipeline.scores.counted_rules import CHORD_TRACK
from pipeline.scores.labels import Features
from pipeline.scores.notes import Score
from pipeline.sources.archives import is_archive
from pipeline.sources.piece import Piece
from pipeline.sources.tables import (
    cell,
    positive_number,
    read_table,
    report,
    rows_by_name,
    whole_number,
)

TABLE, FOLDER, ARCHIVE = "commu_meta.csv", "commu_midi", "commu_midi.tar"
SPLITS = {"train": "train", "val": "valid"}  # there is no official test split
CHORD_TRACK_NAME = "chord"
NO_CHORD = "NN"  # ComMU's own symbol
COLUMNS = (
    *("audio_key", "chord_progressions", "pitch_range", "num_measures", "bpm", "genre"),
    *("track_role", "inst", "sample_rhythm", "time_signature", "min_velocity", "max_velocity"),
    *("split_data", "id"),
)


def commu_pieces(path: Path, unpack: Callable[..., Path]) -> list[Piece]:
    """The tracks with their metadata and official split, from a folder or a tar.

    A row without a file and a file without a row are left out, with a line each; so are a second
    row of an id, and a second file of a name. Raises ValueError if the table or the MIDI files are
    missing, or for a value of another form.
    """
    table, midi = _table_and_files(path, unpack)
    rows = rows_by_name(table, read_table(table, COLUMNS), lambda row: row["id"])
    files = _files(midi, {name: row["split_data"] for name, row in rows.items()})
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


def _files(midi: Path, split_of: dict[str, str]) -> dict[str, Path]:
    """Name -> MIDI file; of two files of one name that in the folder of the piece's split."""
    found: dict[str, list[Path]] = {}
    for file in sorted(midi.rglob("*.mid")):
        if file.name[:2] != "._":
            found.setdefault(file.stem, []).append(file)
    report(
        "two files have one name, that of the piece's split is used",
        (name for name, files in found.items() if len(files) > 1),
    )
    return {
        name: max(files, key=lambda file: split_of.get(name) in file.relative_to(midi).parts)
        for name, files in found.items()
    }


def read_without_chord_track(path: Path) -> list[Score]:
    """The notes of a MIDI file without those of the track named `chord`, which are counted.

    Raises ValueError for a damaged file, CountError as `read_midi` does.
    """
    from pipeline.scores.midi.by_music21 import (
        score_by_music21,  # music21: only parsing processes load it
    )
    from pipeline.scores.midi.note_count import count_notes, with_count
    from pipeline.scores.midi.rules import split_chunks

    kind, division, tracks = split_chunks(path.read_bytes())
    kept = [track for track in tracks if not _is_chord_track(track)]
    score = with_count(score_by_music21(kind, division, kept), kept)
    num_chord_notes = count_notes([track for track in tracks if _is_chord_track(track)])
    assert score.notes_read is not None
    return [
        replace(
            score,
            adjustments=Counter(score.adjustments) + Counter({CHORD_TRACK: num_chord_notes}),
            notes_read=score.notes_read + num_chord_notes,
        )
    ]


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
    num_measures = cell(table, row, "num_measures", whole_number)
    chords = cell(table, row, "chord_progressions", _chords)
    return Features(
        key=cell(table, row, "audio_key", _key),
        chords=_from_the_first_bar(chords, num_measures, row["time_signature"]),
        pitch_range=row["pitch_range"],
        num_measures=num_measures,
        tempo=cell(table, row, "bpm", positive_number),
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


def _from_the_first_bar(chords: tuple[str, ...], num_measures: int, metre: str) -> tuple[str, ...]:
    """The chords from the start of the file on, with an empty bar before them for a pick-up."""
    match = re.fullmatch(r"(\d+)/(\d+)", metre)
    eighths = 8 * int(match[1]) // int(match[2]) if match and int(match[2]) else 0  # of a bar
    has_pick_up = num_measures % 4 == 1 and len(chords) == (num_measures - 1) * eighths
    return (NO_CHORD,) * (eighths if has_pick_up else 0) + chords


def _is_chord_track(track: bytes) -> bool:
    """Whether a meta event 03 names the track `chord`."""
    return b"\xff\x03" + bytes([len(CHORD_TRACK_NAME)]) + CHORD_TRACK_NAME.encode() in track
