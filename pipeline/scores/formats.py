"""The suffixes of score files, and how a user chooses to read them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from dataclasses import dataclass

MIDI_SUFFIXES = (".mid", ".midi")
MUSICXML_SUFFIXES = (".xml", ".musicxml", ".mxl")
ABC_SUFFIX = ".abc"
NOTATION_SUFFIXES = (*MUSICXML_SUFFIXES, ".krn", ABC_SUFFIX)
SCORE_SUFFIXES = MIDI_SUFFIXES + NOTATION_SUFFIXES
LINE_END = re.compile(r"\r\n?|\n")  # str.splitlines ends lines at other characters too

MUSIC21, SYMUSIC = MIDI_READERS = ("music21", "symusic")


@dataclass(frozen=True)
class Reading:
    """The choices that can change which notes are read from a file."""

    midi_reader: str = MUSIC21
    expand_repeats: bool = False  # notation: play repeated sections again

    def check(self) -> None:
        """Raise ValueError unless the MIDI reader is known and installed, and music21 is."""
        if self.midi_reader not in MIDI_READERS:
            raise ValueError(
                f"--midi-reader {self.midi_reader}; there are {', '.join(MIDI_READERS)}"
            )
        if self.midi_reader != MUSIC21 and importlib.util.find_spec(self.midi_reader) is None:
            raise ValueError(
                f"--midi-reader {self.midi_reader} is not installed here: "
                f"pip install -c constraints.txt -e '.[{self.midi_reader}]', or leave the flag out"
            )
        if importlib.util.find_spec(MUSIC21) is None:  # which reads what the other one cannot
            raise ValueError(
                f"music21, which reads scores, is not installed for {sys.executable}: make setup "
                "installs it for .venv/bin/python, and pip install -c constraints.txt -e "
                "'.[preprocess]' for yours"
            )

    def for_manifest(self) -> dict[str, str | bool]:
        """The choices and library versions that decide the token ids."""
        version = importlib.metadata.version
        decisive: dict[str, str | bool] = {"music21": version(MUSIC21)}
        # Defaults are not named, so that data sets made before the choice existed stay valid.
        # music21 is always named: it reads all notation, and the MIDI files that symusic cannot.
        if self.midi_reader != MUSIC21:
            decisive["midi_reader"] = f"{self.midi_reader} {version(self.midi_reader)}"
        if self.expand_repeats:
            decisive["expand_repeats"] = True
        return decisive


AS_WRITTEN = Reading()
