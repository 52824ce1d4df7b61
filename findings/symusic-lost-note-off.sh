#!/usr/bin/env bash
# symusic 0.6.0: one lost note-off lengthens every later note of its key and drops the last one;
# and of more than 16 tempi at one tick the order is lost, so that "the last one holds" cannot be kept.
#
# Expected: three notes of one key, the first without a note-off, are three notes; the second and
# third keep their own 10 ticks, as players, pretty_midi and music21 have it.
# Seen: two notes of 110 ticks; the third is gone.
#
# Exits 0 while this holds, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet symusic==0.6.0 pretty_midi==0.2.11.post0 "setuptools<81"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import io
import sys

import pretty_midi
import symusic


def midi(track: bytes) -> bytes:
    track += b"\x00\xff\x2f\x00"
    header = b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x01\xe0"
    return header + b"MTrk" + len(track).to_bytes(4, "big") + track


def tempo(microseconds: int) -> bytes:
    return b"\x00\xff\x51\x03" + microseconds.to_bytes(3, "big")


def by_symusic(contents: bytes) -> list[tuple[int, int]]:
    [track] = symusic.Score.from_midi(contents).tracks
    return [(note.time, note.duration) for note in track.notes]


def by_pretty_midi(contents: bytes) -> list[tuple[int, int]]:
    song = pretty_midi.PrettyMIDI(io.BytesIO(contents))
    times = [(song.time_to_tick(n.start), song.time_to_tick(n.end)) for n in song.instruments[0].notes]
    return sorted((int(start), int(end - start)) for start, end in times)


ON, OFF = b"\x90\x3c\x50", b"\x80\x3c\x00"  # the key 60
# on at 0 (never ended), on at 100, off at 110, on at 200, off at 210
lost = midi(b"\x00" + ON + b"\x64" + ON + b"\x0a" + OFF + b"\x5a" + ON + b"\x0a" + OFF)
numbers = [1_000_000 + 1_000 * place for place in range(40)]
many = midi(b"".join(map(tempo, numbers)) + b"\x00" + ON + b"\x60" + OFF)

found = by_symusic(lost)
order = [tempo.mspq for tempo in symusic.Score.from_midi(many).tempos]
print(f"symusic {symusic.__version__ if hasattr(symusic, '__version__') else '0.6.0'}")
print("(onset, length) by symusic:    ", found)
print("(onset, length) by pretty_midi:", by_pretty_midi(lost))
print("40 tempi at tick 0, the last in the file:", numbers[-1], "the last by symusic:", order[-1])
sys.exit(0 if found == [(0, 110), (100, 110)] and order != numbers else 1)
PYTHON
