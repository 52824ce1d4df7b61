#!/usr/bin/env bash
# MusicXML of a clarinet, horn or trumpet: partitura 1.9.0 gives the pitches as they are written, in
# note arrays and in the MIDI that it writes, though it reads <transpose>; an orchestra is then in
# several keys at once. verovio 6.4.1 plays the first transposition of a part to its end: after a
# change from clarinet in B flat to clarinet in A all notes are a semitone too high.
#
# Expected (MusicXML 4.0, <transpose>): written D4 sounds as C4 (60) in B flat, B3 (59) in A, as
# MuseScore 3 and music21 10.5.1 have it.
# Seen: partitura 62 62, verovio 60 60. No warning.
#
# Exits 0 while this holds, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet partitura==1.9.0 verovio==6.4.1 mido==1.3.3 music21==10.5.1
"$folder/venv/bin/python" -W ignore - "$folder" <<'PYTHON'
import base64
import io
import sys
from pathlib import Path

import mido
import music21
import partitura
import verovio

folder = Path(sys.argv[1])


def transpose(diatonic: int, chromatic: int) -> str:
    steps = f"<diatonic>{diatonic}</diatonic><chromatic>{chromatic}</chromatic>"
    return f"<transpose>{steps}</transpose>"


def bar(number: int, attributes: str) -> str:
    return (
        f'<measure number="{number}"><attributes>{attributes}</attributes><note><pitch>'
        "<step>D</step><octave>4</octave></pitch><duration>4</duration><voice>1</voice>"
        "<type>whole</type></note></measure>"
    )


def struck(song: mido.MidiFile) -> list[int]:
    messages = (message for track in song.tracks for message in track)
    return [m.note for m in messages if m.type == "note_on" and m.velocity]


begin = "<divisions>1</divisions><time><beats>4</beats><beat-type>4</beat-type></time>"
begin += f"<clef><sign>G</sign><line>2</line></clef>{transpose(-1, -2)}"
score = folder / "clarinet.musicxml"
score.write_text(
    '<?xml version="1.0" encoding="UTF-8"?><score-partwise version="4.0"><part-list>'
    '<score-part id="P1"><part-name>Clarinet</part-name></score-part></part-list><part id="P1">'
    f"{bar(1, begin)}{bar(2, transpose(-2, -3))}</part></score-partwise>"
)

parsed = partitura.load_musicxml(str(score))
by_partitura = parsed.note_array()["pitch"].tolist()
partitura.save_score_midi(parsed, str(folder / "partitura.mid"))
midi_of_partitura = struck(mido.MidiFile(folder / "partitura.mid"))
toolkit = verovio.toolkit()
toolkit.loadFile(str(score))
by_verovio = struck(mido.MidiFile(file=io.BytesIO(base64.b64decode(toolkit.renderToMIDI()))))
sounding = music21.converter.parse(score, forceSource=True).toSoundingPitch()
print("written D4 and D4, in B flat and in A: 60 59")
print("partitura 1.9.0:", *by_partitura, "and in the MIDI that it writes:", *midi_of_partitura)
print("verovio 6.4.1:  ", *by_verovio)
print("music21 10.5.1: ", *(note.pitch.midi for note in sounding.flatten().notes))
holds = by_partitura == midi_of_partitura == [62, 62] and by_verovio == [60, 60]
print("as described" if holds else "CHANGED: read the head of this file again")
sys.exit(not holds)
PYTHON
