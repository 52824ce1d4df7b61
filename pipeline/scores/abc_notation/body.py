"""A tune's fields and music, line by line -> its voices."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

from pipeline.scores.abc_notation.fields import read_tempo
from pipeline.scores.abc_notation.keys import Shifts, read_properties
from pipeline.scores.abc_notation.settings import SETTING_FIELDS, Setting
from pipeline.scores.abc_notation.symbols import (
    grace_chords,
    members,
    read_length,
    symbols,
    written_note,
)
from pipeline.scores.abc_notation.tunes import DECISIVE_FIELDS, AbcError, Line, TuneText
from pipeline.scores.abc_notation.voice import Voice
from pipeline.scores.jump_words import JUMP_WORDS

FIRST_VOICE = "1"
# `+CEG+` was a chord before ABC 2.0; today decorations may stand so.
OLD_CHORD = re.compile(r"\+[A-Ga-gz\d/,'^_=]+\+")
# U: gives a letter a decoration or a text, neither of which changes notes.
USER_SYMBOL = re.compile(r"[~H-Yh-w]\s*=?\s*(![^!]*!|\+[^+]*\+|\"[^\"]*\"|[A-Za-z()]*)")
JUMP = re.compile(r"[!+](d\.?[cs]\.?(al|[!+])|da\s?capo|dacoda|dal\s?segno)", re.IGNORECASE)


@dataclass
class Body:
    """A tune as far as it has been read."""

    voices: dict[str, Voice] = field(default_factory=dict)
    tempo: float | None = None  # quarters a minute: the first one
    part_order: tuple[int, str] | None = None  # line and value of P: in the header

    _setting: Setting = field(default_factory=Setting)  # of the header: what voices begin with
    _voice_shifts: dict[str, Shifts] = field(default_factory=dict)  # of V: in the header
    _voice_directives: dict[str, list[str]] = field(default_factory=dict)  # %%MIDI, the same
    _header_voice: str = ""
    _voice: Voice | None = None  # None in the header
    _last_field: str = ""


def read_body(tune: TuneText) -> Body:
    """The tune's voices. Raises AbcError for the first thing that cannot be read."""
    body = Body()
    tempo = None
    for line in tune.header:
        if line.field == "Q":
            tempo = line  # it may count in unit lengths, which may follow
        else:
            _guarded(body, line)
    if not tune.header or tune.header[-1].field != "K":
        raise AbcError(tune.line, "a tune without a key (K:)")
    body._voice = _voice(body, next(iter(body._voice_shifts), FIRST_VOICE))
    for line in ([tempo] if tempo else []) + tune.body:
        _guarded(body, line)
    for voice in body.voices.values():
        _finish(voice)
    return body


def _finish(voice: Voice) -> None:
    try:
        voice.finish()
    except ValueError as error:
        raise AbcError(voice.bars[-1].line, str(error)) from None


def _guarded(body: Body, line: Line) -> None:
    try:
        if line.field:
            _field(body, line.field, line.text, line.number)
        elif body._voice is not None:
            _music(body, line)
        elif line.text and body._last_field != "H":  # a history may go on without a letter
            raise ValueError(f"no field, in the header: {line.text[:20]!r}")
    except ValueError as error:
        raise AbcError(line.number, str(error)) from None


def _field(body: Body, letter: str, value: str, number: int) -> None:
    """Obey a field. Those that only inform are passed over."""
    voice = body._voice
    if letter == "I" and value.startswith("MIDI") and voice is None and body._header_voice:
        Setting().set(letter, value)  # raises what is wrong with this line
        body._voice_directives.setdefault(body._header_voice, []).append(value)
    elif letter in SETTING_FIELDS:
        (voice.setting if voice else body._setting).set(letter, value)
    elif letter == "V":
        name, properties = [*value.split(None, 1), "", ""][:2]
        shifts = read_properties(properties)[1]
        if name in ("", "*"):
            raise ValueError(f"voice V:{value}")
        if voice is None:
            body._voice_shifts[name] = shifts
            body._header_voice = name
        else:
            body._voice = _voice(body, name)
            body._voice.setting.shifts.update(shifts)
    elif letter == "Q" and voice and voice.setting.unit_length and body.tempo is None:
        body.tempo = read_tempo(value, voice.setting.unit_length)
    elif letter == "P" and voice:
        voice.part(value, number)
    elif letter == "P":
        body.part_order = number, value
    elif letter == "U" and not USER_SYMBOL.fullmatch(value):
        raise ValueError(f"symbol U:{value}")
    elif letter == "m":
        raise ValueError(f"macro m:{value}")
    elif letter == "+" and body._last_field in DECISIVE_FIELDS:
        raise ValueError(f"a field {body._last_field}: of several lines")
    body._last_field = letter


def _voice(body: Body, name: str) -> Voice:
    if name not in body.voices:
        setting = body._setting.for_voice(body._voice_shifts.get(name, {}))
        for directive in body._voice_directives.get(name, ()):
            setting.set("I", directive)
        body.voices[name] = Voice(setting)
    return body.voices[name]


def _music(body: Body, line: Line) -> None:
    assert body._voice is not None
    text = line.text
    if body._voice.setting.breaks_lines_by_mark:
        text = text.replace("!", " ")
    for kind, found in symbols(text):
        voice = body._voice
        if kind == "field":
            _field(body, found["field"], found["value"].strip(), line.number)
        elif kind == "text":
            if JUMP_WORDS.search(found[0]):
                voice.jump = voice.jump or (line.number, found[0])
        elif kind == "decoration" or kind == "old_sign":
            if OLD_CHORD.fullmatch(found[0]):
                raise ValueError(f"a chord as before ABC 2.0: {found[0]}")
            if JUMP.match(found[0]):
                voice.jump = voice.jump or (line.number, found[0])
        else:
            _symbol(voice, kind, found, line.number)


def _symbol(voice: Voice, kind: str, found: re.Match[str], number: int) -> None:
    """Hand a symbol to the voice that it stands in."""
    if kind == "note":
        voice.chord([written_note(found)], Fraction(1))
    elif kind == "bar":
        voice.bar_line(found["bar"], number)
        if found["bar_ending"]:
            voice.ending(found["bar_ending"], number)
    elif kind == "rest":
        length = read_length(found["rest_length"])
        (voice.bars_of_rest if found["rest"] in "ZX" else voice.rest)(length)
    elif kind == "chord":
        notes = members(found["chord"])
        length = read_length(found["chord_length"])
        if not notes:
            raise ValueError(f"a chord without notes: {found[0]}")
        voice.chord(notes, length)
    elif kind == "tie":
        voice.tie()
    elif kind == "broken":
        voice.broken_rhythm(found["broken"])
    elif kind == "grace":
        voice.grace_notes(grace_chords(found["grace"]))
    elif kind == "p":
        in_time_of, applies_to = int(found["q"] or 0), int(found["r"] or 0)
        voice.tuplet(int(found["p"]), in_time_of, applies_to)
    elif kind in ("ending", "titled_ending"):
        voice.ending(found[kind], number)
    elif found["layers"] == "&":
        voice.overlay()
    else:
        raise ValueError(f"an overlay of several bars ({found['layers']})")
