"""Bar lines: where they lie, and the time signature of the bar that begins at each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from pipeline.scores.notes import Score, TimeSignature

Metre = tuple[int, int]  # upper and lower number
UNKNOWN_METRE: Metre = (0, 0)
BarLine = tuple[int, int, int]  # onset in units of a grid, upper and lower number
READING = 10080  # units per quarter of the bar lines of notation: exact for usual tuplets
FINEST = 10**6  # the largest denominator of an onset in quarters
LOWER_NUMBERS = (4, 8, 16, 32, 64)  # of a time signature that is made of a length
LARGEST_UPPER = 64


def bar_length(upper: int, lower: int) -> Fraction:
    """The quarters of a whole bar of a time signature."""
    return Fraction(4 * upper, lower)


def metre_of_length(length: Fraction) -> Metre:
    """The time signature of a bar of so many quarters: 5/4, 11/8; UNKNOWN_METRE if it has none."""
    for lower in LOWER_NUMBERS:
        upper = length * lower / 4
        if upper.denominator == 1 and 1 <= upper <= LARGEST_UPPER:
            return int(upper), lower
    return UNKNOWN_METRE


def signatures_of_bars(bars: Iterable[tuple[Fraction, Metre | None]]) -> list[TimeSignature]:
    """The time signatures of bars that follow one another: the length and the metre of each.

    A bar longer than its metre has the time signature of its length.
    """
    lines: list[BarLine] = []
    start = Fraction(0)
    for length, metre in bars:
        own = metre or UNKNOWN_METRE
        if metre and length > bar_length(*metre):
            own = metre_of_length(length)
        if length:
            lines.append((_round(start * READING), *own))
        start += length
    return time_signatures_of(lines, READING)


def time_signatures_of(lines: Iterable[BarLine], resolution: int) -> list[TimeSignature]:
    """The time signatures that say where these bar lines lie, as `Score` has them.

    One stands where the metre changes, and at each bar line that does not lie one whole bar after
    the line before, such as the one after an upbeat. `bar_lines` gives the lines again.
    """
    found: list[TimeSignature] = []
    anchor, metre, num_bars = 0, UNKNOWN_METRE, 0
    for onset, *numbers in lines:
        own = (numbers[0], numbers[1])
        if own == metre != UNKNOWN_METRE and onset == _round(
            anchor + num_bars * resolution * bar_length(*own)
        ):
            num_bars += 1
        else:
            found.append((onset / resolution, *own))
            anchor, metre, num_bars = onset, own, 1
    return found


def bar_lines(signatures: Sequence[TimeSignature], resolution: int, end: int) -> list[BarLine]:
    """The bar lines before `end`, of bars that begin at each time signature and then repeat.

    Onsets and `end` are in units of 1 / resolution quarter; onsets are rounded, halves up. Of
    several bar lines that are rounded to one onset the last one counts.
    """
    lines: dict[int, Metre] = {}
    starts = [_exact(onset) for onset, _, _ in signatures]
    last = Fraction(end, resolution)
    for (_, *numbers), start, following in zip(
        signatures, starts, [*starts, last][1:], strict=True
    ):
        upper, lower = numbers
        room = min(following, last) - start
        length = bar_length(upper, lower) if upper else room
        num_bars = math.ceil(room / length) if room > 0 else 0
        # Whole numbers: fractions would take most of the time of encoding a piece.
        unit = math.lcm(start.denominator, length.denominator)
        first, each = int(start * unit), int(length * unit)
        for number in range(num_bars):
            onset = (2 * resolution * (first + number * each) + unit) // (2 * unit)
            lines[onset] = upper, lower
    return [(onset, *metre) for onset, metre in lines.items() if onset < end]


def signatures_from(
    signatures: Sequence[TimeSignature], resolution: int, start: int, end: int
) -> list[TimeSignature]:
    """The time signatures of what begins at `start` and ends before `end`, in grid units.

    The bar in which it begins is then a first bar from there to its end.
    """
    anchors = [(_round(_exact(onset) * resolution), metre) for onset, *metre in signatures]
    before = [anchor for anchor in anchors if anchor[0] <= start]
    found = [anchor for anchor in anchors if start < anchor[0] < end]
    if before:
        anchor, (upper, lower) = before[-1]
        if upper:
            whole = bar_length(upper, lower) * resolution
            following = _round(anchor + math.ceil((start - anchor) / whole) * whole)
            if start < following < (found[0][0] if found else end):
                found.insert(0, (following, [upper, lower]))
        found.insert(0, (start, [upper, lower]))
    return [((anchor - start) / resolution, upper, lower) for anchor, (upper, lower) in found]


class Measure(NamedTuple):
    """A bar as it is written; times in units of the score's grid."""

    start: int
    length: int
    upper: int
    lower: int
    lacks: int = 0  # of a whole bar

    @property
    def before(self) -> int:
        """What an upbeat lacks of a whole bar before it; 0 for other bars."""
        return 0 if self.start else self.lacks

    @property
    def metre(self) -> Metre:
        """The upper and the lower number of its time signature."""
        return self.upper, self.lower

    @property
    def end(self) -> int:
        """Where the next bar begins."""
        return self.start + self.length

    def beat(self, resolution: int) -> int:
        """The length of a beat: a quarter, or three eighths in 3/8, 6/8, 9/8 and 12/8."""
        is_compound = self.lower > 4 and self.upper % 3 == 0
        return max(1, 12 * resolution // self.lower) if is_compound else resolution

    def beats(self, resolution: int) -> range:
        """Where the beats of the bar begin; in an upbeat they are counted from its end."""
        beat = self.beat(resolution)
        return range(self.start + -self.before % beat, self.end, beat)


def measures_of(score: Score, beats_per_bar: int) -> list[Measure]:
    """The bars of a score, up to its end: those of its time signatures, the last one whole.

    Bars are of `beats_per_bar` quarters where the score has none. A bar whose time signature is
    unknown, or is none that files can hold, has one of its length.
    """
    signatures = list(score.time_signatures)
    usual = (beats_per_bar, 4)
    if not signatures or signatures[0][0] > 0:
        metre = UNKNOWN_METRE if signatures else usual
        signatures.insert(0, (0.0, *metre))
    end = max(score.end, 1)
    lines = bar_lines(signatures, score.resolution, end)
    measures: list[Measure] = []
    for (start, upper, lower), following in zip(lines, [*lines, None][1:], strict=True):
        metre = (upper, lower) if _is_writable(upper, lower) else UNKNOWN_METRE
        if following is not None and metre == UNKNOWN_METRE:
            metre = metre_of_length(Fraction(following[0] - start, score.resolution))
        if metre == UNKNOWN_METRE:
            metre = usual
        whole = max(1, _round(bar_length(*metre) * score.resolution))
        stop = following[0] if following is not None else end
        for own_start in range(start, stop, whole):
            is_cut = following is not None and own_start + whole > stop
            length = stop - own_start if is_cut else whole
            measures.append(Measure(own_start, length, *metre, whole - length))
    return measures


def usual_length(measures: Sequence[Measure]) -> int:
    """The length that most of the bars have."""
    return Counter(bar.length for bar in measures).most_common(1)[0][0]


def _is_writable(upper: int, lower: int) -> bool:
    """Whether MIDI has this time signature: the lower number is a power of two."""
    return 1 <= upper <= LARGEST_UPPER and lower in (1, 2, *LOWER_NUMBERS)


def _exact(onset: float) -> Fraction:
    return Fraction(onset).limit_denominator(FINEST)


def _round(value: Fraction | int) -> int:
    return math.floor(value + Fraction(1, 2))
