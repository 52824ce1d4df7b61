"""A score written as MusicXML, which notation programs open, print and play.

Source: MusicXML 4.0, https://www.w3.org/2021/06/musicxml40/.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from pipeline.runtime.files import new_file
from pipeline.scores.bars import Measure, measures_of
from pipeline.scores.midi.rules import MELODIC_CHANNELS, PERCUSSION_CHANNEL
from pipeline.scores.musicxml.percussion import place_of
from pipeline.scores.musicxml.staves import (
    LINES_OF_A_STAFF,
    Line,
    Symbol,
    bars_of,
    mean_pitch,
    staves_of,
)
from pipeline.scores.notes import DEFAULT_VELOCITY, DRUMS, Score, one_note_per_key
from pipeline.scores.parts import PLAIN, Parts, instrument_name, key_of, spelled

HEADER = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE score-partwise PUBLIC '
    '"-//Recordare//DTD MusicXML 4.0 Partwise//EN" "http://www.musicxml.org/dtds/partwise.dtd">\n'
)
ACCIDENTALS = {-2: "flat-flat", -1: "flat", 0: "natural", 1: "sharp", 2: "double-sharp"}
LOWEST_KEY, HIGHEST_KEY = 12, 116  # MusicXML has octaves 0 to 9


def write_musicxml(
    score: Score, path: Path, title: str, parts: Parts = PLAIN, composer: str = "chorale"
) -> None:
    """Write the score as MusicXML: a part for each program, equal bytes for equal scores.

    Bars are those of the score's time signatures, else of `parts`, from its start. A staff has up
    to four lines; more lines have further staves. Lengths without a note value are tied notes. The
    key signature, and with it the spelling of notes, is music21's estimate by Krumhansl's profiles.
    Percussion is printed as for a drum kit; each key is an instrument. Of two notes that sound at
    once on a key one is written.
    Raises OSError on a full disk, and ValueError for a grid finer than notation is.
    """
    document = _document(score, title, parts, composer)
    indent(document)
    contents = HEADER + tostring(document, encoding="unicode") + "\n"
    with new_file(path) as partial:
        partial.write_text(contents, encoding="utf-8")


def _document(score: Score, title: str, parts: Parts, composer: str) -> Element:
    notes = one_note_per_key(score.notes)[0]
    notes["duration"] = np.maximum(notes["duration"], 1)
    key = key_of(notes)
    document = Element("score-partwise", version="4.0")
    _add(_add(document, "work"), "work-title", title)
    identification = _add(document, "identification")
    _add(identification, "creator", composer, type="composer")
    _add(_add(identification, "encoding"), "software", "chorale")
    part_list = _add(document, "part-list")
    measures = measures_of(score, parts.beats_per_bar)
    for index, program in enumerate(np.unique(notes["program"]).tolist()):
        own = notes[notes["program"] == program]
        part = _Part(f"P{index + 1}", index, program, own, key, score, parts)
        part_list.append(part.score_part())
        document.append(part.measures(measures))
    return document


class _Part:
    """A part of the document: the notes of one program."""

    def __init__(
        self,
        name: str,
        index: int,
        program: int,
        notes: np.ndarray,
        key: Any,
        score: Score,
        parts: Parts,
    ) -> None:
        self.name, self.index, self.program = name, index, parts.sound(program)
        self.key, self.score = key, score
        self.title = parts.name(program)
        self.is_drums = program == DRUMS
        self.pitches = np.unique(notes["pitch"]).tolist()
        # Keys below C0 are written an octave higher, as for a transposing instrument.
        is_low = self.pitches[0] < LOWEST_KEY and self.pitches[-1] < HIGHEST_KEY
        self.octaves_up = int(is_low and not self.is_drums)
        self.staves = staves_of(notes)
        self.spelling = {pitch: self._spelled(pitch) for pitch in self.pitches}

    def score_part(self) -> Element:
        """What the part list says of the part: its name and its instruments."""
        part = Element("score-part", id=self.name)
        _add(part, "part-name", self.title)
        name = instrument_name(DRUMS if self.is_drums else self.program)
        keys = self.pitches if self.is_drums else [None]
        for key in keys:
            instrument = _add(part, "score-instrument", id=self._instrument_id(key))
            _add(instrument, "instrument-name", name if key is None else f"{name} {key}")
        melodic = MELODIC_CHANNELS[self.index % len(MELODIC_CHANNELS)]
        for key in keys:  # channels, programs and keys are counted from 1
            midi = _add(part, "midi-instrument", id=self._instrument_id(key))
            _add(midi, "midi-channel", (PERCUSSION_CHANNEL if self.is_drums else melodic) + 1)
            _add(midi, "midi-program", 1 if self.is_drums else self.program + 1)
            if key is not None:
                _add(midi, "midi-unpitched", key + 1)
        return part

    def _instrument_id(self, key: int | None) -> str:
        return f"{self.name}-I{1 if key is None else key}"

    def measures(self, bars: Sequence[Measure]) -> Element:
        """The <part> element: its bars, staff by staff and line by line."""
        # [staff][line][bar] -> symbols
        symbols = [
            [bars_of(line, self.score.resolution, bars) for line in staff] for staff in self.staves
        ]
        part = Element("part", id=self.name)
        first_number = 0 if bars[0].before else 1  # an upbeat is not counted by musicians
        for place, bar in enumerate(bars):
            measure = _add(part, "measure", number=str(first_number + place))
            if place == 0:
                measure.attrib.update({"implicit": "yes"} if bar.before else {})
                self._add_attributes(measure, bar)
            elif bar.metre != bars[place - 1].metre:
                _add_metre(_add(measure, "attributes"), bar)
            written = 0
            for staff, lines in enumerate(symbols):
                own_bars = [of_line[place] for of_line in lines]
                if not any(own_bars):
                    own_bars[0] = [Symbol(0, bar.length, None)]
                self._mark_accidentals([symbol for line in own_bars for symbol in line])
                for number, line in enumerate(own_bars):
                    if not line:
                        continue
                    if written:
                        _add(_add(measure, "backup"), "duration", bar.length)
                    written += 1
                    for symbol in line:
                        self._add_symbol(measure, symbol, staff, staff * LINES_OF_A_STAFF + number)
        return part

    def _add_attributes(self, measure: Element, bar: Measure) -> None:
        """Add what holds from the first bar on: grid, key, metre, clefs, and the tempo."""
        attributes = _add(measure, "attributes")
        _add(attributes, "divisions", self.score.resolution)
        _add(_add(attributes, "key"), "fifths", self.key.sharps)
        _add_metre(attributes, bar)
        if len(self.staves) > 1:
            _add(attributes, "staves", len(self.staves))
        for number, staff in enumerate(self.staves, 1):
            self._add_clef(attributes, number, staff)
        if self.octaves_up:
            transpose = _add(attributes, "transpose")
            _add(transpose, "diatonic", 0)  # music21 10.5.1 fails without it
            _add(transpose, "chromatic", 0)
            _add(transpose, "octave-change", -self.octaves_up)
        if self.index == 0:
            direction = _add(measure, "direction", placement="above")
            mark = _add(_add(direction, "direction-type"), "metronome")
            _add(mark, "beat-unit", "quarter")
            _add(mark, "per-minute", round(self.score.tempo))
            _add(direction, "sound", tempo=repr(float(self.score.tempo)))

    def _add_clef(self, attributes: Element, number: int, staff: list[Line]) -> None:
        clef = _add(attributes, "clef", **({"number": str(number)} if len(self.staves) > 1 else {}))
        if self.is_drums:
            _add(clef, "sign", "percussion")
            return
        is_high = mean_pitch(staff) + 12 * self.octaves_up >= 60
        _add(clef, "sign", "G" if is_high else "F")
        _add(clef, "line", 2 if is_high else 4)

    def _mark_accidentals(self, symbols: list[Symbol]) -> None:
        """Give each note of a staff's bar the accidental to be printed, where it needs one."""
        if self.is_drums:
            return
        in_force: dict[tuple[str, int], int] = {}
        for symbol in sorted(symbols, key=lambda symbol: symbol.onset):
            for pitch in () if symbol.ends_tie else symbol.pitches:
                step, alter, octave = self.spelling[pitch]
                signature = self.key.accidentalByStep(step)
                usual = int(signature.alter) if signature else 0
                if in_force.get((step, octave), usual) != alter:
                    symbol.accidentals[pitch] = ACCIDENTALS[alter]
                in_force[step, octave] = alter

    def _spelled(self, pitch: int) -> tuple[str, int, int]:
        """Step, alteration and written octave of a key, as the key signature spells it."""
        found = spelled(pitch, self.key)
        assert found.octave is not None
        return found.step, int(found.alter), found.octave + self.octaves_up

    def _add_symbol(self, measure: Element, symbol: Symbol, staff: int, voice: int) -> None:
        for place, pitch in enumerate(symbol.pitches or [None]):
            note = _add(measure, "note")
            if place:
                _add(note, "chord")
            if pitch is None:
                _add(note, "rest", **({} if symbol.value else {"measure": "yes"}))
            else:
                self._add_pitch(note, pitch)
                velocity = symbol.velocities[place]
                if velocity != DEFAULT_VELOCITY and not symbol.ends_tie:
                    note.set("dynamics", f"{velocity / 0.9:.2f}")  # 100 % is a velocity of 90
            _add(note, "duration", symbol.length)
            ties = ["stop"] * symbol.ends_tie + ["start"] * symbol.starts_tie
            for kind in ties:
                _add(note, "tie", type=kind)
            if self.is_drums and pitch is not None:
                _add(note, "instrument", id=self._instrument_id(pitch))
            _add(note, "voice", voice + 1)
            self._add_value(note, symbol, pitch)
            if self.is_drums and pitch is not None and place_of(pitch).notehead != "normal":
                _add(note, "notehead", place_of(pitch).notehead)
            if len(self.staves) > 1:
                _add(note, "staff", staff + 1)
            for level, kind in enumerate(symbol.beams if not place else [], 1):
                _add(note, "beam", kind, number=str(level))
            if ties or (symbol.tuplet and not place):
                notations = _add(note, "notations")
                for kind in ties:
                    _add(notations, "tied", type=kind)
                for kind in symbol.tuplet if not place else []:
                    _add(notations, "tuplet", type=kind)

    def _add_pitch(self, note: Element, pitch: int) -> None:
        if self.is_drums:
            place = place_of(pitch)
            unpitched = _add(note, "unpitched")
            _add(unpitched, "display-step", place.step)
            _add(unpitched, "display-octave", place.octave)
            return
        step, alter, octave = self.spelling[pitch]
        written = _add(note, "pitch")
        _add(written, "step", step)
        if alter:
            _add(written, "alter", alter)
        _add(written, "octave", octave)

    def _add_value(self, note: Element, symbol: Symbol, pitch: int | None) -> None:
        if symbol.value is None:
            return
        _add(note, "type", symbol.value.type)
        for _ in range(symbol.value.dots):
            _add(note, "dot")
        if pitch in symbol.accidentals:
            _add(note, "accidental", symbol.accidentals[pitch])
        if symbol.value.actual > 1:
            change = _add(note, "time-modification")
            _add(change, "actual-notes", symbol.value.actual)
            _add(change, "normal-notes", symbol.value.normal)


def _add_metre(attributes: Element, bar: Measure) -> None:
    time = _add(attributes, "time")
    _add(time, "beats", bar.upper)
    _add(time, "beat-type", bar.lower)


def _add(parent: Element, tag: str, text: object = None, **attributes: str) -> Element:
    """A new last child of an element."""
    child = SubElement(parent, tag, attributes)
    if text is not None:
        child.text = str(text)
    return child
