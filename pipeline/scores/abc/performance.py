"""Bars in the order in which they sound -> notes of a score."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction

from pipeline.scores.abc.voice import Bar, Chord
from pipeline.scores.midi.rules import checked_score
from pipeline.scores.notes import DEFAULT_TEMPO, DEFAULT_VELOCITY, Score

# Units per quarter of notated music: exact for all tuplets of 2, 3, 4, 5, 6, 7, 9 notes.
NOTATED_RESOLUTION = 10080
# Finer than this, 32-bit onsets could overflow: nested rare tuplets are then rounded.
FINEST_RESOLUTION = 2**20
GRACE_LENGTH = Fraction(1, 12)  # quarters

NotatedRow = tuple[Fraction, int, int, Fraction, int]  # as for make_notes, times in quarters


def sounding_rows(bars: Sequence[Bar], order: Iterable[int]) -> list[NotatedRow]:
    """The notes of a voice: tied ones are one, grace notes come right before the beat.

    A grace note lasts a twelfth of a quarter, or less where the piece has no room before the beat.
    """
    rows: list[NotatedRow] = []
    held: dict[tuple[int, int], int] = {}  # (program, pitch) -> row that a tie leads on from
    graces: dict[Fraction, list[Chord]] = defaultdict(list)
    start = Fraction(0)
    for place in order:
        bar = bars[place]
        for chord in bar.chords:
            onset = start + chord.onset
            if not chord.length:
                graces[onset].append(chord)
                continue
            for head in chord.heads:
                key = chord.program, head.pitch
                row = held.pop(key, None)
                if row is not None and rows[row][0] + rows[row][3] == onset:
                    rows[row] = (*rows[row][:3], rows[row][3] + head.length, rows[row][4])
                else:
                    row = len(rows)
                    rows.append((onset, *key, head.length, DEFAULT_VELOCITY))
                if head.is_tied:
                    held[key] = row
        start += bar.length
    for beat, chords in graces.items():
        length = min(GRACE_LENGTH, beat / len(chords))
        for place, chord in enumerate(chords, -len(chords)):
            rows += [
                (beat + place * length, chord.program, head.pitch, length, DEFAULT_VELOCITY)
                for head in chord.heads
            ]
    return rows


def score_of_rows(rows: Sequence[NotatedRow], tempo: float | None) -> Score:
    """The score of these notes. Raises ValueError for more music than a piece can have."""
    denominators = {value.denominator for row in rows for value in (row[0], row[3])}
    resolution = math.lcm(NOTATED_RESOLUTION, *denominators)
    if resolution > FINEST_RESOLUTION:
        resolution = NOTATED_RESOLUTION
    units = [
        (_round(onset * resolution), program, pitch, _round(length * resolution), velocity)
        for onset, program, pitch, length, velocity in rows
    ]
    return checked_score(units, resolution, tempo or DEFAULT_TEMPO)


def _round(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))
