"""The key fields of ABC (K:, and what V: has of them) -> accidentals and transposition."""

from __future__ import annotations

import re
from collections.abc import Mapping

SHARPS_OF_TONIC = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}  # of the major key
SHARPS_OF_MODE = {
    "maj": 0, "ion": 0, "mix": -1, "dor": -2, "min": -3, "aeo": -3, "m": -3, "phr": -4, "loc": -5,
    "lyd": 1,
}  # fmt: skip
ORDER_OF_SHARPS = "FCGDAEB"
ACCIDENTALS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
BAGPIPES = {"F": 1, "C": 1}  # K:HP does not print them, and they sound

TONIC = re.compile(r"([A-G])([#b]?)([A-Za-z]*)")
ACCIDENTAL_WORD = re.compile(r"(?:(?:\^\^|\^|__|_|=)[A-Ga-g])+")
ONE_ACCIDENTAL = re.compile(r"(\^\^|\^|__|_|=)([A-Ga-g])")
CLEF = re.compile(
    r"(?:treble|alto|tenor|bass|perc|none|soprano|mezzo(?:soprano)?|baritone|auto|[GCFP])"
    r"\d?(?:([+^_-])(8|15))?"
)
PROPERTY = re.compile(r'([A-Za-z][\w-]*)=("[^"]*"|\S+)|"[^"]*"|(\S+)')
# They transpose in abc2svg, abcm2ps or abcjs, each in its own way.
OTHER_TRANSPOSITIONS = frozenset({"score", "sound", "shift", "instrument", "t"})
# They say how a staff looks and what a voice is called.
NEUTRAL = frozenset({
    "middle", "m", "stafflines", "staffscale", "style", "name", "nm", "sname", "snm", "subname",
    "stem", "stems", "gchords", "dyn", "lyrics", "cue", "staff", "up", "down", "space", "merge",
})  # fmt: skip
# A key and its accidentals without a space: `Dmix=c`.
GLUED = re.compile(r"^\s*([A-G][#b]?[A-Za-z]*)(?=(?:(?:\^\^|\^|__|_|=)[A-Ga-g])+(?:\s|$))")
OCTAVES = {"8": 12, "15": 24}

Shifts = Mapping[str, int]  # "clef", "octave", "transpose" -> semitones


def read_key(text: str) -> tuple[dict[str, int] | None, Shifts]:
    """(letter -> semitones that its notes are raised by, shifts) of a K: field.

    The accidentals are None where the field names a clef only, which leaves the key as it is.
    Raises ValueError naming what it cannot read.
    """
    words, shifts = read_properties(GLUED.sub(r"\1 ", text), refused_if_unknown=True)
    if not words:
        return (None if shifts or text.strip() else {}), shifts
    first, *rest = words
    found = TONIC.fullmatch(first)
    if first in ("HP", "Hp"):
        accidentals = dict(BAGPIPES)
    elif first.lower() == "none":
        accidentals = {}
    elif found:
        mode, rest = found[3], rest
        if not mode and rest and _mode(rest[0]) is not None:
            mode, rest = rest[0], rest[1:]
        explicit = rest[:1] == ["exp"] or mode == "exp"
        of_mode = 0 if explicit else _mode(mode)
        if of_mode is None:
            raise ValueError(f"key K:{text}: mode {mode!r}")
        rest = rest[1:] if rest[:1] == ["exp"] else rest
        signs = {"": 0, "#": 7, "b": -7}[found[2]]
        number = SHARPS_OF_TONIC[found[1]] + signs + of_mode
        accidentals = {} if explicit else _signature(number, text)
    elif ACCIDENTAL_WORD.fullmatch(first):
        accidentals, rest = {}, words
    else:
        raise ValueError(f"key K:{text}")
    for word in rest:
        if not ACCIDENTAL_WORD.fullmatch(word):
            raise ValueError(f"key K:{text}: {word!r}")
        for sign, letter in ONE_ACCIDENTAL.findall(word):
            accidentals[letter.upper()] = ACCIDENTALS[sign]
    return accidentals, shifts


def _mode(word: str) -> int | None:
    """Sharps more than the major key; only the first three letters count, in either case."""
    return 0 if not word else SHARPS_OF_MODE.get("m" if word == "m" else word[:3].lower())


def _signature(number: int, text: str) -> dict[str, int]:
    if abs(number) > len(ORDER_OF_SHARPS):
        raise ValueError(f"key K:{text} of {abs(number)} accidentals")
    if number >= 0:
        return dict.fromkeys(ORDER_OF_SHARPS[:number], 1)
    return dict.fromkeys(ORDER_OF_SHARPS[number:], -1)


def read_properties(text: str, *, refused_if_unknown: bool = False) -> tuple[list[str], Shifts]:
    """(words that are no property, shifts) of a K: or V: field.

    Raises ValueError for properties that would change the pitch in a way we do not know.
    """
    words: list[str] = []
    shifts: dict[str, int] = {}
    for found in PROPERTY.finditer(text):
        name, value, word = found[1], (found[2] or "").strip('"'), found[3]
        if word is not None:
            clef = CLEF.fullmatch(word)
            if clef and not TONIC.fullmatch(word):
                shifts["clef"] = _clef_shift(clef)
            else:
                words.append(word)
        elif name == "clef":
            clef = CLEF.fullmatch(value)
            if not clef:
                raise ValueError(f"clef {value}")
            shifts["clef"] = _clef_shift(clef)
        elif name in ("octave", "transpose"):
            if not re.fullmatch(r"[+-]?\d+", value):
                raise ValueError(f"{name}={value}")
            shifts[name] = int(value) * (12 if name == "octave" else 1)
        elif name in OTHER_TRANSPOSITIONS or (refused_if_unknown and name and name not in NEUTRAL):
            raise ValueError(f"{name}={value}")
    return words, shifts


def _clef_shift(clef: re.Match[str]) -> int:
    """Semitones by which `treble-8` or `bass+8` sounds higher; `^8` and `_8` print an 8 only."""
    return {"+": 1, "-": -1}.get(clef[1], 0) * OCTAVES.get(clef[2], 0)
