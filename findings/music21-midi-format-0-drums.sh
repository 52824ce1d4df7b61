#!/usr/bin/env bash
# music21 10.5.1: in a MIDI file of format 0 the notes that begin together with a drum become drums.
# A violin and a flute are read as bongos and congas without pitches; what music21 writes again has
# all of them, the bass drum too, on the channel of the violin. Format 0, all channels in one track,
# is what karaoke files and many keyboards have. The same music in format 1 is read right.
#
# Expected: violin 60 and 62, flute 64 and 66, and the bass drum (36) at 0 and 1, as symusic has it.
# Seen: two chords of drums; written again, all six notes are on channel 1. No warning.
#
# Exits 0 while this holds, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet music21==10.5.1 symusic==0.6.0 mido==1.3.3
"$folder/venv/bin/python" -W ignore - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import mido
import music21
import symusic

VIOLIN, FLUTE, DRUMS = 0, 1, 9  # channels
folder = Path(sys.argv[1])


def track(*channels: int) -> bytes:
    """Two beats of a note for each channel, a step up for the second; 96 ticks a quarter."""
    events = b"".join(
        bytes([0, 0xC0 | channel, {VIOLIN: 40, FLUTE: 73}[channel]])
        for channel in channels
        if channel != DRUMS
    )
    for beat in range(2):
        keys = {VIOLIN: 60 + 2 * beat, FLUTE: 64 + 2 * beat, DRUMS: 36}
        for channel in channels:
            events += bytes([0, 0x90 | channel, keys[channel], 80])
        for place, channel in enumerate(channels):
            events += bytes([0 if place else 96, 0x80 | channel, keys[channel], 0])
    events += b"\x00\xff\x2f\x00"
    return b"MTrk" + len(events).to_bytes(4, "big") + events


def midi(kind: int, *tracks: bytes) -> Path:
    path = folder / f"format{kind}.mid"
    header = b"MThd\x00\x00\x00\x06" + bytes([0, kind, 0, len(tracks), 0, 96])
    path.write_bytes(header + b"".join(tracks))
    return path


def by_music21(path: Path) -> list[tuple[float, str, list[int]]]:
    notes = music21.converter.parse(path, forceSource=True).flatten().notes
    return [(float(n.offset), type(n).__name__, [p.midi for p in n.pitches]) for n in notes]


def channels_written_again(path: Path) -> set[int]:
    again = folder / "again.mid"
    music21.converter.parse(path, forceSource=True).write("midi", again)
    messages = (message for found in mido.MidiFile(again).tracks for message in found)
    return {message.channel + 1 for message in messages if message.type == "note_on"}


one_track = midi(0, track(VIOLIN, FLUTE, DRUMS))
three_tracks = midi(1, track(VIOLIN), track(FLUTE), track(DRUMS))
print("music21", music21.VERSION_STR)
print("format 1:", by_music21(three_tracks))
print("format 0:", by_music21(one_track))
print("format 0, written again, on channels", channels_written_again(one_track))
print(
    "symusic, format 0:",
    [(t.program, t.is_drum, [n.pitch for n in t.notes]) for t in symusic.Score(one_track).tracks],
)
pitches = sorted(pitch for _, _, found in by_music21(one_track) for pitch in found)
others = sorted(pitch for _, _, found in by_music21(three_tracks) for pitch in found)
holds = pitches == [] and others == [60, 62, 64, 66] and channels_written_again(one_track) == {1}
print("as described" if holds else "CHANGED: read the head of this file again")
sys.exit(not holds)
PYTHON
