"""Standard MIDI Files read by symusic (C++): the notes of midi_music21.py, many times faster.

symusic keeps the rules of `midi.score_from_tracks` but for three. It leaves out notes that are
never ended: here every track first gets note-offs for all keys at its end, so they last that long.
It keeps no channels, so a note takes its program from its own track alone. And it is lenient: some
damage that midi_music21.py names it passes over.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import symusic

from pipeline.midi import NOTE_ON, PERCUSSION_CHANNEL, PROGRAM_CHANGE, checked_notes, first_tempo
from pipeline.notes import DRUMS, NOTE, Score

END_OF_TRACK_BYTES = b"\xff\x2f\x00"
SYSTEM_EXCLUSIVE, END_OF_EXCLUSIVE = 0xF0, 0xF7
# The events of channels one after another, running status too.
_DELTA = rb"[\x80-\xff]{0,3}+[\x00-\x7f]"
_TWO = rb"[\x80-\xbf\xe0-\xef][\x00-\x7f]{2}(?:" + _DELTA + rb"[\x00-\x7f]{2})*+"
_ONE = rb"[\xc0-\xdf][\x00-\x7f](?:" + _DELTA + rb"[\x00-\x7f])*+"
CHANNEL_EVENTS = re.compile(rb"(?:" + _DELTA + rb"(?:" + _TWO + rb"|" + _ONE + rb"))*+")
DELTA_TIME = re.compile(_DELTA)
# For each channel a note-off for each key, by running status, all at the time of the first.
ALL_NOTES_OFF = [
    b"".join(
        bytes([0x80 | channel, key, 0] if not key else [key, 0]) + b"\x00" for key in range(128)
    )
    for channel in range(16)
]
MOST_SWEEPS = 64  # times that one key is left on; more is no music, and music21 has the patience


class UnfitForSymusicError(ValueError):
    """A MIDI file that symusic cannot read, or not by the same rules."""


def score_by_symusic(kind: int, division: int, tracks: list[bytes]) -> Score:
    """The notes of a MIDI file's tracks, as `split_chunks` gives them.

    Raises UnfitForSymusicError for what another reader has to read, or has to name the fault of:
    format 2, time in seconds, a program set in a track without notes, a damaged system exclusive
    event, events that symusic refuses, more music than a piece can have.
    """
    if kind > 1 or not 0 < division < 0x8000:
        raise UnfitForSymusicError("only formats 0 and 1 in ticks per quarter")
    if not all(map(_ends_once, tracks)):
        raise UnfitForSymusicError("an End of Track event that is not the end, or none")
    if not all(map(_exclusives_are_whole, tracks)):
        raise UnfitForSymusicError("a damaged system exclusive event")
    if len(tracks) > 1 and any(_conducts_programs(division, track) for track in tracks):
        raise UnfitForSymusicError("a track without notes sets a program")
    parsed = _parse(division, tracks, num_sweeps=0)
    num_notes, sweeps, found = -1, 1, parsed.note_num()
    while num_notes != found:  # until more note-offs end no more notes
        if sweeps > MOST_SWEEPS:
            raise UnfitForSymusicError("a key is left on too often")
        num_notes, parsed = found, _parse(division, tracks, sweeps)
        sweeps, found = 2 * sweeps, parsed.note_num()
    voices = [_notes(track) for track in parsed.tracks if len(track.notes)]
    notes = np.concatenate(voices) if voices else np.empty(0, NOTE)
    if min(notes["onset"].min(initial=0), notes["duration"].min(initial=0)) < 0:
        raise UnfitForSymusicError("times over 32 bits")  # symusic lets them wrap around
    tempo = first_tempo((tempo.time, tempo.mspq) for tempo in parsed.tempos)
    try:
        return checked_notes(notes, division, tempo)
    except ValueError as error:  # of several faults the other reader names the first
        raise UnfitForSymusicError(str(error)) from None


def _parse(division: int, tracks: list[bytes], num_sweeps: int) -> Any:
    """What symusic makes of the tracks, all keys let go so many times at the end of each."""
    if num_sweeps:
        sweeps = [b"".join(ALL_NOTES_OFF[c] for c in _channels(track, NOTE_ON)) for track in tracks]
        tracks = [_appended(t, num_sweeps * sweep) for t, sweep in zip(tracks, sweeps, strict=True)]
    file = [b"MThd\x00\x00\x00\x06\x00\x01", len(tracks).to_bytes(2, "big")]
    file.append(division.to_bytes(2, "big"))
    for track in tracks:
        file += [b"MTrk", len(track).to_bytes(4, "big"), track]
    try:
        return symusic.Score.from_midi(b"".join(file))
    except (RuntimeError, ValueError) as error:
        raise UnfitForSymusicError(str(error)) from None


def _ends_once(track: bytes) -> bool:
    """Is the track's one End of Track event its end?"""
    return track.endswith(END_OF_TRACK_BYTES) and track.count(END_OF_TRACK_BYTES[:2]) == 1


def _exclusives_are_whole(track: bytes) -> bool:
    """Is every system exclusive event whole, and the event after it one with a status of its own?

    What follows others the readers take for different events. Whole: F0, its length, data, F7.
    """
    if SYSTEM_EXCLUSIVE not in track and END_OF_EXCLUSIVE not in track:
        return True
    at = 0
    while delta := DELTA_TIME.match(track, CHANNEL_EVENTS.match(track, at).end()):  # type: ignore[union-attr]
        status, at = track[delta.end() : delta.end() + 1], delta.end() + 1
        if status == b"\xff":
            size, start = _number(track, at + 1)
        elif status == bytes([SYSTEM_EXCLUSIVE]):
            size, start = _number(track, at)
            data = track[start : start + size]
            if data[-1:] != bytes([END_OF_EXCLUSIVE]) or max(data[:-1], default=0) >= 0x80:
                return False
        else:
            return False
        at = start + size
    return at == len(track)


def _number(track: bytes, at: int) -> tuple[int, int]:
    """The number of variable length at a place, and where it ends."""
    value = 0
    while at < len(track):
        value = value << 7 | track[at] & 0x7F
        at += 1
        if track[at - 1] < 0x80:
            break
    return value, at


def _appended(track: bytes, events: bytes) -> bytes:
    """The track with events at its end, each followed by the time of the next."""
    return track[: -len(END_OF_TRACK_BYTES)] + events + END_OF_TRACK_BYTES


def _channels(track: bytes, kind: int) -> list[int]:
    """Channels that may have such events: those whose status is among the bytes."""
    return [channel for channel in range(16) if kind | channel in track]


def _conducts_programs(division: int, track: bytes) -> bool:
    """Has the track no notes, but a program for those of others? A note at its end would tell."""
    if _channels(track, NOTE_ON):
        return False
    probes = [
        bytes([NOTE_ON | channel, 60, 1, 0, 60, 0, 0])
        for channel in _channels(track, PROGRAM_CHANGE)
        if channel != PERCUSSION_CHANNEL
    ]
    if not probes:
        return False
    parsed = _parse(division, [_appended(track, b"".join(probes))], num_sweeps=0)
    return any(voice.program for voice in parsed.tracks)


def _notes(track: Any) -> np.ndarray:
    columns = track.notes.numpy()
    notes = np.empty(len(track.notes), NOTE)
    notes["onset"], notes["duration"] = columns["time"], columns["duration"]
    notes["pitch"], notes["velocity"] = columns["pitch"], columns["velocity"]
    notes["program"] = DRUMS if track.is_drum else track.program
    return notes
