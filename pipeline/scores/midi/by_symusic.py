"""Standard MIDI Files read with symusic (C++): the notes of by_music21.py, many times faster.

symusic departs from `rules.score_from_tracks` in three ways, and the tracks are changed before it
reads them. It drops notes that are never ended, so each track gets note-offs for all keys at its
end. It takes a note's program from the note's own track, so the programs that other tracks set are
put at the start of a track. It accepts some damage that by_music21.py reports. by_music21.py also
reads the files that are too long for symusic's 32-bit clock.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

import numpy as np
import symusic

from pipeline.scores.midi.rules import (
    NOTE_ON,
    PERCUSSION_CHANNEL,
    PROGRAM_CHANGE,
    checked_notes,
    first_tempo,
)
from pipeline.scores.midi.track_bytes import (
    END_OF_TRACK_BYTES,
    channels,
    ends_once,
    exclusives_are_whole,
    may_last_too_long,
    opening,
    sets_later,
)
from pipeline.scores.notes import DRUMS, NOTE, Score

# For each channel: note-offs for all keys, by running status, at one tick.
ALL_NOTES_OFF = [
    b"".join(
        bytes([0x80 | channel, key, 0] if not key else [key, 0]) + b"\x00" for key in range(128)
    )
    for channel in range(16)
]
MOST_SWEEPS = 64  # of note-offs at the end; by_music21.py reads files where a key needs more
LONG, LONG_DELTA = 2**27, b"\xc0\x80\x80\x00"  # ticks, and their bytes in a MIDI file


class UnfitForSymusicError(ValueError):
    """A MIDI file that symusic cannot read by the same rules."""


def score_by_symusic(kind: int, division: int, tracks: list[bytes]) -> Score:
    """The score of what `split_chunks` found in a MIDI file.

    Raises UnfitForSymusicError for a file that the other reader must read, or whose fault it must
    name: format 2, time in seconds, a program that another track changes while notes sound, a
    damaged system exclusive event, events that symusic refuses, more music than a piece can have.
    """
    if kind > 1 or not 0 < division < 0x8000:
        raise UnfitForSymusicError("only formats 0 and 1 in ticks per quarter")
    if not all(map(ends_once, tracks)):
        raise UnfitForSymusicError("an End of Track event that is not the end, or none")
    if any(map(may_last_too_long, tracks)):
        raise UnfitForSymusicError("times over 32 bits")
    if not all(map(exclusives_are_whole, tracks)):
        raise UnfitForSymusicError("a damaged system exclusive event")
    tracks = _with_all_programs(tracks)
    parsed, notes = _ended(division, tracks)
    if min(notes["onset"].min(initial=0), notes["duration"].min(initial=0)) < 0:
        raise UnfitForSymusicError("times over 32 bits")  # symusic wraps them around
    tempo = first_tempo((tempo.time, tempo.mspq) for tempo in parsed.tempos)
    try:
        return checked_notes(notes, division, tempo)
    except ValueError as error:  # the other reader names the first of several faults
        raise UnfitForSymusicError(str(error)) from None


def _with_all_programs(tracks: list[bytes]) -> list[bytes]:
    """The tracks, each beginning with the programs that other tracks set for its notes.

    Raises UnfitForSymusicError where a program would have to be set later than at the beginning.
    """
    # The channels of each track whose programs other tracks may set; most files have none.
    sets = [channels(track, PROGRAM_CHANGE) for track in tracks]
    setters = Counter(chain.from_iterable(sets))
    asked = [
        {
            channel
            for channel in channels(track, NOTE_ON) - {PERCUSSION_CHANNEL}
            if setters[channel] > (channel in own) or _sets_with_a_note(track, channel)
        }
        for track, own in zip(tracks, sets, strict=True)
    ]
    if not any(asked):
        return tracks

    # Of these, the ones that the track does not set before its first note, and later changes.
    try:
        openings = [opening(track) for track in tracks]
        asked = [
            set() if begun.first_note is None else missing - begun.channels
            for missing, begun in zip(asked, openings, strict=True)
        ]
        wanted = set(chain.from_iterable(asked))
        later = set().union(
            *(sets_later(t, wanted, o.size) for t, o in zip(tracks, openings, strict=True))
        )
    except ValueError as error:
        raise UnfitForSymusicError(str(error)) from None

    # The last program that any track set before the first note goes to the start of the track.
    completed = []
    for track, begun, missing in zip(tracks, openings, asked, strict=True):
        given = b""
        for channel in missing:
            changes = [c[::2] for found in openings for c in found.programs if c[1] == channel]
            tick, program = max(changes, default=(0, 0))
            if channel in later or tick > (begun.first_note or 0):
                raise UnfitForSymusicError("another track sets a program while notes play")
            given += bytes([0, PROGRAM_CHANGE | channel, program])
        completed.append(given + track)
    return completed


def _sets_with_a_note(track: bytes, channel: int) -> bool:
    """Whether the track may set a channel's program at the tick of a note, but after the note."""
    first_note = track.find(NOTE_ON | channel)
    return track.find(bytes([0, PROGRAM_CHANGE | channel]), first_note) >= 0


def _ended(division: int, tracks: list[bytes]) -> tuple[Any, np.ndarray]:
    """The tracks as symusic reads them, and their notes, which end with the track at the latest."""
    sweeps = [
        b"".join(ALL_NOTES_OFF[channel] for channel in channels(track, NOTE_ON)) for track in tracks
    ]
    twice = [sweep and sweep[:-1] + LONG_DELTA + sweep for sweep in sweeps]
    parsed = _parse(division, tracks, twice)
    notes = _notes(parsed)
    # A key that was left on more than once has a note which only the second sweep ended.
    if notes["duration"].min(initial=0) >= 0 and notes["duration"].max(initial=0) < LONG:
        return parsed, notes
    num_sweeps, parsed = 1, _parse(division, tracks, sweeps)
    while num_sweeps <= MOST_SWEEPS:
        fewer, num_sweeps = parsed, 2 * num_sweeps
        parsed = _parse(division, tracks, [num_sweeps * sweep for sweep in sweeps])
        if parsed.note_num() == fewer.note_num():  # more note-offs end no more notes
            return parsed, _notes(parsed)
    raise UnfitForSymusicError("a key is left on too often")


def _parse(division: int, tracks: list[bytes], endings: list[bytes]) -> Any:
    """The tracks as symusic reads them, each with events (and a delta time) added at its end."""
    file = [b"MThd\x00\x00\x00\x06\x00\x01", len(tracks).to_bytes(2, "big")]
    file.append(division.to_bytes(2, "big"))
    for track, ending in zip(tracks, endings, strict=True):
        file += [b"MTrk", (len(track) + len(ending)).to_bytes(4, "big")]
        file += [track[: -len(END_OF_TRACK_BYTES)], ending, END_OF_TRACK_BYTES]
    try:
        return symusic.Score.from_midi(b"".join(file))
    except (RuntimeError, ValueError) as error:
        raise UnfitForSymusicError(str(error)) from None


def _notes(parsed: Any) -> np.ndarray:
    """[num_notes] of NOTE, track by track, of a symusic score."""
    notes = np.empty(parsed.note_num(), NOTE)
    end = 0
    for track in parsed.tracks:
        columns = track.notes.numpy()
        start, end = end, end + columns["time"].size
        voice = notes[start:end]
        voice["onset"], voice["duration"] = columns["time"], columns["duration"]
        voice["pitch"], voice["velocity"] = columns["pitch"], columns["velocity"]
        voice["program"] = DRUMS if track.is_drum else track.program
    return notes
