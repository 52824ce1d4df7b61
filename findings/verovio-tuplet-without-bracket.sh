#!/usr/bin/env bash
# verovio 6.4.1 plays notes of a tuplet at their printed length where MusicXML gives them no bracket:
# <duration> and <time-modification> say a twelfth of a quarter less, and every later note is late.
# By the format <tuplet> is only how a tuplet looks; partitura 1.9.0 reads the times as they are said.
#
# Exits 0 while this holds, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet verovio==6.4.1 partitura==1.9.0 mido==1.3.3
"$folder/venv/bin/python" -W ignore - "$folder/score.musicxml" <<'PYTHON'
import base64
import io
import sys

import mido
import partitura
import verovio

TUPLET = (
    "<time-modification><actual-notes>3</actual-notes><normal-notes>2</normal-notes>"
    "</time-modification>"
)


def note(step: str, length: int, kind: str, more: str = "") -> str:
    return (
        f"<note><pitch><step>{step}</step><octave>4</octave></pitch><duration>{length}</duration>"
        f"<voice>1</voice><type>{kind}</type>{more}</note>"
    )


triplet = "".join(note(step, 4, "eighth", TUPLET) for step in "CDE")
rest = "<note><rest/><duration>24</duration><voice>1</voice><type>half</type></note>"
bar = triplet + note("F", 12, "quarter") + rest
contents = (
    '<?xml version="1.0" encoding="UTF-8"?><score-partwise version="4.0"><part-list>'
    '<score-part id="P1"><part-name>P1</part-name></score-part></part-list><part id="P1">'
    '<measure number="1"><attributes><divisions>12</divisions><time><beats>4</beats>'
    "<beat-type>4</beat-type></time><clef><sign>G</sign><line>2</line></clef></attributes>"
    f"{bar}</measure></part></score-partwise>"
)
open(sys.argv[1], "w").write(contents)
toolkit = verovio.toolkit()
toolkit.loadData(contents)
song = mido.MidiFile(file=io.BytesIO(base64.b64decode(toolkit.renderToMIDI())))
now, played = 0, []
for message in mido.merge_tracks(song.tracks):
    now += message.time
    if message.type == "note_on" and message.velocity:
        played.append((round(now / song.ticks_per_beat, 2), message.note))
notes = partitura.load_musicxml(sys.argv[1]).note_array()
print("written:          [(0.0, 60), (0.33, 62), (0.67, 64), (1.0, 65)]")
print("verovio 6.4.1:   ", played)
print("partitura 1.9.0: ", [(round(float(n["onset_quarter"]), 2), int(n["pitch"])) for n in notes])
sys.exit(0 if played != [(0.0, 60), (0.33, 62), (0.67, 64), (1.0, 65)] else 1)
PYTHON
