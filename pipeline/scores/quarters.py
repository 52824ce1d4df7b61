"""Notes timed in quarters -> a score: what all readers of notation share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from pipeline.scores.midi.rules import checked_score
from pipeline.scores.notes import DEFAULT_TEMPO, Score

# Units per quarter of notated music: exact for all tuplets of 2, 3, 4, 5, 6, 7, 9 notes.
NOTATED_RESOLUTION = 10080
# Finer than this, 32-bit onsets could overflow: nested rare tuplets are then rounded.
FINEST_RESOLUTION = 2**20
GRACE_LENGTH = Fraction(1, 12)

NotatedRow = tuple[Fraction, int, int, Fraction, int]  # as for make_notes, times in quarters
Key = tuple[int, int, int]  # program, pitch, velocity


def score_in_quarters(rows: Sequence[NotatedRow], tempos: Sequence[tuple[float, float]]) -> Score:
    """The score of these rows; its tempo is the first of the (onset, quarters per minute).

    Of several tempi at the first onset it is the last in the list.
    """
    denominators = {value.denominator for row in rows for value in (row[0], row[3])}
    resolution = math.lcm(NOTATED_RESOLUTION, *denominators)
    if resolution > FINEST_RESOLUTION:
        resolution = NOTATED_RESOLUTION
    units = [
        (_round(onset * resolution), program, pitch, _round(length * resolution), velocity)
        for onset, program, pitch, length, velocity in rows
    ]
    first = min((onset for onset, _ in tempos), default=0)
    tempo = next((rate for onset, rate in reversed(tempos) if onset == first), DEFAULT_TEMPO)
    return checked_score(units, resolution, tempo)


def grace_rows(graces: Mapping[Fraction, Sequence[Sequence[Key]]]) -> list[NotatedRow]:
    """The rows of grace notes, given for each beat as chords in order.

    They come right before the beat, a twelfth of a quarter each, or shorter where the piece has no
    room before it.
    """
    rows: list[NotatedRow] = []
    for beat, chords in graces.items():
        length = min(GRACE_LENGTH, beat / len(chords))
        for place, keys in enumerate(chords, -len(chords)):
            rows += [(beat + place * length, *key[:2], length, key[2]) for key in keys]
    return rows


def _round(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))
