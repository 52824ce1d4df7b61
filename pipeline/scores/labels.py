"""The labels that data sets give to pieces: key, chords, emotion and more, each with its type."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, get_args, get_type_hints


@dataclass(frozen=True)
class Features:
    """The labels that a data set gives to a piece; None, or no chords, where it gives none.

    Each label was written by the makers of the data set; none is computed from the notes.
    """

    key: str | None = None  # "C major", "A minor"
    metre: str | None = None  # "4/4"
    tempo: float | None = None  # quarter notes per minute
    chords: tuple[str, ...] = ()  # a symbol for each eighth note: "Am7", "C/E"
    valence: float | None = None  # -1 (negative) to 1 (positive); Russell's circumplex model
    arousal: float | None = None  # -1 (calm) to 1 (excited)
    instrument: str | None = None
    role: str | None = None  # of the track within its piece: "main_melody", "bass"
    genre: str | None = None
    rhythm: str | None = None  # "standard", "triplet"
    pitch_range: str | None = None  # "very_low" to "very_high"
    num_measures: int | None = None
    min_velocity: int | None = None
    max_velocity: int | None = None
    game: str | None = None  # the video game that the music comes from
    composer: str | None = None
    year: int | None = None

    def __post_init__(self) -> None:
        for name in FIELDS:
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"the feature {name} is {value}; a finite number is needed")

    def known(self) -> dict[str, Any]:
        """Name -> value of the labels that the piece has."""
        values = {name: getattr(self, name) for name in FIELDS}
        return {name: value for name, value in values.items() if value not in (None, ())}


def _type_of(hint: Any) -> type:
    """The type in which a field is stored: str for `str | None`, tuple for `tuple[str, ...]`."""
    return tuple if Ellipsis in get_args(hint) else get_args(hint)[0]


# Name -> str, float, int, or tuple (a text for each eighth note).
FIELDS = {f.name: _type_of(get_type_hints(Features)[f.name]) for f in fields(Features)}
NO_FEATURES = Features()


def summarise(pieces: Iterable[Features]) -> dict[str, dict[str, Any]]:
    """For each label that some piece has: the number of pieces and the values, ready for JSON.

    Numbers: {"pieces", "min", "max"}. Texts: {"pieces", "values": {value: pieces}}. Chords:
    {"pieces", "values": {symbol: eighth notes}}. The order is that of the fields.
    """
    found: dict[str, dict[str, Any]] = {}
    for piece in pieces:
        for name, value in piece.known().items():
            is_number = FIELDS[name] in (int, float)
            empty = {"min": value, "max": value} if is_number else {"values": {}}
            row = found.setdefault(name, {"pieces": 0, **empty})
            row["pieces"] += 1
            if is_number:
                row["min"], row["max"] = min(row["min"], value), max(row["max"], value)
            else:
                for text in value if FIELDS[name] is tuple else [value]:
                    row["values"][text] = row["values"].get(text, 0) + 1
    return {name: found[name] for name in FIELDS if name in found}
