"""Which track of a MIDI file each note is in, and the names of the tracks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from pipeline.scores.midi.by_music21 import score_by_music21
from pipeline.scores.midi.rules import split_chunks
from pipeline.scores.notes import Score

SAME = ["onset", "pitch", "duration", "velocity"]  # the program may be set in another track


def tracks_of_notes(path: Path, score: Score) -> tuple[np.ndarray, list[str]]:
    """The track of each note of the file's score [num_notes] from 0, and the name of each track.

    Equal notes of several tracks go to these in turn. A track without a name is called by its
    number. Raises ValueError for a damaged file, for format 2, whose tracks are pieces, and where
    the tracks by themselves have other notes than the file.
    """
    kind, division, contents = split_chunks(path.read_bytes())
    if kind == 2:
        raise ValueError("the tracks of format 2 follow one another")
    left = [
        Counter(score_by_music21(kind, division, [track]).notes[SAME].tolist())
        for track in contents
    ]
    tracks = np.zeros(score.notes.size, np.int64)
    for index, note in enumerate(score.notes[SAME].tolist()):
        track = next((place for place, notes in enumerate(left) if notes[note]), None)
        if track is None:
            raise ValueError(f"no track by itself has the note {note} of the file")
        tracks[index] = track
        left[track][note] -= 1
    return tracks, _names(path, len(contents))


def _names(path: Path, num_tracks: int) -> list[str]:
    import mido

    names = [""] * num_tracks
    try:
        for place, track in enumerate(mido.MidiFile(path, clip=True).tracks[:num_tracks]):
            names[place] = track.name.strip()
    except (OSError, EOFError, ValueError, IndexError, mido.KeySignatureError):
        pass  # the notes were read by another reader; only the names are missing
    return [name or f"track {place}" for place, name in enumerate(names, 1)]
