"""What files say of a score beside its notes: the names and sound of its parts, metre, key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.scores.notes import DRUMS

MOST_STRINGS = 4  # named parts whose programs are those of strings, from 40 on
PIANO = 0


@dataclass(frozen=True)
class Parts:
    """The parts of a score, one for each of its programs.

    `names` are those that are not the instrument's, as Soprano; with `played_by` all parts but the
    percussion are played by this General MIDI program. More named parts than four have programs
    that are no instrument of theirs (harp, timpani, synthetic voices): the piano plays them.
    """

    names: Mapping[int, str] = field(default_factory=dict)  # program in the score -> name
    played_by: int | None = None
    beats_per_bar: int = 4  # quarters

    def name(self, program: int) -> str:
        """The name of the part with this program in the score."""
        return self.names.get(program) or instrument_name(self.sound(program))

    def sound(self, program: int) -> int:
        """The General MIDI program that plays this part; DRUMS stays percussion."""
        if program == DRUMS:
            return program
        if self.played_by is not None:
            return self.played_by
        return PIANO if program in self.names and len(self.names) > MOST_STRINGS else program


PLAIN = Parts()


def instrument_name(program: int) -> str:
    """General MIDI's name of a program as music21 has it; 'Percussion' for DRUMS."""
    import music21

    if program == DRUMS:
        return "Percussion"
    try:
        instrument = music21.instrument.instrumentFromMidiProgram(program)
    except music21.exceptions21.Music21Exception:
        return f"Program {program + 1}"
    return instrument.instrumentName or f"Program {program + 1}"


def key_of(notes: np.ndarray) -> Any:
    """The likeliest music21 key of notes, by Krumhansl's profiles; C major for percussion alone."""
    import music21

    melodic = notes[notes["program"] != DRUMS]
    if not melodic.size:
        return music21.key.Key("C")
    line: Any = music21.stream.Stream()
    for pitch, duration in melodic[["pitch", "duration"]].tolist():
        line.append(music21.note.Note(pitch, quarterLength=duration))
    return line.analyze("key")


def spelled(pitch: int, key: Any) -> Any:
    """The music21 pitch of a MIDI key, spelled as the key signature does: F# in D, Gb in Db."""
    import music21

    found = music21.pitch.Pitch(midi=pitch)
    for degree in key.pitches:
        if degree.pitchClass == pitch % 12:
            # B#3 is C4, and Cb5 is B4.
            octave = (pitch - int(degree.alter)) // 12 - 1
            found = music21.pitch.Pitch(degree.name, octave=octave) if octave >= 0 else found
    return found


def key_name(key: Any) -> str:
    """'G major' or 'Bb minor' of a music21 key."""
    return f"{key.tonic.name.replace('-', 'b')} {key.mode}"
