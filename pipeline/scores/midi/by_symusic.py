"""Standard MIDI Files read with symusic (C++): the notes of by_music21.py, many times faster.

symusic departs from `rules.score_from_tracks` in these ways:
- It drops notes that are never ended, and lengthens the others of their key. Note-offs added long
  after the end of each track show such files, whose events are then read in Python.
- It takes a note's program from the note's own track. The programs that other tracks set are put at
  the start of the track where that is enough.
- It does not keep the order of many tempi at one tick, or of time signatures, and reads odd time
  signatures otherwise. Both are looked up in the bytes.
- It accepts some damage, and its clock has 32 bits. by_music21.py reads the files concerned.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import chain, takewhile
from typing import Any

import numpy as np
import symusic

from pipeline.scores.midi.rules import (
    NOTE_ON,
    PERCUSSION_CHANNEL,
    PROGRAM_CHANGE,
    TEMPO,
    TIME_SIGNATURE,
    checked_notes,
    first_tempo,
    score_from_tracks,
)
from pipeline.scores.midi.time_signatures import LARGEST_POWER, time_signatures
from pipeline.scores.midi.track_bytes import (
    END_OF_TRACK_BYTES,
    channels,
    ends_once,
    exclusives_are_whole,
    may_last_too_long,
    opening,
    sets_later,
    track_events,
)
from pipeline.scores.notes import DRUMS, NOTE, Score

# For each channel: note-offs for all keys, by running status, at one tick.
ALL_NOTES_OFF = [
    bytes([0x80 | channel]) + b"".join(bytes([key, 0]) + b"\x00" for key in range(128))
    for channel in range(16)
]
TIME_SIGNATURE_BYTES = b"\xff\x58\x04"
LOWER_NUMBERS = [1 << power for power in range(LARGEST_POWER + 1)]
MOST_TEMPI = 16  # symusic keeps the order of this number at one tick; its sort is not stable
LONG = 2**27  # ticks
LONG_PAUSE = b"\xff\x01\x00" + b"\xc0\x80\x80\x00"  # an empty text at the track's end, LONG ticks


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
    completed = _with_all_programs(tracks)
    struck = [channels(track, NOTE_ON) for track in completed]
    sweeps = [LONG_PAUSE + b"".join(map(ALL_NOTES_OFF.__getitem__, found)) for found in struck]
    parsed = _parse(division, completed, sweeps)
    notes = _notes(parsed)
    if min(notes["onset"].min(initial=0), notes["duration"].min(initial=0)) < 0:
        raise UnfitForSymusicError("times over 32 bits")  # symusic wraps them around
    try:
        if notes["duration"].max(initial=0) >= LONG:
            # A note-off long after the end found a note that is never ended.
            return score_from_tracks(kind, division, [list(track_events(t)) for t in tracks])
        score = checked_notes(notes, division, _tempo(parsed, tracks))
        metres = time_signatures(_metres(parsed, tracks), division)
        return replace(score, time_signatures=metres) if metres else score
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


def _tempo(parsed: Any, tracks: list[bytes]) -> float:
    """The first tempo, of several at one tick the last."""
    tempos = parsed.tempos  # by time
    first = tempos[0].time if len(tempos) else 0
    changes = [(first, tempo.mspq) for tempo in takewhile(lambda t: t.time == first, tempos)]
    if len(tempos) > MOST_TEMPI and len(changes) > 1:
        at_first = [takewhile(lambda e: e.tick <= first, track_events(track)) for track in tracks]
        changes = [(e.tick, e.number) for e in chain(*at_first) if e.kind == TEMPO]
    return first_tempo(changes)


def _metres(parsed: Any, tracks: list[bytes]) -> list[tuple[int, int, int]]:
    """Tick, upper number and power of two of the lower of each time signature, in file order."""
    num_marks = sum(track.count(TIME_SIGNATURE_BYTES[:2]) for track in tracks)
    if not num_marks:
        return []
    num_plain = sum(track.count(TIME_SIGNATURE_BYTES) for track in tracks)
    found = [(m.time, m.numerator, m.denominator) for m in parsed.time_signatures]
    is_plain = all(upper and lower in LOWER_NUMBERS for _, upper, lower in found)
    # Many files say the same one in every track.
    is_ordered = len(set(found)) == len({tick for tick, _, _ in found})
    if is_plain and is_ordered and num_marks == num_plain == len(found):
        return [(tick, upper, lower.bit_length() - 1) for tick, upper, lower in found]
    events = chain(*map(track_events, tracks))
    return [(e.tick, e.number, e.value) for e in events if e.kind == TIME_SIGNATURE]


def _parse(division: int, tracks: list[bytes], endings: list[bytes]) -> Any:
    """The tracks as symusic reads them, each with events added long after its end."""
    file = [b"MThd\x00\x00\x00\x06\x00\x01", len(tracks).to_bytes(2, "big")]
    file.append(division.to_bytes(2, "big"))
    for track, ending in zip(tracks, endings, strict=True):
        file += [b"MTrk", (len(track) + len(ending)).to_bytes(4, "big")]
        # The delta time of the End of Track event stays before the added events.
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
        if not track.note_num():
            continue
        columns = track.notes.numpy()
        start, end = end, end + columns["time"].size
        voice = notes[start:end]
        voice["onset"], voice["duration"] = columns["time"], columns["duration"]
        voice["pitch"], voice["velocity"] = columns["pitch"], columns["velocity"]
        voice["program"] = DRUMS if track.is_drum else track.program
    return notes
