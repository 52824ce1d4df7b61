"""A line of ABC music -> its symbols, in the notation of ABC 2.1, chapter 4."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from pipeline.scores.abc_notation.keys import ACCIDENTALS

OCTAVE_OF_CAPITALS = 60  # C is middle C, c the octave above
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}

LENGTH = r"\d*(?:/\d+|/+)?"
NOTE = rf"(?P<accidental>\^\^|\^|__|_|=)?(?P<letter>[A-Ga-g])(?P<octave>[,']*)(?P<length>{LENGTH})"
NEUTRAL = r'"[^"]*"|![^!\s|]+!|[\s`.~H-WYh-w]'  # text, decorations: they change no note
SYMBOL = re.compile(
    rf"""
      (?P<space>[\s`$*;?@\#\\]+|y{LENGTH})    # beams, line breaks, spacers, reserved characters
    | (?P<text>"[^"]*")                       # chord symbols and annotations
    | \[(?P<field>[A-Za-z]):(?P<value>[^\]]*)\]
    | (?P<decoration>![^!\s|\[\]"]+!|[.~H-WYh-w])
    | (?P<old_sign>\+[^+\s|]+\+)              # a decoration, or a chord, of ABC before 2.0
    | \[(?P<ending>\d[\d,.-]*)
    | (?P<bar>:*\[?\|[|:\]]*|::+)(?:\[?(?P<bar_ending>\d[\d,.-]*))?
    | \((?P<p>\d+)(?::(?P<q>\d*))?(?::(?P<r>\d*))?
    | (?P<layers>\(&|&\)|&+)
    | (?P<slur>[()])
    | (?P<note>{NOTE})
    | \[(?P<chord>(?:{NEUTRAL}|[^\[\]|"!])*)\](?P<chord_length>{LENGTH})
    | \[(?P<titled_ending>"[^"]*")            # of abcm2ps and abc2xml, not of the standard
    | (?P<rest>[zxZX])(?P<rest_length>{LENGTH})
    | \{{(?P<grace>[^}}]*)\}}
    | (?P<tie>-)
    | (?P<broken>>+|<+)
    | (?P<line_break>!)                       # of ABC before 2.1
    """,
    re.VERBOSE,
)
MEMBER = re.compile(rf"{NOTE}(?P<tie>-)?|[zx]{LENGTH}|(?P<skip>{NEUTRAL}|[()/])", re.VERBOSE)
MICROTONE = re.compile(r"[\^_]+\d*/")


class WrittenNote(NamedTuple):
    """A note as it is written, before key and bar decide what it sounds."""

    letter: str  # a capital
    natural: int  # MIDI key of the letter in its octave
    accidental: int | None
    length: Fraction  # in unit lengths
    is_tied: bool


def symbols(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """(kind, match) of each symbol that matters. Raises ValueError naming what is no symbol."""
    place = 0
    while place < len(text):
        found = SYMBOL.match(text, place)
        if not found:
            kind = "microtone" if MICROTONE.match(text, place) else "what is no symbol of ABC"
            raise ValueError(f"{kind}: {text[place : place + 12]!r}")
        kind = _kind(found)
        if kind:
            yield kind, found
        place = found.end()


KINDS = (
    "note", "bar", "chord", "rest", "field", "ending", "titled_ending", "old_sign", "p", "layers",
    "grace", "tie", "broken", "decoration", "text",
)  # fmt: skip


def _kind(found: re.Match[str]) -> str:
    return next((kind for kind in KINDS if found[kind] is not None), "")


def read_length(text: str) -> Fraction:
    """`3`, `3/2`, `/`, `3//` as a number. Raises ValueError for a length of 0."""
    if not text:
        return Fraction(1)
    top, slash, bottom = text.partition("/")
    below = int(bottom) if bottom.isdigit() else 2 ** len(slash + bottom) if slash else 1
    if not int(top or 1) or not below:
        raise ValueError(f"a note length of {text}")
    return Fraction(int(top or 1), below)


def written_note(found: re.Match[str], *, is_tied: bool = False) -> WrittenNote:
    """The note of a match of NOTE."""
    letter = found["letter"].upper()
    octave = OCTAVE_OF_CAPITALS + 12 * found["letter"].islower()
    octave += 12 * (found["octave"].count("'") - found["octave"].count(","))
    accidental = ACCIDENTALS[found["accidental"]] if found["accidental"] else None
    natural = octave + SEMITONES[letter]
    return WrittenNote(letter, natural, accidental, read_length(found["length"]), is_tied)


def members(text: str) -> list[WrittenNote]:
    """The notes between the brackets of a chord. Raises ValueError naming what is none."""
    notes: list[WrittenNote] = []
    place = 0
    while place < len(text):
        found = MEMBER.match(text, place)
        if not found:
            raise ValueError(f"in a chord or grace notes: {text[place:]!r}")
        if found["letter"]:
            notes.append(written_note(found, is_tied=found["tie"] is not None))
        place = found.end()
    return notes


GRACE_CHORD = re.compile(rf"\[([^\]]*)\]{LENGTH}|[^\[]+")


def grace_chords(text: str) -> list[list[WrittenNote]]:
    """The notes between the braces, those of a chord together; a slash there says how fast."""
    chords: list[list[WrittenNote]] = []
    for found in GRACE_CHORD.finditer(text):
        if found[1] is not None:
            chords.append(members(found[1]))
        else:
            chords += [[note] for note in members(re.sub(r"[<>-]", "", found[0]))]
    return chords
