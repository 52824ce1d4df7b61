"""The voice of `generate.py --given`: read from a file, and the ids that it forces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.runtime.tables import print_line
from pipeline.scores.bars import signatures_from
from pipeline.scores.notes import DRUMS, Score, quantise, sort_notes
from pipeline.vocabulary.fitting import start_at_first_note
from pipeline.vocabulary.frames import FIRST_PROGRAM, REST
from pipeline.vocabulary.grid import GridVocabulary
from pipeline.vocabulary.registry import Vocabulary

FREE = -1  # in place of an id that the network chooses


class Given(Protocol):
    """Music to which the network composes the rest."""

    @property
    def tempo(self) -> float:
        """Quarters a minute."""
        ...

    def forced(self, vocabulary: GridVocabulary) -> np.ndarray:
        """Ids [num_frames, tokens_per_frame] int32; FREE where the network chooses."""
        ...

    def put_back(self, composed: Score) -> Score:
        """The composed piece, in which the given music is as it was given."""
        ...


@dataclass(frozen=True)
class GivenVoice:
    """One voice of a piece, on the vocabulary's grid from its first note."""

    voice: int  # 0 for the highest
    line: Score  # its notes, repeated notes apart, on the vocabulary's instrument for the voice

    @property
    def tempo(self) -> float:
        """Quarters a minute."""
        return self.line.tempo

    def forced(self, vocabulary: GridVocabulary) -> np.ndarray:
        """Ids [num_frames, tokens_per_frame] int32 of STEP and this voice; FREE in the others."""
        frames = np.full([self.line.end, vocabulary.voices], REST)
        for note in self.line.notes:
            frames[note["onset"] : note["onset"] + note["duration"], self.voice] = note["pitch"]
        ids = vocabulary.encode_frames(frames)[vocabulary.opening.size : -1]
        forced = np.full([self.line.end, vocabulary.tokens_per_frame], FREE, np.int32)
        for place in (0, 1 + self.voice):  # STEP, and the voice
            forced[:, place] = ids.reshape(forced.shape)[:, place]
        return forced

    def put_back(self, composed: Score) -> Score:
        """The score with this voice's own notes: the grid makes repeated notes held ones."""
        others = composed.notes[composed.notes["program"] != FIRST_PROGRAM + self.voice]
        notes = sort_notes(np.concatenate([others, self.line.notes]))
        return replace(composed, notes=notes, time_signatures=self.line.time_signatures)


def read_given_voice(
    path: Path, voice_name: str, vocabulary: Vocabulary, say: Callable[[str], None] = print_line
) -> GivenVoice:
    """The only voice of a score file, as one of the vocabulary's; reports notes that it changes.

    Raises ValueError for a model without voices, a voice that it does not have, and a file that is
    no score, holds chords, or exceeds the model's pitches.
    """
    if not isinstance(vocabulary, GridVocabulary) or vocabulary.voices < 2:
        raise ValueError(
            "--given needs a model of several voices, made from a data set with --vocabulary grid; "
            "this one's music has no voices. model/pretrained/chorales has four"
        )
    voice = voice_index(voice_name, vocabulary, "--given-voice")
    score = read_given_score(path, "--given")
    written = score.notes[score.notes["program"] != DRUMS]
    if drums := score.notes.size - written.size:
        say(f"given voice: percussion left out: {drums} of {score.notes.size} notes")
    line = quantise(replace(score, notes=written), vocabulary.steps_per_quarter)
    notes = line.notes
    _check(path, written, notes, vocabulary)
    start = start_at_first_note(notes)
    metres = signatures_from(line.time_signatures, line.resolution, start, start + line.end)
    if said := _off_grid(written, score.resolution, line):
        say(f"given voice: {said}")
    room = np.append(np.diff(notes["onset"]), np.iinfo(np.int32).max)
    if cut := int((notes["duration"] > room).sum()):
        say(f"given voice: note cut where the next begins: {cut} of {notes.size} notes")
    notes["duration"] = np.minimum(notes["duration"], room)
    notes["program"] = FIRST_PROGRAM + voice
    return GivenVoice(voice, replace(line, time_signatures=metres))


def read_given_score(path: Path, flag: str) -> Score:
    """The score of a file that a flag names.

    Raises ValueError, naming the flag, where it is missing, no score, or has no pitches.
    """
    from pipeline.scores.reading import read_score

    if not path.is_file():
        raise ValueError(f"{flag} {path} does not exist. Give a score file")
    try:
        score = read_score(path)
    except ValueError as error:
        raise ValueError(f"{flag} {path}: {error}") from None
    require_pitches(score, f"{flag} {path}")
    return score


def require_pitches(score: Score, named: str) -> None:
    """Raise ValueError, naming the flag and its music, for a score of percussion alone."""
    if score.notes.size and (score.notes["program"] == DRUMS).all():
        raise ValueError(f"{named} holds only percussion; needed is music with pitches")


def voice_index(name: str, vocabulary: GridVocabulary, flag: str) -> int:
    """The number of a voice by its name or number, 0 for the highest.

    Raises ValueError, naming the flag, for a voice that the vocabulary does not have.
    """
    names = [name.lower() for name in vocabulary.part_names.values()]
    numbers = [str(number + 1) for number in range(vocabulary.voices)]
    for known in (names, numbers):
        if name.lower() in known:
            return list(known).index(name.lower())
    raise ValueError(
        f"{flag} is {name!r}; this model's voices are {', '.join((*names, *numbers))}, the "
        "highest first"
    )


def _off_grid(written: np.ndarray, resolution: int, line: Score) -> str:
    """How many notes the grid changed and by how much at most; empty if it changed none."""
    changes = np.zeros(written.size)  # in quarters
    start = written["onset"][0]
    for before, after in (
        (written["onset"] - start, line.notes["onset"]),
        (written["duration"], line.notes["duration"]),
    ):
        units = before.astype(np.int64) * line.resolution - after.astype(np.int64) * resolution
        changes = np.maximum(changes, np.abs(units) / (resolution * line.resolution))
    changed = int(np.count_nonzero(changes))
    if not changed:
        return ""
    return (
        f"moved, or changed in length, to fit the grid of {line.resolution} steps a quarter: "
        f"{changed} of {written.size} notes, by up to {changes.max():.3g} quarters"
    )


def _check(path: Path, written: np.ndarray, notes: np.ndarray, vocabulary: GridVocabulary) -> None:
    """Raise ValueError unless the notes are one line within the vocabulary's pitches.

    `written` are the notes of the file, `notes` the same on the vocabulary's grid.
    """
    together = np.flatnonzero(np.diff(notes["onset"]) == 0)
    if together.size:
        quarter = notes["onset"][together[0]] / vocabulary.steps_per_quarter
        if np.diff(written["onset"]).all():
            raise ValueError(
                f"--given {path} holds notes too fast for this model, first at quarter {quarter:g}"
                f": its grid has {vocabulary.steps_per_quarter} steps a quarter, and two notes "
                "fall on one. Give a file with longer notes"
            )
        raise ValueError(
            f"--given {path} holds notes that begin together, first at quarter {quarter:g}; one "
            "voice sings one note at a time. Give a file with this voice alone"
        )
    lowest, highest = int(notes["pitch"].min()), int(notes["pitch"].max())
    if lowest < vocabulary.lowest_pitch or highest > vocabulary.highest_pitch:
        raise ValueError(
            f"--given {path} goes from MIDI key {lowest} to {highest}; this model sings from "
            f"{vocabulary.lowest_pitch} to {vocabulary.highest_pitch}. Transpose it"
        )
