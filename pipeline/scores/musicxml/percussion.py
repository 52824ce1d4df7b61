"""Where percussion stands on a staff of five lines, and with which notehead.

Source: Weinberg, "Guidelines for Drumset Notation", Percussive Notes 32/3 (1994), for the keys of
a drum kit in General MIDI.
"""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """A line or space, named as in the treble clef, and a notehead of MusicXML."""

    step: str
    octave: int
    notehead: str = "normal"


KIT = {
    35: Place("E", 4),  # bass drums
    36: Place("F", 4),
    37: Place("C", 5, "x"),  # side stick
    38: Place("C", 5),  # snare drums
    40: Place("C", 5),
    41: Place("G", 4),  # toms, from the lowest
    43: Place("A", 4),
    45: Place("B", 4),
    47: Place("D", 5),
    48: Place("E", 5),
    50: Place("F", 5),
    42: Place("G", 5, "x"),  # hi-hat: closed, with the foot, open
    44: Place("D", 4, "x"),
    46: Place("G", 5, "circle-x"),
    49: Place("A", 5, "x"),  # crash cymbals
    57: Place("B", 5, "x"),
    51: Place("F", 5, "x"),  # ride cymbals, the bell of one
    59: Place("D", 5, "x"),
    53: Place("F", 5, "diamond"),
    55: Place("B", 5, "circle-x"),  # splash, Chinese
    52: Place("C", 6, "circle-x"),
    56: Place("E", 5, "triangle"),  # cowbell
}


def place_of(key: int) -> Place:
    """Where a key stands. One that is not of a kit is a triangle within the staff."""
    if key in KIT:
        return KIT[key]
    step = "CCDDEFFGGAAB"[key % 12]
    return Place(step, 4 if step in "FGAB" else 5, "triangle")
