"""One voice of a tune: symbols -> bars of chords, with lengths and pitches that sound."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from pipeline.scores.abc_notation.fields import FREE_METRE, Metre
from pipeline.scores.abc_notation.settings import NOT_AT_ALL, SAME_OCTAVE, Setting
from pipeline.scores.abc_notation.symbols import WrittenNote

# Notes in the time of how many, by the number of notes; None: 3 in compound metres, else 2.
NOTES_IN_TIME = {2: 3, 3: 2, 4: 3, 5: None, 6: 2, 7: None, 8: 3, 9: None}


@dataclass
class Head:
    """A note of a chord."""

    natural: int  # MIDI key of the letter in its octave
    raised: int  # semitones by accidentals
    pitch: int  # MIDI key that sounds
    length: Fraction  # quarters
    is_tied: bool


@dataclass
class Chord:
    """Notes that begin together; without notes a rest; of length 0 grace notes."""

    onset: Fraction  # quarters from the bar's start
    length: Fraction  # until the next chord
    heads: list[Head]
    program: int = 0

    def scale(self, factor: Fraction) -> None:
        """Make it longer or shorter."""
        self.length *= factor
        for head in self.heads:
            head.length *= factor


@dataclass
class Bar:
    """What stands between two bar lines, and the signs at its ends."""

    line: int
    chords: list[Chord] = field(default_factory=list)
    length: Fraction = Fraction(0)
    repeat_from: int = 0  # `|:` before it: how often the passage sounds
    repeat_to: int = 0  # `:|` after it: the same
    begins_section: bool = False  # a double bar line stands before it
    endings: tuple[int, ...] = ()
    metre: Metre = FREE_METRE
    part: str = ""  # of a P: field before it
    unclear: str = ""  # a sign at its beginning that says nothing about the order of bars


@dataclass
class Voice:
    """A voice as far as it has been read. Methods raise ValueError naming what cannot be read."""

    setting: Setting
    bars: list[Bar] = field(default_factory=lambda: [Bar(0)])
    jump: tuple[int, str] | None = None  # line and name of a da capo or dal segno

    _now: Fraction = Fraction(0)  # from the bar's start
    _layer: int = 0  # parts of a bar that `&` separates
    _last: Chord | None = None  # what a tie or a broken rhythm refers to
    _accidentals: dict[tuple[str, int], int] = field(default_factory=dict)
    _tied_on: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    _tuplet: tuple[Fraction, int] | None = None  # factor, notes left
    _broken: tuple[Fraction, Fraction] | None = None  # length before it, the next note's factor

    def chord(self, notes: list[WrittenNote], length: Fraction) -> None:
        """Notes that begin together, each as long as it is written times `length`.

        The first one says when the next chord begins.
        """
        heads = self._heads(notes, length * self._unit)
        self._append(heads, heads[0].length)

    def rest(self, length: Fraction) -> None:
        """A rest of so many unit lengths."""
        self._tied_on[self._layer] = {}
        self._append([], length * self._unit)

    def bars_of_rest(self, num_bars: Fraction) -> None:
        """A rest of whole bars."""
        if self.setting.metre.bar is None:
            raise ValueError("a rest of whole bars (Z or X) in free metre")
        if num_bars.denominator != 1:
            raise ValueError(f"a rest of {num_bars} bars")
        self._tied_on[self._layer] = {}
        self._append([], num_bars * self.setting.metre.bar)

    def grace_notes(self, chords: Iterable[list[WrittenNote]]) -> None:
        """Grace notes before whatever comes next."""
        tied_on = self._tied_on[self._layer]
        for notes in chords:
            heads = self._heads(notes, Fraction(0))
            self._bar.chords.append(Chord(self._now, Fraction(0), heads, self.setting.program))
        self._tied_on[self._layer] = tied_on

    def tie(self) -> None:
        """The last chord is held into the next one; after a rest that says nothing new."""
        if self._last is None:
            raise ValueError("a tie (-) without a note before it")
        for head in self._last.heads:
            head.is_tied = True
            self._tied_on[self._layer][head.natural] = head.raised

    def broken_rhythm(self, sign: str) -> None:
        """`>`: the last note is longer and the next one shorter; `<`: the other way round."""
        if self._last is None or self._broken is not None:
            raise ValueError(f"a broken rhythm ({sign}) that does not stand between two notes")
        longer, shorter = self._broken_factors(len(sign))
        first, second = (longer, shorter) if sign[0] == ">" else (shorter, longer)
        before = self._last.length
        self._broken = before, second
        self._last.scale(first)
        longer_by = self._last.length - before
        self._now += longer_by
        for chord in reversed(self._bar.chords):  # grace notes, which may stand before the sign
            if chord is self._last:
                break
            chord.onset += longer_by

    def _broken_factors(self, dots: int) -> tuple[Fraction, Fraction]:
        if dots == 1:
            return Fraction(2 * self.setting.ratio[0], sum(self.setting.ratio)), Fraction(
                2 * self.setting.ratio[1], sum(self.setting.ratio)
            )
        return 2 - Fraction(1, 2**dots), Fraction(1, 2**dots)

    def tuplet(self, notes: int, in_time_of: int, applies_to: int) -> None:
        """`notes` in the time of `in_time_of`, for the next `applies_to`; 0 for the default."""
        if self._tuplet is not None:
            raise ValueError("a tuplet within a tuplet")
        if notes not in NOTES_IN_TIME and not (notes and in_time_of):
            raise ValueError(f"a tuplet ({notes}")
        time = in_time_of or NOTES_IN_TIME.get(notes) or (3 if self.setting.metre.compound else 2)
        self._tuplet = Fraction(time, notes), applies_to or notes

    def overlay(self) -> None:
        """What follows sounds together with the bar so far."""
        self._end_layer()
        self._layer += 1

    def bar_line(self, sign: str, line: int) -> None:
        """A bar line with its repeat signs, as `||`, `:|`, `|::`."""
        self._end_bar(line)
        self._accidentals.clear()
        sign = sign.replace("[|]", "") or "|"  # an invisible bar line
        signs = _repeat_signs(sign)
        if signs is None:
            self._bar.unclear = f"bar line {sign}"
            return
        before, after = signs
        if before and len(self.bars) > 1:
            self.bars[-2].repeat_to = before
        if after:
            self._bar.repeat_from = after
        if any(double in sign for double in ("||", "|]", "[|")):
            self._bar.begins_section = True

    def ending(self, numbers: str, line: int) -> None:
        """A first, second or later ending begins, or one with a title in quotation marks.

        Raises ValueError for a title within a bar: it may stand in a chord that has no end.
        """
        if numbers.startswith('"') and self._now:
            raise ValueError(f"neither a chord nor an ending at a bar line: [{numbers}")
        self._end_bar(line)
        self._bar.endings = _ending_numbers(numbers)
        if not self._bar.endings:
            self._bar.unclear = f"an ending named {numbers}"

    def part(self, name: str, line: int) -> None:
        """A part of the tune that a P: field in the header may name begins."""
        self._end_bar(line)
        self._bar.part = name

    def finish(self) -> list[Bar]:
        """All bars. Raises ValueError where a rhythm leads nowhere."""
        if self._broken is not None:
            raise ValueError("a broken rhythm (> or <) without a note after it")
        self._end_layer()
        return self.bars

    @property
    def _unit(self) -> Fraction:
        assert self.setting.unit_length is not None
        return self.setting.unit_length

    @property
    def _bar(self) -> Bar:
        return self.bars[-1]

    def _end_layer(self) -> None:
        self._bar.length = max(self._bar.length, self._now)
        self._now = Fraction(0)
        self._accidentals = {}

    def _end_bar(self, line: int) -> None:
        """Begin a bar unless the last one is empty yet. Accidentals are left as they are."""
        accidentals = self._accidentals
        self._end_layer()
        self._accidentals = accidentals if not self._layer else {}
        self._layer = 0
        if self._bar.length or self._bar.chords:
            self.bars.append(Bar(line))

    def _append(self, heads: list[Head], length: Fraction) -> None:
        chord = Chord(self._now, length, heads, self.setting.program)
        if self._tuplet is not None:
            factor, left = self._tuplet
            chord.scale(factor)
            self._tuplet = (factor, left - 1) if left > 1 else None
        if self._broken is not None:
            before, factor = self._broken
            if chord.length != before:  # undefined by the standard (4.4)
                raise ValueError("a broken rhythm (> or <) between notes of unequal lengths")
            chord.scale(factor)
            self._broken = None
        self._bar.chords.append(chord)
        self._bar.metre = self.setting.metre
        self._now += chord.length
        self._last = chord

    def _heads(self, notes: list[WrittenNote], unit: Fraction) -> list[Head]:
        tied_on, self._tied_on[self._layer] = self._tied_on[self._layer], {}
        shift = sum(self.setting.shifts.values())
        heads: list[Head] = []
        for note in notes:
            raised = self._accidental(note, tied_on)
            pitch = note.natural + raised + shift
            if not 0 <= pitch <= 127:
                raise ValueError(f"a note that sounds at MIDI key {pitch}")
            heads.append(Head(note.natural, raised, pitch, note.length * unit, note.is_tied))
            if note.is_tied:
                self._tied_on[self._layer][note.natural] = raised
        return heads

    def _accidental(self, note: WrittenNote, tied_on: dict[int, int]) -> int:
        """Semitones that a note is raised by: its own sign, else a tie's, the bar's, the key's."""
        place = (note.letter, note.natural if self.setting.propagation == SAME_OCTAVE else 0)
        if note.accidental is not None:
            if self.setting.propagation != NOT_AT_ALL:
                self._accidentals[place] = note.accidental
            return note.accidental
        if note.natural in tied_on:
            return tied_on[note.natural]
        return self._accidentals.get(place, self.setting.key.get(note.letter, 0))


def _repeat_signs(sign: str) -> tuple[int, int] | None:
    """(how often the passage before sounds, how often the one after), 0 without a sign."""
    found = re.fullmatch(r"(:*)[|\[\]]+(:*)", sign)
    if found:
        before, after = len(found[1]), len(found[2])
    elif sign == ":" * len(sign) and len(sign) % 2 == 0:
        before = after = len(sign) // 2
    else:
        return None
    return before + bool(before), after + bool(after)


def _ending_numbers(text: str) -> tuple[int, ...]:
    """`1`, `1,3`, `1-3`: the times that an ending is for; none where that cannot be said."""
    numbers: list[int] = []
    for span in re.split(r"[,.]", text.strip(",.")):
        first, _, last = span.partition("-")
        if not first.isdigit() or not (last or first).isdigit() or len(last or first) > 2:
            return ()
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)
