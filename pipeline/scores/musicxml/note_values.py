"""Lengths as note values: whole notes to 1024ths, dots, tuplets, and ties between them."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

TYPES = ["whole", "half", "quarter", "eighth", "16th", "32nd", "64th", "128th", "256th", "512th"]
TYPES += ["1024th"]
LARGEST_TUPLET = 15


class NoteValue(NamedTuple):
    """A printed length."""

    type: str
    dots: int = 0
    actual: int = 1  # of a tuplet: this number of notes ...
    normal: int = 1  # ... in the time of this number

    @property
    def beams(self) -> int:
        """Number of beams or flags: 1 for an eighth."""
        return max(TYPES.index(self.type) - 2, 0)


@cache
def note_values(resolution: int) -> dict[int, NoteValue]:
    """Length in units of 1/resolution quarter -> note value, plain ones before tuplets.

    Raises ValueError for a grid that has lengths without a note value.
    """
    values: dict[int, NoteValue] = {}
    odd = resolution
    while odd % 2 == 0:
        odd //= 2
    for actual in [1, *(number for number in range(3, odd + 1) if odd % number == 0)]:
        normal = 1 << (actual.bit_length() - 1)
        normal = normal // 2 if normal == actual and actual > 1 else normal
        for place, name in enumerate(TYPES):
            length = 4 * resolution * normal / 2**place / actual
            if length.is_integer() and length >= 1:
                values.setdefault(int(length), NoteValue(name, 0, actual, normal))
            if (1.5 * length).is_integer() and actual == 1:
                values.setdefault(int(1.5 * length), NoteValue(name, 1))
    if 1 not in values or odd > LARGEST_TUPLET:
        raise ValueError(
            f"{resolution} units per quarter: no note value is so short; quantise the score first"
        )
    return values


def split_length(start: int, length: int, resolution: int) -> list[int]:
    """The lengths of tied notes that fill `length` from `start`, both counted in a bar."""
    values, pieces = note_values(resolution), []
    while length:
        in_beat = start % resolution
        is_plain = length in values and values[length].actual == 1
        if is_plain and (in_beat == 0 or 2 * in_beat == resolution):
            taken = [length]
        elif in_beat == 0 and length >= resolution:
            beats = length // resolution
            taken = [resolution * next(count for count in (4, 3, 2, 1) if count <= beats)]
        else:  # no further than to the next beat
            taken = list(_shortest(min(length, resolution - in_beat), resolution))
        pieces += taken
        start, length = start + sum(taken), length - sum(taken)
    return pieces


@cache
def _shortest(length: int, resolution: int) -> tuple[int, ...]:
    """The fewest note values that add up to a length below a quarter, plain ones preferred."""
    values = note_values(resolution)
    best: list[tuple[int, ...]] = [()]
    for total in range(1, length + 1):
        candidates = [(*best[total - unit], unit) for unit in values if unit <= total]
        best.append(min(candidates, key=lambda c: (len(c), sum(values[u].actual > 1 for u in c))))
    return tuple(sorted(best[length], reverse=True))
