#!/usr/bin/env bash
# verovio 6.4.1 plays an eighth as a triplet eighth where its beam begins within the triplet before it.
# A 16th rest and two 16ths are a triplet that ends there, by <duration>, <time-modification> and
# <tuplet>; the beam goes from its last 16th to the eighth. By the format a beam is only how notes
# look; partitura 1.9.0 and music21 10.5.1 read the eighth as it is said, and all that follows.
# verovio takes it into the triplet, and plays the next beat too early.
#
# Exits 0 while this holds, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet verovio==6.4.1 partitura==1.9.0 music21==10.5.1 mido==1.3.3
"$folder/venv/bin/python" -W ignore - "$folder/score.musicxml" <<'PYTHON'
import base64
import io
import sys

import mido
import music21
import partitura
import verovio

TUPLET = (
    "<time-modification><actual-notes>3</actual-notes><normal-notes>2</normal-notes>"
    "</time-modification>"
)


def note(pitch: str, length: int, kind: str, tuplet: str = "", beams: str = "") -> str:
    what = f"<pitch><step>{pitch}</step><octave>4</octave></pitch>" if pitch else "<rest/>"
    bracket = f'<notations><tuplet type="{tuplet}"/></notations>' if "st" in tuplet else ""
    marks = "".join(
        f'<beam number="{level}">{beam}</beam>' for level, beam in enumerate(beams.split(), 1)
    )
    return (
        f"<note>{what}<duration>{length}</duration><voice>1</voice><type>{kind}</type>"
        f"{TUPLET if tuplet else ''}{marks}{bracket}</note>"
    )


beat = note("", 2, "16th", "start") + note("C", 2, "16th", "within", "begin begin")
beat += note("D", 2, "16th", "stop", "continue end") + note("E", 6, "eighth", "", "end")
contents = (
    '<?xml version="1.0" encoding="UTF-8"?><score-partwise version="4.0"><part-list>'
    '<score-part id="P1"><part-name>P1</part-name></score-part></part-list><part id="P1">'
    '<measure number="1"><attributes><divisions>12</divisions><time><beats>2</beats>'
    "<beat-type>4</beat-type></time><clef><sign>G</sign><line>2</line></clef></attributes>"
    f"{beat}{note('F', 12, 'quarter')}</measure></part></score-partwise>"
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
by_partitura = [(round(float(n["onset_quarter"]), 2), int(n["pitch"])) for n in notes]
score = music21.converter.parse(sys.argv[1], forceSource=True)
by_music21 = [(round(float(n.offset), 2), n.pitch.midi) for n in score.flatten().notes]
written = [(0.17, 60), (0.33, 62), (0.5, 64), (1.0, 65)]
print("written:         ", written)
print("verovio 6.4.1:   ", played)
print("partitura 1.9.0: ", by_partitura)
print("music21 10.5.1:  ", by_music21)
holds = played != written and by_partitura == by_music21 == written
print("as described" if holds else "CHANGED: read the head of this file again")
sys.exit(not holds)
PYTHON
