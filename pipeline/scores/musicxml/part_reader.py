"""One part of a MusicXML file, bar by bar: its notes, each with its time within the bar."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple
from xml.etree import ElementTree

from pipeline.scores.counted_rules import CUES, FINGERED, LATER_TIMES, ROUNDED
from pipeline.scores.musicxml.harmonics import fingered_notes
from pipeline.scores.musicxml.instruments import Instrument, changed
from pipeline.scores.notes import DEFAULT_VELOCITY, DRUMS

SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
PRINTED = {"sharp": 1, "flat": -1, "double-sharp": 2, "sharp-sharp": 2, "flat-flat": -2}
TYPES = ["maxima", "long", "breve", "whole", "half", "quarter", "eighth", "16th", "32nd"]
TYPES += ["64th", "128th", "256th", "512th", "1024th"]
QUARTERS = {name: Fraction(32) / 2**place for place, name in enumerate(TYPES)}


class Head(NamedTuple):
    """A note of a bar; grace notes have length 0."""

    onset: Fraction  # quarters from the start of the bar
    length: Fraction
    program: int
    pitch: int
    velocity: int
    voice: str
    in_chord: bool
    ends_tie: bool
    starts_tie: bool
    in_print: bool  # the tie that it ends is printed, but not said to sound


class Tempo(NamedTuple):
    """A tempo mark of a bar."""

    onset: Fraction  # quarters from the start of the bar
    is_heard: bool  # it is said how it sounds, not only how it is printed
    rate: float  # quarters per minute


@dataclass
class Bar:
    """The notes of a part in one bar, and how much of the bar the part fills."""

    heads: list[Head] = field(default_factory=list)
    filled: Fraction = Fraction(0)  # quarters, by notes and rests
    by_notes: Fraction = Fraction(0)  # where the last note ends
    rests: Fraction = Fraction(0)  # length of a rest for the whole bar
    is_implicit: bool = False  # not counted by musicians
    nominal: Fraction | None = None  # length by the time signature
    metre: tuple[int, int] | None = None  # the time signature
    tempos: list[Tempo] = field(default_factory=list)


class PartReader:
    """Reads the bars of a part: what holds from one bar to the next, and the place within a bar."""

    def __init__(self, instruments: dict[str, Instrument], tally: Counter[str]) -> None:
        self.instruments = instruments
        self.tally = tally
        self.divisions = Fraction(1)  # of a quarter
        self.nominal: Fraction | None = None
        self.metre: tuple[int, int] | None = None
        self.transposition: dict[str | None, float] = {}  # staff, or None for all -> semitones

    def bars(self, part: ElementTree.Element) -> list[Bar]:
        """The bars of the part. Raises ValueError naming a bar that cannot be read."""
        bars = []
        for measure in part.findall("measure"):
            try:
                bars.append(self._bar(measure))
            except (ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
                number = measure.get("number", "?")
                raise ValueError(f"bar {number} of part {part.get('id')}: {error}") from None
        return bars

    def _bar(self, measure: ElementTree.Element) -> Bar:
        bar = Bar(is_implicit=measure.get("implicit") == "yes")
        notes: list[tuple[Fraction, Fraction, ElementTree.Element]] = []  # onset, length
        changes: list[tuple[Fraction, ElementTree.Element]] = []  # of how notes sound
        now = previous = Fraction(0)
        written = Fraction(0)  # as `now`, by durations that may be rounded
        exact: dict[Fraction, Fraction] = {}  # written -> now, where they differ
        for element in measure:
            if element.tag == "note":
                is_chord = element.find("chord") is not None
                onset = previous if is_chord else now
                length = self._length(element)
                notes.append((onset, length, element))
                if not is_chord:
                    previous, now = now, now + length
                    if length:
                        has_duration = element.find("duration") is not None
                        written += self._quarters(element) if has_duration else length
                    if written != now:
                        exact[written] = now
                rest = element.find("rest")
                if rest is not None and rest.get("measure") == "yes":
                    bar.rests = max(bar.rests, length)
                else:
                    bar.filled = max(bar.filled, onset + length)
                    if rest is None:
                        bar.by_notes = max(bar.by_notes, onset + length)
            elif element.tag == "backup":
                written -= self._quarters(element)
                if written < 0:
                    raise ValueError(f"<backup> goes {-written} quarters before its start")
                now = exact.get(written, written)
            elif element.tag == "forward":
                written += self._quarters(element)
                now = exact.get(written, written)
                bar.filled = max(bar.filled, min(now, self.nominal or now))
            elif element.tag == "attributes":
                self._take_attributes(element)
                changes.append((now, element))
            elif element.tag in ("direction", "sound"):
                bar.tempos += _tempos(element, now + _offset(element) / self.divisions)
                changes.append((now, element))
        self._add_notes(bar, notes, changes)
        bar.nominal, bar.metre = self.nominal, self.metre
        return bar

    def _add_notes(
        self,
        bar: Bar,
        notes: list[tuple[Fraction, Fraction, ElementTree.Element]],
        changes: list[tuple[Fraction, ElementTree.Element]],
    ) -> None:
        """Add the notes of a bar; each change holds for all voices from its own time on."""
        fingered = fingered_notes(note for _, _, note in notes)
        waiting = sorted(changes, key=lambda change: change[0])
        for onset, length, note in sorted(notes, key=lambda found: found[0]):
            while waiting and waiting[0][0] <= onset:
                self._change_sound(waiting.pop(0)[1])
            if note in fingered:
                self.tally[FINGERED] += 1
            else:
                self._add_note(bar, note, onset, length)
        for _, change in waiting:
            self._change_sound(change)

    def _take_attributes(self, element: ElementTree.Element) -> None:
        if element.find("divisions") is not None:
            self.divisions = Fraction(element.findtext("divisions", "").strip())
        for time in element.findall("time"):
            total, units = Fraction(0), [1]  # 3+2/8, 2/4 3/8
            for beats, unit in zip(time.findall("beats"), time.findall("beat-type"), strict=True):
                count = sum(int(number) for number in (beats.text or "").split("+"))
                units.append(int(unit.text or ""))
                total += Fraction(4 * count, units[-1])
            self.nominal = total or None
            self.metre = (int(total * max(units) / 4), max(units)) if total else None

    def _change_sound(self, element: ElementTree.Element) -> None:
        """Obey what changes the pitch or the program of the notes that follow."""
        for transpose in element.findall("transpose"):
            if transpose.find("double") is not None:
                raise ValueError(
                    "<double> in <transpose>: the part sounds in another octave too, which is not "
                    "read; write these notes as a part of their own and take <double> out"
                )
            semitones = float(transpose.findtext("chromatic", "0"))
            semitones += 12 * int(transpose.findtext("octave-change", "0"))
            staff = transpose.get("number")
            self.transposition = (
                {**self.transposition, staff: semitones} if staff else {None: semitones}
            )
        for midi in element.iter("midi-instrument"):
            name = midi.get("id", "")
            if name in self.instruments:
                self.instruments[name] = changed(self.instruments[name], midi)

    def _quarters(self, element: ElementTree.Element) -> Fraction:
        return Fraction(element.findtext("duration", "0").strip()) / self.divisions

    def _length(self, note: ElementTree.Element) -> Fraction:
        """Quarters that a note or rest lasts; 0 for grace notes.

        The printed length counts where a duration in whole divisions cannot say it.
        """
        if note.find("grace") is not None:
            return Fraction(0)
        name = note.findtext("type", "").strip()
        duration = self._quarters(note) if note.find("duration") is not None else None
        if duration is not None and name not in QUARTERS:
            return duration
        length = QUARTERS[name]
        length *= 2 - Fraction(1, 2 ** len(note.findall("dot")))
        change = note.find("time-modification")
        if change is not None:
            length *= Fraction(
                int(change.findtext("normal-notes", "1")), int(change.findtext("actual-notes", "1"))
            )
        if duration is None:
            return length
        is_rounded = (length * self.divisions).denominator > 1
        return length if is_rounded and abs(length - duration) < 1 / self.divisions else duration

    def _add_note(
        self, bar: Bar, note: ElementTree.Element, onset: Fraction, length: Fraction
    ) -> None:
        if note.find("rest") is not None:
            return
        if note.find("cue") is not None:
            self.tally[CUES] += 1
            return
        if "1" not in re.findall(r"\d+", note.get("time-only", "1")):
            self.tally[LATER_TIMES] += 1
            return
        program, tone = self._program_and_tone(note)
        pitch = _key(tone)
        said = {tie.get("type") for tie in note.findall("tie")}
        printed = {tied.get("type") for tied in note.iterfind("notations/tied")}
        ends_tie = bool((said | printed) & {"stop", "continue"})
        self.tally[ROUNDED] += tone != pitch and not ends_tie
        bar.heads.append(
            Head(
                onset,
                length,
                program,
                pitch,
                _velocity(note),
                note.findtext("voice", ""),
                note.find("chord") is not None,
                ends_tie,
                bool((said | printed) & {"start", "continue"}),
                "stop" not in said,
            )
        )

    def _program_and_tone(self, note: ElementTree.Element) -> tuple[int, float]:
        """The program of a note, and its MIDI key, which may lie between two keys."""
        chosen = note.find("instrument")
        instrument = self._instrument(chosen.get("id", "") if chosen is not None else "")
        unpitched, pitch = note.find("unpitched"), note.find("pitch")
        if unpitched is not None:
            if instrument.unpitched is not None:
                return DRUMS, instrument.unpitched
            step = unpitched.findtext("display-step", "B")
            octave = int(unpitched.findtext("display-octave", "4"))
            return DRUMS, SEMITONES[step] + 12 * (octave + 1)
        if pitch is None:
            raise ValueError("a <note> that has no pitch and is no rest")
        staff = note.findtext("staff", "1").strip()
        transposition = self.transposition.get(staff, self.transposition.get(None, 0))
        alter = pitch.findtext("alter") or PRINTED.get(note.findtext("accidental", "").strip(), 0)
        written = SEMITONES[pitch.findtext("step", "").strip()] + float(alter)
        tone = written + 12 * (int(pitch.findtext("octave", "")) + 1) + transposition
        return (DRUMS if instrument.is_percussion else instrument.program), tone

    def _instrument(self, name: str) -> Instrument:
        """The instrument of a note, or the first of its part.

        Of several instruments the first one's key of percussion is not that of every note.
        """
        if name in self.instruments:
            return self.instruments[name]
        first = next(iter(self.instruments.values()), Instrument())
        return replace(first, unpitched=None) if len(self.instruments) > 1 else first


def _key(semitones: float) -> int:
    key = math.floor(semitones + 0.5)
    if not 0 <= key <= 127:
        raise ValueError(f"a note is MIDI key {key}; keys go from 0 to 127")
    return key


def _velocity(note: ElementTree.Element) -> int:
    """The velocity that a note names: 100 % is 90."""
    percentage = note.get("dynamics")
    velocity = math.floor(float(percentage) * 0.9 + 0.5) if percentage else 0
    return min(max(velocity, 0), 127) or DEFAULT_VELOCITY


def _offset(element: ElementTree.Element) -> Fraction:
    """Divisions by which the sound of a <direction> or <sound> comes later than it stands."""
    own = element.find("offset")  # of a direction, it moves what is printed
    if element.tag == "direction" and own is not None and own.get("sound") != "yes":
        own = None
    of_sound = element.find("sound/offset")
    found = own if of_sound is None else of_sound
    return Fraction((found.text or "0").strip()) if found is not None else Fraction(0)


def _tempos(element: ElementTree.Element, onset: Fraction) -> list[Tempo]:
    """The tempi that a <direction> or <sound> sets: as they sound, else as printed."""
    sounding = [sound.get("tempo") for sound in element.iter("sound")]
    tempos = [Tempo(onset, True, float(tempo)) for tempo in sounding if tempo]
    if not tempos:
        for mark in element.iter("metronome"):
            unit, number = mark.findtext("beat-unit"), mark.findtext("per-minute", "").strip()
            if unit in QUARTERS and number.replace(".", "", 1).isdigit():
                dots = len(mark.findall("beat-unit-dot"))
                quarters = QUARTERS[unit] * (2 - Fraction(1, 2**dots))
                tempos.append(Tempo(onset, False, float(number) * float(quarters)))
    return [tempo for tempo in tempos if tempo.rate > 0]
