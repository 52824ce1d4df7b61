"""The strikes of one piece of a kern file, each at its time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from pipeline.scores.bars import Metre
from pipeline.scores.kern.instruments import CLASSES, INSTRUMENTS
from pipeline.scores.kern.repeats import Mark, marks_of
from pipeline.scores.kern.spines import KernError, Spine
from pipeline.scores.kern.tokens import Note, parse_note
from pipeline.scores.notes import DRUMS

METRE = re.compile(r"\*M(\d+(?:\+\d+)*)/(\d+)")
START = Fraction(-1)  # before every record


class Strike(NamedTuple):
    """A note as it stands in the file: a tie may make it the continuation of another."""

    onset: Fraction  # in quarters; of a grace note, its beat
    length: Fraction  # 0 for a grace note
    part: object  # the same for all spines split from one
    program: int
    pitch: int
    begins_tie: int  # NO_TIE, ADJACENT or DISTANT
    ends_tie: int
    line: int


@dataclass
class KernPiece:
    """What the records read so far hold."""

    strikes: list[Strike] = field(default_factory=list)
    tempos: list[tuple[float, float]] = field(default_factory=list)  # quarters, quarters a minute
    metres: list[tuple[Fraction, Metre]] = field(default_factory=list)  # quarters, metre
    bar_lines: list[Fraction] = field(default_factory=list)  # quarters
    marks: list[Mark] = field(default_factory=list)
    now: Fraction = START  # where the last record of notes or rests starts
    # Grace notes of spines whose place is uncertain: their beat is that of the next record.
    _waiting: list[int] = field(default_factory=list)

    def interpret(self, line: int, spines: list[Spine], tokens: list[str]) -> None:
        """Take in a record of interpretations: instruments, tempi, metres, section labels."""
        for spine, token in _kern_tokens(spines, tokens):
            if token.startswith("*MM"):
                tempo = _tempo(token[3:])
                if tempo and tempo > 0:
                    self.tempos.append((float(spine.due), tempo))
            elif metre := METRE.fullmatch(token):
                upper = sum(map(int, metre[1].split("+")))
                self.metres.append((spine.due, (upper, int(metre[2]))))
            elif token.startswith("*IC"):
                if not spine.has_instrument and token[3:] in CLASSES:
                    spine.program, spine.drum_key = CLASSES[token[3:]]
            elif token.startswith("*I") and token[2:] in INSTRUMENTS:
                spine.program, spine.drum_key = INSTRUMENTS[token[2:]]
                spine.has_instrument = True
        self._mark(line, spines, tokens)

    def pass_bar(self, line: int, spines: list[Spine], tokens: list[str]) -> None:
        """Take in a record of bar lines."""
        for _, token in _kern_tokens(spines, tokens):
            if not token.startswith("=") and token != ".":
                raise KernError(line, f"{token!r} in a record of bar lines")
        self.bar_lines += [max(spine.due for spine in spines if spine.is_kern)]
        self._mark(line, spines, tokens)

    def bars(self, end: Fraction) -> list[tuple[Fraction, Fraction, Metre | None]]:
        """Start, end and metre of each bar of a piece that ends at `end`; none if none is known."""
        if not self.metres and not self.bar_lines:
            return []
        starts = sorted({Fraction(0), *self.bar_lines, *(onset for onset, _ in self.metres)})
        starts = [start for start in starts if start < end]
        return [
            (start, stop, next((m for onset, m in reversed(self.metres) if onset <= start), None))
            for start, stop in pairwise([*starts, end])
        ]

    def _mark(self, line: int, spines: list[Spine], tokens: list[str]) -> None:
        own = [token for _, token in _kern_tokens(spines, tokens)]
        dues = {spine.due for spine in spines if spine.is_kern}
        self.marks += marks_of(line, own, len(self.strikes), dues)

    def strike(self, line: int, spines: list[Spine], tokens: list[str]) -> None:
        """Take in a record of notes and rests."""
        sounding: list[tuple[Spine, list[Note]]] = []
        for spine, token in _kern_tokens(spines, tokens):
            if token == ".":
                continue
            notes = list(_notes(line, token))
            graces = [note for note in notes if note.is_grace]
            if len(graces) < len(notes):
                sounding.append((spine, [note for note in notes if not note.is_grace]))
            if not spine.is_certain:
                self._waiting += range(len(self.strikes), len(self.strikes) + len(graces))
            for note in graces:
                self._add(line, spine, note, spine.due, Fraction(0))
        if sounding:
            self._start(line, spines, sounding)

    def _start(
        self, line: int, spines: list[Spine], sounding: list[tuple[Spine, list[Note]]]
    ) -> None:
        self.now = self._onset(line, spines, [spine for spine, _ in sounding])
        for place in self._waiting:
            self.strikes[place] = self.strikes[place]._replace(onset=self.now)
        self._waiting = []
        for spine, notes in sounding:
            length = notes[0].length
            if length is None:
                raise KernError(line, "a note or rest without a duration")
            for note in notes:
                # A chord's first note says how long it is, where the others say nothing.
                self._add(line, spine, note, self.now, note.length or length)
            spine.due = self.now + length
            spine.is_certain = True

    def _onset(self, line: int, spines: list[Spine], sounding: list[Spine]) -> Fraction:
        """Where a record starts in which these spines sound. Raises KernError if they disagree."""
        kern = [spine for spine in spines if spine.is_kern]
        dues = sorted({spine.due for spine in sounding if spine.is_certain})
        if len(dues) > 1:
            raise KernError(
                line,
                f"notes that start together are due at quarters {_listed(dues)}: a duration above "
                "is wrong, or a rest is missing",
            )
        # Spines whose place is uncertain start where some spine is due next.
        later = [spine.due for spine in kern if spine.due > self.now]
        now = dues[0] if dues else min(later, default=self.now)
        if now <= self.now:
            raise KernError(line, f"notes due at quarter {now}, where a record above starts")
        for place, spine in enumerate(kern, 1):
            if spine.is_certain and spine.due < now:
                raise KernError(
                    line,
                    f"**kern spine {place} is silent from quarter {spine.due} on: a duration above "
                    "is wrong, or a rest is missing",
                )
            if spine.is_certain and spine.due == now and spine not in sounding:
                raise KernError(line, f"**kern spine {place} has no note or rest at quarter {now}")
        return now

    def _add(self, line: int, spine: Spine, note: Note, onset: Fraction, length: Fraction) -> None:
        if note.pitch is None:
            return
        pitch = note.pitch
        if spine.program == DRUMS and spine.drum_key is not None:
            pitch = spine.drum_key
        elif note.is_unpitched:
            raise KernError(line, "an unpitched note (R) in a spine without a drum (*I)")
        self.strikes.append(
            Strike(
                onset,
                length,
                spine.part,
                spine.program,
                pitch,
                note.begins_tie,
                note.ends_tie,
                line,
            )
        )


def _kern_tokens(spines: list[Spine], tokens: list[str]) -> Iterator[tuple[Spine, str]]:
    return ((s, t) for s, t in zip(spines, tokens, strict=True) if s.is_kern)


def _notes(line: int, token: str) -> Iterator[Note]:
    """The notes and rests of a token: one, or those of a chord."""
    for part in token.split():
        try:
            yield parse_note(part)
        except ValueError as error:
            raise KernError(line, f"{part!r} {error}") from None


def _tempo(mark: str) -> float | None:
    """Quarters per minute of *MM: a number, or words in brackets that music21 has a number for."""
    try:
        number = float(mark)
        return number if math.isfinite(number) else None
    except ValueError:
        from music21.tempo import MetronomeMark

        return MetronomeMark(text=mark.strip("[]")).getQuarterBPM()


def _listed(values: Iterable[Fraction]) -> str:
    return " and ".join(map(str, values))
