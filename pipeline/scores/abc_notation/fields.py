"""The fields M:, L: and Q: of ABC -> numbers."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

WHOLE = 4  # quarters
FRACTION = r"\d+\s*/\s*\d+"


class Metre(NamedTuple):
    """A time signature. `bar` is None for free metre."""

    bar: Fraction | None  # quarters
    compound: bool = False  # 6/8, 9/8, 12/8: decides the default of some tuplets
    written: tuple[int, int] | None = None  # upper and lower number


FREE_METRE = Metre(None)
SIGNS = {
    "C": Metre(Fraction(4), written=(4, 4)),
    "C|": Metre(Fraction(4), written=(2, 2)),
    "none": FREE_METRE,
    "": FREE_METRE,
}


def read_metre(text: str) -> Metre:
    """The metre of an M: field: `6/8`, `C|`, `(2+3)/8`, `none`. Raises ValueError for another."""
    if text in SIGNS:
        return SIGNS[text]
    if text.lower() in ("none", "free"):
        return FREE_METRE
    found = re.fullmatch(r"\(?\s*(\d+(?:\s*\+\s*\d+)*)\s*\)?\s*/\s*(\d+)", text)
    if not found or not int(found[2]):
        raise ValueError(f"metre M:{text}")
    beats, unit = sum(map(int, found[1].split("+"))), int(found[2])
    is_compound = beats in (6, 9, 12) and "+" not in found[1]
    return Metre(Fraction(beats * WHOLE, unit), is_compound, (beats, unit))


def read_unit_length(text: str) -> Fraction:
    """The length in quarters of an L: field: `1/8`, `1`. Raises ValueError for another."""
    found = re.fullmatch(r"(\d+)(?:\s*/\s*(\d+))?", text)
    if not found or not int(found[1]) or not int(found[2] or 1):
        raise ValueError(f"unit note length L:{text}")
    return Fraction(int(found[1]) * WHOLE, int(found[2] or 1))


def default_unit_length(metre: Metre) -> Fraction:
    """The length in quarters that a tune without L: has: a 16th below 3/4, else an 8th."""
    return Fraction(1, 4) if metre.bar is not None and metre.bar < 3 else Fraction(1, 2)


def read_tempo(text: str, unit_length: Fraction) -> float | None:
    """Quarters a minute of a Q: field; None where it has words only. Raises ValueError for another.

    `1/4=120`, `3/8 3/8 1/4=40`, and of older versions `120`, `C=120`, `C3=40` in unit lengths.
    """
    value = re.sub(r'"[^"]*"', "", text).strip()
    if not value:
        return None
    found = re.fullmatch(rf"((?:{FRACTION}\s*)+|C?\d*)\s*=?\s*(\d+(?:\.\d+)?)", value)
    if re.fullmatch(r"\d+(\.\d+)?", value):
        beat, rate = unit_length, float(value)
    elif found and "=" in value and (found[1] or "").strip():
        rate = float(found[2])
        beat = (
            unit_length * int(found[1].strip()[1:] or 1)
            if found[1].startswith("C")
            else sum(
                (Fraction(f.replace(" ", "")) * WHOLE for f in re.findall(FRACTION, found[1])),
                Fraction(),
            )
        )
    else:
        raise ValueError(f"tempo Q:{text}")
    tempo = float(beat) * rate
    if not tempo > 0:
        raise ValueError(f"tempo Q:{text}")
    return tempo
