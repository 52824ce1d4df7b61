"""The instruments that a MusicXML file names, and what they are in MIDI."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

import music21

from pipeline.scores.midi.rules import PERCUSSION_CHANNEL


@dataclass(frozen=True)
class Instrument:
    """An instrument of a part."""

    program: int = 0
    is_percussion: bool = False
    unpitched: int | None = None  # MIDI key of its one sound


def part_instruments(root: ElementTree.Element) -> dict[str, dict[str, Instrument]]:
    """Part id -> instrument id -> instrument, in the order of the file.

    Of an instrument without a MIDI program, as Sibelius writes them all, the name tells it.
    """
    found: dict[str, dict[str, Instrument]] = {}
    for part in root.iterfind("part-list/score-part"):
        own = found[part.get("id", "")] = {
            midi.get("id", ""): _instrument(midi, part) for midi in part.findall("midi-instrument")
        }
        for instrument in part.findall("score-instrument"):
            name = instrument.get("id", "")
            own.setdefault(name, Instrument(_program_by_name(part, name)))
    return found


def changed(instrument: Instrument, midi: ElementTree.Element) -> Instrument:
    """The instrument from a <midi-instrument> of a <sound> on; what it does not say stays."""
    program, channel, key = _numbers(midi)
    return Instrument(
        instrument.program if program is None else program,
        instrument.is_percussion if channel is None else channel == PERCUSSION_CHANNEL,
        instrument.unpitched if key is None else key,
    )


def _instrument(midi: ElementTree.Element, part: ElementTree.Element) -> Instrument:
    program, channel, key = _numbers(midi)
    if not program:  # many programs write a piano where they know no better
        program = _program_by_name(part, midi.get("id", ""))
    return Instrument(program, channel == PERCUSSION_CHANNEL, key)


def _numbers(midi: ElementTree.Element) -> list[int | None]:
    """Program, channel and key of percussion that a <midi-instrument> says."""
    names = ("midi-program", "midi-channel", "midi-unpitched")
    return [_number(midi.findtext(name)) for name in names]


def _number(text: str | None) -> int | None:
    """A number counted from 0; some files count from 0 themselves."""
    if text is None or not text.strip().isdigit():
        return None
    number = max(int(text) - 1, 0)
    return number if number < 128 else None


def _program_by_name(part: ElementTree.Element, name: str) -> int:
    """The program of the instrument that a <score-instrument> names; 0 where none is known."""
    for instrument in part.findall("score-instrument"):
        if instrument.get("id") == name:
            text = (instrument.findtext("instrument-name") or "").strip()
            try:
                return music21.instrument.fromString(text).midiProgram or 0
            except (music21.exceptions21.Music21Exception, ValueError):
                return 0
    return 0
