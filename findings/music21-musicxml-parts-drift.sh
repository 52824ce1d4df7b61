#!/usr/bin/env bash
# music21 10.5.1 on MusicXML: bars of one number do not begin together once a part fills a bar less
# than the others, so that the parts drift apart; verovio 6.4.1 keeps them together. Both play cue
# notes, which by the format have no playback.
#
# Exits 0 while this holds, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet music21==10.5.1 verovio==6.4.1 mido==1.3.3
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import base64
import io
import sys

import mido
import music21
import verovio

ATTRIBUTES = (
    "<attributes><divisions>1</divisions><time><beats>4</beats><beat-type>4</beat-type></time>"
    "</attributes>"
)


def score(*parts: str) -> str:
    ids = range(len(parts))
    names = "".join(
        f'<score-part id="P{i}"><part-name>P{i}</part-name></score-part>' for i in ids
    )
    music = "".join(f'<part id="P{i}">{part}</part>' for i, part in zip(ids, parts))
    return (
        '<?xml version="1.0" encoding="UTF-8"?><score-partwise version="4.0">'
        f"<part-list>{names}</part-list>{music}</score-partwise>"
    )


def part(*bars: str) -> str:
    first = ATTRIBUTES
    return "".join(
        f'<measure number="{n}">{first * (n == 1)}{bar}</measure>' for n, bar in enumerate(bars, 1)
    )


def note(step: str, length: int, octave: int = 4, start: str = "") -> str:
    kind = {1: "quarter", 2: "half", 4: "whole"}[length]
    return (
        f"<note>{start}<pitch><step>{step}</step><octave>{octave}</octave></pitch>"
        f"<duration>{length}</duration><voice>1</voice><type>{kind}</type></note>"
    )


def by_music21(xml: str) -> list[tuple[float, int]]:
    parsed = music21.converter.parseData(xml, format="musicxml")
    found = []
    for element in parsed.flatten().notes:
        found.append((float(element.offset), element.pitch.midi))
    return sorted(found)


def by_verovio(xml: str) -> list[tuple[float, int]]:
    toolkit = verovio.toolkit()
    toolkit.loadData(xml)
    song = mido.MidiFile(file=io.BytesIO(base64.b64decode(toolkit.renderToMIDI())))
    found, now = [], 0
    for message in mido.merge_tracks(song.tracks):
        now += message.time
        if message.type == "note_on" and message.velocity:
            found.append((now / song.ticks_per_beat, message.note))
    return sorted(found)


short = score(
    part(note("C", 4), note("D", 4), note("E", 4), note("F", 4)),
    part(note("C", 4, 3), note("D", 2, 3), note("E", 1, 3), note("F", 4, 3)),
)
cue = score(part(note("C", 2) + note("G", 2, 5, start="<cue/>")))

short_heard, short_played = by_music21(short), by_verovio(short)
print("a bar too short in the lower part: (onset in quarters, key)")
print("  music21:", short_heard)
print("  verovio:", short_played)
cue_heard, cue_played = by_music21(cue), by_verovio(cue)
print("C4 and a cue note G5:")
print("  music21:", cue_heard)
print("  verovio:", cue_played)
together = [(float(4 * n), key) for n, keys in enumerate(((48, 60), (50, 62), (52, 64), (53, 65))) for key in keys]
as_seen = short_played == together and short_heard != together
as_seen &= cue_heard == cue_played == [(0.0, 60), (2.0, 79)]
sys.exit(0 if as_seen else 1)
PYTHON
