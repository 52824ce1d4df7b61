"""Music stored as frames of sounding pitches: JSON files of JSB Chorales, Nottingham and others.

A file is {split: [piece]}, a piece is a list of frames of equal length, and a frame is either one
pitch per voice (-1: silent) or the sounding pitches of all voices. Frames do not tell a held note
from a repeated one, so equal pitches in successive frames are read as one held note.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.dataset.manifest import SPLITS
from pipeline.scores.notes import DEFAULT_VELOCITY, CountError, Score, make_notes
from pipeline.sources.piece import Piece
from pipeline.vocabulary.frames import FIRST_PROGRAM, MAX_VOICES

SILENT = -1
NUM_KEYS = 128  # of MIDI

# The length of a frame is only in the file's name.
STEPS_PER_QUARTER = {"16th": 4, "8th": 2, "quarter": 1}


@dataclass(frozen=True)
class FrameSet:
    """The contents of a file of frames."""

    splits: dict[str, list[np.ndarray]]  # pieces [num_frames, width] int16; SILENT where no pitch
    steps_per_quarter: int  # frames in a quarter note
    has_voices: bool  # True: column i is voice i; False: a frame's pitches, lowest first

    def score(self, split: str, index: int) -> Score:
        """The notes of a piece: a program per voice from FIRST_PROGRAM on, else all program 0.

        A voice keeps its own track even where it is silent throughout: no other voice takes its
        program.
        """
        frames = self.splits[split][index]
        rolls = {0: piano_roll(frames)}
        if self.has_voices:
            columns = np.hsplit(frames, frames.shape[1])
            rolls = {FIRST_PROGRAM + i: piano_roll(column) for i, column in enumerate(columns)}
        rows = [
            (onset, program, pitch, duration, DEFAULT_VELOCITY)
            for program, roll in rolls.items()
            for onset, pitch, duration in _held_notes(roll)
        ]
        return Score(make_notes(rows), self.steps_per_quarter)


def read_frames(path: Path) -> FrameSet:
    """The frames of a JSON file, its official splits train, valid and test kept.

    Sources: github.com/czhuang/JSB-Chorales-dataset (`Jsb16thSeparated.json`, one pitch per voice,
    and `jsb-chorales-quarter.json`, sounding pitches) and, in the second form, Nottingham, MuseData
    and Piano-midi.de.
    Raises ValueError for a file of another form, OSError for one that cannot be opened.
    """
    if path.suffix.lower() == ".mat":
        raise ValueError(
            f"{path} is a MATLAB file, which is not read. docs/data-sets.md says how to "
            "make a .json file of it"
        )
    units = [unit for unit in STEPS_PER_QUARTER if unit in path.name]
    if len(units) != 1:
        raise ValueError(
            f"{path}: the name of a file of frames must say how long a frame is, by one of: "
            f"{', '.join(STEPS_PER_QUARTER)}"
        )
    try:
        contents = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(contents, dict) or set(contents) != set(SPLITS):
        found = sorted(contents) if isinstance(contents, dict) else type(contents).__name__
        raise ValueError(f"{path} holds {found!s:.80}; needed: the splits {', '.join(SPLITS)}")
    for split, pieces in contents.items():
        _check_pieces(pieces, f"{path}: {split}")
    everything = [
        ((split, index, number), frame)
        for split, pieces in contents.items()
        for index, piece in enumerate(pieces)
        for number, frame in enumerate(piece)
    ]
    not_ascending = next((f for f in everything if f[1] != sorted({*f[1]} - {SILENT})), None)
    widths = {len(frame) for _, frame in everything}
    if not_ascending and (len(widths) > 1 or max(widths) > MAX_VOICES):
        (split, index, number), frame = not_ascending
        raise ValueError(
            f"{path} has frames that are neither ascending pitches nor one pitch for each of the "
            f"same voices, {MAX_VOICES} at most: frames of {min(widths)} to {max(widths)} numbers, "
            f"and frame {number} of {split} {index}, {frame!s:.40}, is not ascending"
        )
    splits = {split: [_to_array(piece) for piece in contents[split]] for split in SPLITS}
    return FrameSet(splits, STEPS_PER_QUARTER[units[0]], not_ascending is not None)


def piano_roll(frames: np.ndarray) -> np.ndarray:
    """[num_frames, 128] bool: the keys that sound in frames [num_frames, width] of pitches."""
    roll = np.zeros((len(frames), NUM_KEYS + 1), bool)
    np.put_along_axis(roll, frames.astype(np.int64), True, axis=1)  # SILENT is the last column
    return roll[:, :NUM_KEYS]


def count_begun(frames: np.ndarray, has_voices: bool) -> int:
    """How many pitches of a frame the frame before does not have: in the voice, or at all."""
    voices = np.hsplit(frames, frames.shape[1]) if has_voices else [frames]
    number = 0
    for voice in voices:
        before = {SILENT}
        for frame in voice.tolist():
            number += len({*frame} - before)
            before = {*frame, SILENT}
    return number


@dataclass(frozen=True)
class FramesReader:
    """Callable that reads one piece of a file of frames; it is sent to parsing processes."""

    split: str
    index: int

    def __call__(self, path: Path) -> list[Score]:
        """The piece's score; of a piece of silence it has no notes. Raises CountError."""
        found = _read_once(path)
        score = found.score(self.split, self.index)
        counted = count_begun(found.splits[self.split][self.index], found.has_voices)
        if score.notes.size != counted:
            raise CountError(counted, score.notes.size)
        return [replace(score, notes_read=counted)]


