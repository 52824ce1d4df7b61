"""Small data sets in the layout of the public ones."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import mido

from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import Score, make_notes
from pipeline.sources.collect import open_sources
from pipeline.sources.piece import Piece


def pieces_of(*sources: str) -> dict[str, Piece]:
    with open_sources(sources) as pieces:
        return {piece.id: piece for piece in pieces}


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def write_tune(path: Path, first: int = 60) -> None:
    """Four quarter notes, other ones for each first pitch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_midi(Score(make_notes([(i, 0, first + 2 * i, 1, 80) for i in range(4)]), 1), path)


COMMU_ROW = {
    "": "0",
    "audio_key": "aminor",
    "chord_progressions": "[['Am', 'Am', 'C/E', 'C/E']]",
    "pitch_range": "mid_high",
    "num_measures": "9",
    "bpm": "130",
    "genre": "newage",
    "track_role": "main_melody",
    "inst": "acoustic_piano-1",
    "sample_rhythm": "standard",
    "time_signature": "4/4",
    "min_velocity": "40",
    "max_velocity": "95",
    "split_data": "train",
    "id": "commu00001",
}


def write_commu(folder: Path, **changes: str) -> Path:
    """Three tracks in ComMU's layout, the changes made to the first row."""
    rows = [
        COMMU_ROW | changes,
        COMMU_ROW | {"id": "commu00002", "audio_key": "bbmajor", "bpm": "60"},
        COMMU_ROW | {"id": "commu00003", "split_data": "val", "inst": "string_cello"},
    ]
    write_table(folder / "commu_meta.csv", rows)
    for number, split in enumerate(("train", "train", "val")):
        path = folder / "commu_midi" / split / "raw" / f"commu0000{number + 1}.mid"
        write_tune(path, 60 + number)
        add_chord_track(path)
    return folder


def add_chord_track(path: Path) -> None:
    """A triad under the tune, in a track of its own."""
    midi = mido.MidiFile(path)
    track = mido.MidiTrack([mido.MetaMessage("track_name", name="chord")])
    track += [mido.Message("note_on", note=key, velocity=60) for key in (36, 40, 43)]
    length = 4 * midi.ticks_per_beat
    track += [
        mido.Message("note_off", note=key, time=0 if key > 36 else length) for key in (36, 40, 43)
    ]
    midi.tracks.append(track)
    midi.save(path)
