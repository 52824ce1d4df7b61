"""Notes of an instrument as staves of lines: what stands in each bar, before it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, takewhile

import numpy as np

from pipeline.scores.bars import Measure
from pipeline.scores.musicxml.note_values import NoteValue, note_values, split_length

LINES_OF_A_STAFF = 4  # the most that notation programs take


@dataclass
class Symbol:
    """A note, chord or rest of one note value; onset and length in units of the grid."""

    onset: int  # from the start of the bar
    length: int
    value: NoteValue | None  # None: a rest for the whole bar
    pitches: tuple[int, ...] = ()  # none for a rest
    velocities: tuple[int, ...] = ()
    ends_tie: bool = False
    starts_tie: bool = False
    accidentals: dict[int, str] = field(default_factory=dict)  # pitch -> what is printed
    beams: list[str] = field(default_factory=list)
    tuplet: list[str] = field(default_factory=list)  # "start", "stop" of its bracket


Line = list[tuple[int, int, tuple[int, ...], tuple[int, ...]]]  # onset, length, pitches, velocities


def staves_of(notes: np.ndarray) -> list[list[Line]]:
    """Staves of up to 4 lines each, the highest first, in which no two chords sound at once.

    Notes that start and end together are a chord. A line takes the next chord when it is free.
    """
    # Earlier chords first, of those at one time the higher.
    chords = []
    order = np.lexsort([notes["pitch"], notes["duration"], notes["onset"]])
    for (onset, length), group in groupby(notes[order].tolist(), key=lambda row: (row[0], row[3])):
        rows = list(group)
        chords.append((onset, length, tuple(r[2] for r in rows), tuple(r[4] for r in rows)))
    chords.sort(key=lambda chord: (chord[0], -max(chord[2])))

    lines: list[Line] = []
    for chord in chords:
        free = (line for line in lines if line[-1][0] + line[-1][1] <= chord[0])
        line = next(free, None)
        if line is None:
            lines.append([chord])
        else:
            line.append(chord)
    if len(lines) > LINES_OF_A_STAFF:
        lines.sort(key=lambda line: -_mean_pitch(line))
    return [
        lines[first : first + LINES_OF_A_STAFF] for first in range(0, len(lines), LINES_OF_A_STAFF)
    ]


def _mean_pitch(line: Line) -> float:
    return float(np.mean([pitch for _, _, pitches, _ in line for pitch in pitches]))


def mean_pitch(staff: list[Line]) -> float:
    """The mean of the pitches on a staff."""
    return _mean_pitch([chord for line in staff for chord in line])


def bars_of(line: Line, resolution: int, measures: Sequence[Measure]) -> list[list[Symbol]]:
    """The symbols of a line in each of the bars; empty where the line has no note."""
    bars: list[list[Symbol]] = [[] for _ in measures]
    place = 0
    for onset, length, pitches, velocities in line:
        now, end = onset, onset + length
        while now < end:
            while measures[place].end <= now:
                place += 1
            bar = measures[place]
            start = now - bar.start + bar.before
            for piece in split_length(start, min(end, bar.end) - now, resolution):
                value = note_values(resolution)[piece]
                symbol = Symbol(now - bar.start, piece, value, pitches, velocities)
                symbol.ends_tie, symbol.starts_tie = now > onset, now + piece < end
                bars[place].append(symbol)
                now += piece
    filled = [
        _with_rests(symbols, resolution, bar) for symbols, bar in zip(bars, measures, strict=True)
    ]
    for symbols, bar in zip(filled, measures, strict=True):
        _group_in_beats(symbols, bar.before, bar.beat(resolution))
    return filled


def _with_rests(symbols: list[Symbol], resolution: int, bar: Measure) -> list[Symbol]:
    """The symbols of a bar, with rests between them; none where there is no note."""
    if not symbols:
        return []
    filled: list[Symbol] = []
    now = 0
    for onset, symbol in [*((s.onset, s) for s in symbols), (bar.length, None)]:
        for piece in split_length(bar.before + now, onset - now, resolution):
            filled.append(Symbol(now, piece, note_values(resolution)[piece]))
            now += piece
        if symbol is not None:
            filled.append(symbol)
            now = symbol.onset + symbol.length
    return filled


def _group_in_beats(symbols: list[Symbol], before: int, beat_length: int) -> None:
    """Beam the notes of each beat, and bracket its tuplets; `before` is that of `Measure`."""
    for _, group in groupby(symbols, key=lambda s: (s.onset + before) // beat_length):
        beat = list(group)
        for actual, run in groupby(beat, key=lambda s: s.value.actual if s.value else 1):
            members = list(run)
            if actual > 1:  # a lone note too: verovio plays no tuplet without a bracket
                members[0].tuplet.append("start")
                members[-1].tuplet.append("stop")
        for is_beamed, run in groupby(
            beat, key=lambda s: bool(s.pitches and s.value and s.value.beams)
        ):
            for members in _without_tuplet_ends(list(run)) if is_beamed else ():
                if len(members) > 1:
                    _beam(members)


def _without_tuplet_ends(members: list[Symbol]) -> list[list[Symbol]]:
    """The notes of a beam, in two beams where it would begin within a tuplet and end after it.

    verovio takes the notes after such a tuplet for a part of it, and those after a tuplet that is
    the first note alone.
    """
    first = members[0].value
    if first is None or first.actual == 1 or members[0].tuplet == ["start"]:
        return [members]
    within = list(takewhile(lambda symbol: "stop" not in symbol.tuplet, members))
    size = len(within) + 1
    return [members[:size], *(_without_tuplet_ends(members[size:]) if members[size:] else [])]


def _beam(members: list[Symbol]) -> None:
    """Give each of these notes its beams, from the first level on."""
    counts = [symbol.value.beams if symbol.value else 0 for symbol in members]
    for place, symbol in enumerate(members):
        for level in range(1, counts[place] + 1):
            before = place > 0 and counts[place - 1] >= level
            after = place + 1 < len(members) and counts[place + 1] >= level
            if before or after:
                kind = "continue" if before and after else "end" if before else "begin"
            else:
                kind = "backward hook" if place else "forward hook"
            symbol.beams.append(kind)
