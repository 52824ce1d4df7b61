#!/usr/bin/env bash
# MusicXML has two elements for a tie: <tie> is how it sounds, <tied> is how it is printed. A file with
# one of them is valid, and half of the libraries strike the second note again: with <tie> alone
# verovio 6.4.1 does, with <tied> alone music21 10.5.1 and partitura 1.9.0 do. Write both, and read
# either.
#
# Expected (MusicXML 4.0, <tie>): with <tie> the two whole notes are one note.
# Seen: the number of notes that each library strikes, below. No warning.
#
# Exits 0 while this holds, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet partitura==1.9.0 verovio==6.4.1 mido==1.3.3 music21==10.5.1
"$folder/venv/bin/python" -W ignore - "$folder/score.musicxml" <<'PYTHON'
import base64
import io
import sys
from pathlib import Path

import mido
import music21
import partitura
import verovio

score = Path(sys.argv[1])


def bar(number: int, kind: str, sounds: bool, is_printed: bool) -> str:
    tie = f'<tie type="{kind}"/>' if sounds else ""
    tied = f'<notations><tied type="{kind}"/></notations>' if is_printed else ""
    attributes = "<attributes><divisions>1</divisions></attributes>" if number == 1 else ""
    return (
        f'<measure number="{number}">{attributes}<note><pitch><step>C</step><octave>4</octave>'
        f"</pitch><duration>4</duration>{tie}<voice>1</voice><type>whole</type>{tied}</note></measure>"
    )


def struck(sounds: bool, is_printed: bool) -> dict[str, int]:
    """How many notes each library strikes of two whole notes that are tied."""
    bars = bar(1, "start", sounds, is_printed) + bar(2, "stop", sounds, is_printed)
    score.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><score-partwise version="4.0"><part-list>'
        '<score-part id="P1"><part-name>P</part-name></score-part></part-list>'
        f'<part id="P1">{bars}</part></score-partwise>'
    )
    toolkit = verovio.toolkit()
    toolkit.loadFile(str(score))
    song = mido.MidiFile(file=io.BytesIO(base64.b64decode(toolkit.renderToMIDI())))
    messages = [message for track in song.tracks for message in track]
    return {
        "verovio": sum(m.type == "note_on" and m.velocity > 0 for m in messages),
        "music21": len(music21.converter.parse(score, forceSource=True).stripTies().flatten().notes),
        "partitura": len(partitura.load_musicxml(str(score)).note_array()),
    }


both, sound_alone, print_alone = struck(True, True), struck(True, False), struck(False, True)
print("<tie> and <tied>:", both)
print("<tie> alone:     ", sound_alone)
print("<tied> alone:    ", print_alone)
holds = (
    set(both.values()) == {1}
    and sound_alone == {"verovio": 2, "music21": 1, "partitura": 1}
    and print_alone == {"verovio": 1, "music21": 2, "partitura": 2}
)
print("as described" if holds else "CHANGED: read the head of this file again")
sys.exit(not holds)
PYTHON