def frames_pieces(path: Path, name: str) -> list[Piece]:
    """The pieces of a file of frames, each with its official split, called `name/split/index`.

    `path` may be a folder that holds one such file.
    """
    path = the_file(path)
    found = read_frames(path)
    return [
        Piece(
            f"{name}/{split}/{index:04d}",
            path,
            split=split,
            reader=FramesReader(split, index),
            content=_content(frames, found),
        )
        for split, pieces in found.splits.items()
        for index, frames in enumerate(pieces)
    ]


def the_file(path: Path) -> Path:
    """The file of frames at a path, which may be a folder that holds one. Raises ValueError."""
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f"{path} does not exist; needed: a .json file of frames")
        return path
    files = sorted(path.glob("*.json"))
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise ValueError(f"{path} holds these .json files: {names}; name the one to read")
    return files[0]


@lru_cache(maxsize=2)
def _read_once(path: Path) -> FrameSet:
    """`read_frames`, cached: a parsing process reads many pieces of one file."""
    return read_frames(path)


def _content(frames: np.ndarray, found: FrameSet) -> str:
    """Hex sha256 of all that a piece's score depends on."""
    form = f"{found.steps_per_quarter} {found.has_voices} {frames.shape}".encode()
    return hashlib.sha256(form + frames.astype("<i2").tobytes()).hexdigest()


def _check_pieces(pieces: Any, where: str) -> None:
    """Raise ValueError unless this is a list of lists of lists of MIDI keys."""
    if not isinstance(pieces, list) or not all(isinstance(piece, list) for piece in pieces):
        raise ValueError(f"{where} is no list of pieces, each a list of frames")
    for index, piece in enumerate(pieces):
        for frame in piece:
            if not isinstance(frame, list):
                raise ValueError(f"{where} {index}: frame {frame!r:.40} is no list of pitches")
            for pitch in frame:
                if type(pitch) is not int or not SILENT <= pitch < NUM_KEYS:
                    raise ValueError(f"{where} {index}: {pitch!r:.40} is no pitch from -1 to 127")


def _to_array(piece: list[list[int]]) -> np.ndarray:
    """[num_frames, width] int16 of frames of up to `width` pitches."""
    width = max(map(len, piece), default=0)
    padded = [[*frame, *[SILENT] * (width - len(frame))] for frame in piece]
    return np.array(padded, np.int16).reshape(len(piece), width)


def _held_notes(roll: np.ndarray) -> list[tuple[int, int, int]]:
    """(onset, pitch, duration), in frames, of every uninterrupted run of a key in a piano roll."""
    edges = np.diff(roll.astype(np.int8), axis=0, prepend=0, append=0)
    pitch, onset = np.nonzero(edges.T == 1)
    _, end = np.nonzero(edges.T == -1)
    return list(zip(onset.tolist(), pitch.tolist(), (end - onset).tolist(), strict=True))
