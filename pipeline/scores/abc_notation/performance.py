"""Bars in the order in which they sound -> notes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction

from pipeline.scores.abc_notation.voice import Bar, Chord
from pipeline.scores.notes import DEFAULT_VELOCITY
from pipeline.scores.quarters import Key, NotatedRow, grace_rows


def sounding_rows(bars: Sequence[Bar], order: Iterable[int]) -> list[NotatedRow]:
    """The notes of a voice. Tied notes are one note; a tie without its other end is ignored."""
    rows: list[NotatedRow] = []
    held: dict[tuple[int, int], list[int]] = defaultdict(list)  # (program, pitch) -> tied rows
    graces: dict[Fraction, list[list[Key]]] = defaultdict(list)
    start = Fraction(0)
    for place in order:
        bar = bars[place]
        for chord in bar.chords:
            onset = start + chord.onset
            if not chord.length:
                graces[onset].append(_keys(chord))
                continue
            tied: list[tuple[tuple[int, int], int]] = []
            for head in chord.heads:
                key = chord.program, head.pitch
                row = next((r for r in held[key] if rows[r][0] + rows[r][3] == onset), None)
                if row is not None:
                    held[key].remove(row)
                    rows[row] = (*rows[row][:3], rows[row][3] + head.length, rows[row][4])
                else:
                    row = len(rows)
                    rows.append((onset, *key, head.length, DEFAULT_VELOCITY))
                if head.is_tied:
                    tied.append((key, row))
            for key, row in tied:  # not before all heads: they do not tie to each other
                held[key].append(row)
        start += bar.length
    return rows + grace_rows(graces)


def _keys(chord: Chord) -> list[Key]:
    return [(chord.program, head.pitch, DEFAULT_VELOCITY) for head in chord.heads]
