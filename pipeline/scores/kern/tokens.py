"""The signifiers of one note or rest of a **kern spine.

Source: "Everything You Need to Know About the Humdrum **kern Representation", sections 3.2 and 3.7,
https://www.humdrum.org/rep/kern/.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

DURATION = re.compile(r"(\d+)(?:%(\d+))?")
PITCH = re.compile(r"([a-gA-G])\1*")
ACCIDENTAL = re.compile(r"#+|-+|n+")
SEMITONES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
LONGEST = {"0": 8, "00": 16, "000": 32}  # quarters of a breve, a long and a maxima
ORNAMENTS = re.compile(r"[tTmMwWS$]")
# `@16@`, and `@@16@@` for two notes in turn: the note is struck again and again, in 16ths here.
# Source: https://doc.verovio.humdrum.org/humdrum/tremolos/, the tremolo filter.
TREMOLO = re.compile(r"@+\d+@+")
# How far a tie reaches: a doubled sign ties notes with others in between, as in an arpeggio that is
# held as a chord.
NO_TIE, ADJACENT, DISTANT = range(3)
# A file names the sign that links two tie ends in different staves: `!!!RDF**kern: N = linked`.
LINK = re.compile(r"^!!!RDF\*\*kern:\s*(\S)\s*=\s*linked\s*$", re.MULTILINE)


class Note(NamedTuple):
    """One note or rest; a chord is several of them."""

    pitch: int | None  # MIDI key; None for a rest
    length: Fraction | None  # in quarters; None where the token gives no duration
    begins_tie: int = NO_TIE
    ends_tie: int = NO_TIE
    is_grace: bool = False
    is_unpitched: bool = False


def without_links(text: str) -> str:
    """The text of a file with each linked end of a tie, such as N[ or N], as a doubled sign.

    Both tie notes that need not follow one another. The link stands right before the tie.
    Source: https://doc.verovio.humdrum.org/humdrum/ties/.
    """
    for sign in set(LINK.findall(text.replace("\r", "\n"))):
        text = re.sub(rf"{re.escape(sign)}([\[\]_])\1?", r"\1\1", text)
    return text


@lru_cache(maxsize=65536)
def parse_note(token: str) -> Note:
    """The note or rest that a token without spaces stands for.

    Raises ValueError with the words that follow the token in an error line.
    """
    is_grace = "q" in token
    length = None if is_grace else _length(token)
    if "r" in token:
        return Note(None, length, is_grace=is_grace)
    return Note(
        _pitch(token),
        length,
        begins_tie=_reach(token, "[", "_"),
        ends_tie=_reach(token, "]", "_"),
        is_grace=is_grace,
        # After an ornament R is the turn that ends it.
        is_unpitched="R" in token and not ORNAMENTS.search(token),
    )


def _reach(token: str, *signs: str) -> int:
    return max(min(token.count(sign), DISTANT) for sign in signs)


def _length(token: str) -> Fraction | None:
    """The quarters that the token lasts; None where it gives no duration.

    A dot in another place than behind the number is an error of many files, and means the same.
    """
    found = DURATION.findall(TREMOLO.sub("", token))
    if not found:
        return None
    if len(found) > 1:
        raise ValueError("has two durations")
    number, numerator = found[0]
    if int(number) and numerator != "0":
        length = Fraction(4 * int(numerator or 1), int(number))
    elif number in LONGEST and not numerator:
        length = Fraction(LONGEST[number])
    else:
        raise ValueError("has a duration that does not exist")
    return length * (2 - Fraction(1, 2 ** token.count(".")))


def _pitch(token: str) -> int:
    """The MIDI key: kern is written as it sounds, whatever the clef, key or instrument."""
    pitches, accidentals = PITCH.findall(token), ACCIDENTAL.findall(token)
    if not pitches:
        raise ValueError("has neither a pitch nor r for a rest")
    if len(pitches) > 1 or len(accidentals) > 1:
        raise ValueError(f"has two {'pitches' if len(pitches) > 1 else 'accidentals'}")
    letter, octaves = pitches[0], len(PITCH.search(token).group()) - 1  # type: ignore[union-attr]
    key = 60 + 12 * (octaves if letter.islower() else -1 - octaves) + SEMITONES[letter.lower()]
    for accidental in accidentals:
        key += accidental.count("#") - accidental.count("-")
    if not 0 <= key <= 127:
        raise ValueError(f"is MIDI key {key}; keys go from 0 to 127")
    return key
