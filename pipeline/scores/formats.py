"""How score files are read: what a user can choose of it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass

MIDI_SUFFIXES = (".mid", ".midi")

NOTATION_SUFFIXES = (".xml", ".musicxml", ".mxl", ".krn", ".abc")

SCORE_SUFFIXES = MIDI_SUFFIXES + NOTATION_SUFFIXES  # what pipeline/scores/reading.py reads


MUSIC21, SYMUSIC = MIDI_READERS = ("music21", "symusic")


@dataclass(frozen=True)
class Reading:
    """Choices that can change the notes found in a file."""

    midi_reader: str = MUSIC21
    expand_repeats: bool = False  # notation: play what stands between repeat signs again

    def check(self) -> None:
        """Nothing, if this machine can read so. Raises ValueError for a reader that is not here."""
        if self.midi_reader not in MIDI_READERS:
            raise ValueError(
                f"--midi-reader {self.midi_reader}; there are {', '.join(MIDI_READERS)}"
            )
        if importlib.util.find_spec(self.midi_reader) is None:
            raise ValueError(
                f"--midi-reader {self.midi_reader} is not installed here: "
                f"pip install -c constraints.txt -e '.[{self.midi_reader}]', or leave the flag out"
            )

    def for_manifest(self) -> dict[str, str | bool]:
        """What of this decides the ids, with the versions of the libraries that read."""
        version = importlib.metadata.version
        decisive: dict[str, str | bool] = {"music21": version(MUSIC21)}
        # What is as it always was is not named: data sets made before there was a choice stay good.
        if self.midi_reader != MUSIC21:  # music21 reads what this one leaves, and all notation
            decisive["midi_reader"] = f"{self.midi_reader} {version(self.midi_reader)}"
        if self.expand_repeats:
            decisive["expand_repeats"] = True
        return decisive


AS_WRITTEN = Reading()
