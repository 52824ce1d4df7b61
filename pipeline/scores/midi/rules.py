"""Standard MIDI Files: their chunks, and the rules that turn events into notes.

music21 (by_music21.py) or symusic (by_symusic.py) reads the bytes of the events.
Source: Standard MIDI-File Format Spec. 1.1 (MIDI Manufacturers Association).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from pipeline.scores.counted_rules import AFTER_END, ENDED_BEFORE, NEVER_ENDED
from pipeline.scores.midi.time_signatures import time_signatures
from pipeline.scores.notes import DRUMS, NoteRow, Score, make_notes, sort_notes

# The kinds of events that are read: the status of a channel message, the type of a meta event.
NOTE_OFF, NOTE_ON, PROGRAM_CHANGE, TEMPO, END_OF_TRACK = 0x80, 0x90, 0xC0, 0x51, 0x2F
TIME_SIGNATURE = 0x58
# A control change that ends all notes of its channel: All Sound Off, All Notes Off, and the modes
# (omni, mono, poly) whose messages do the same.
ALL_OFF, ALL_OFF_CONTROLLERS = 0xB0, frozenset({120, *range(123, 128)})

PERCUSSION_CHANNEL = 9  # channel 10, counted from 0
MELODIC_CHANNELS = [channel for channel in range(16) if channel != PERCUSSION_CHANNEL]
UNMARKED_TEMPO = 120.0  # quarters per minute of a file that sets none, by the standard
FRAME_RATES = (24, 25, 29, 30)  # frames per second in a header; 29 is 30 drop frame


class Event(NamedTuple):
    """One event of a track; time counts from the track's start."""

    tick: int
    kind: int
    channel: int = 0  # 0..15
    # Key, program, microseconds per quarter, upper number, or note-ons after END_OF_TRACK.
    number: int = 0
    value: int = 0  # velocity, or the power of two that is the lower number


def split_chunks(contents: bytes) -> tuple[int, int, list[bytes]]:
    """Format (0, 1, 2), division and the bytes of each track of a MIDI file.

    Chunks of unknown kinds, and bytes after the last track, are skipped, as the standard requires.
    Raises ValueError for a file that is not MIDI or is cut off.
    """
    if contents[:4] != b"MThd":
        raise ValueError(f"not a MIDI file: it begins with {contents[:4]!r}, not with b'MThd'")
    if len(contents) < 14:
        raise ValueError(f"cut off in the header: {len(contents)} bytes of at least 14")
    header_length, kind, num_tracks, division = (
        int.from_bytes(contents[start:stop], "big")
        for start, stop in ((4, 8), (8, 10), (10, 12), (12, 14))
    )
    if kind > 2:
        raise ValueError(f"MIDI format {kind}; formats 0, 1 and 2 exist")
    if num_tracks > MAX_TRACKS:
        raise ValueError(f"has {num_tracks} tracks; at most {MAX_TRACKS} are read")

    # The chunks: a name of four letters, a length, and that number of bytes.
    tracks: list[bytes] = []
    start = 8 + header_length
    while len(tracks) < num_tracks and start + 8 <= len(contents):
        name, length = (
            contents[start : start + 4],
            int.from_bytes(contents[start + 4 : start + 8], "big"),
        )
        start += 8
        if start + length > len(contents):
            raise ValueError(
                f"cut off in track {len(tracks) + 1} of {num_tracks}: {length} bytes are said, "
                f"{len(contents) - start} are there"
            )
        if name == b"MTrk":
            tracks.append(contents[start : start + length])
        start += length
    if len(tracks) < num_tracks:
        raise ValueError(f"cut off after track {len(tracks)} of {num_tracks}")
    return kind, division, tracks


def score_from_tracks(kind: int, division: int, tracks: Sequence[Sequence[Event]]) -> Score:
    """The notes of a MIDI file's tracks, each ending with END_OF_TRACK.

    - A note-off, or a note-on of velocity 0, ends the earliest note that sounds on its key, channel
      and track; without one it does nothing.
    - A note is never ended if its key has more note-ons than note-offs from there to the end of the
      track. It takes no note-off from later notes: it lasts until its key is struck again, or to
      the end of the track. Players do the same; they restart a key that is struck again. Before
      that, All Notes Off or All Sound Off on its channel and track ends it.
    - A note-off just before such a note-on, at the same tick, belongs to it: the note has length 0.
      music21 writes grace notes so.
    - A note that ends where it starts is kept with length 0; the grid later gives it one step.
    - Notes after the first End of Track event of a track are left out.
    - Channel 10 is percussion. A note's program is the last one set on its channel in its own
      track, else in any track at or before its onset, else 0.
    - The tracks of a format 2 file, each a piece of its own time, follow one another.
    - The first tempo is the score's, of several at one tick the last; tempo changes do not touch
      the grid. Time counted in seconds (SMPTE) becomes quarters at 120 a minute. Pedals and pitch
      bends are left out.
    - The time signatures are those of all tracks, by the rules of `time_signatures`.

    Notes never ended, ended before they begin, or left out are counted in the score's adjustments.
    Raises ValueError for a division that names no frame rate, and for too much music.
    """
    resolution, ticks = _resolution(division)
    rows: list[NoteRow] = []
    adjustments: Counter[str] = Counter()
    shared = _program_changes(tracks) if kind < 2 else {}
    start = 0
    for events in tracks:
        rows += [
            ((start + onset) * ticks, program, pitch, length * ticks, velocity)
            for onset, program, pitch, length, velocity in _track_notes(events, shared, adjustments)
        ]
        start += events[-1].tick if kind == 2 else 0
        adjustments[AFTER_END] += events[-1].number
    changes = (e for events in tracks for e in events if e.kind == TEMPO)
    tempo = first_tempo((change.tick, change.number) for change in changes)
    score = checked_score(rows, resolution, tempo, +adjustments)
    starts = accumulate((events[-1].tick * (kind == 2) for events in tracks), initial=0)
    metres = [
        ((start + event.tick) * ticks, event.number, event.value)
        for start, events in zip(starts, tracks, strict=False)
        for event in events
        if event.kind == TIME_SIGNATURE
    ]
    return replace(score, time_signatures=time_signatures(metres, resolution))


def first_tempo(changes: Iterable[tuple[int, int]]) -> float:
    """Quarters per minute of the first of (tick, microseconds per quarter), of several the last.

    Without any it is 120.
    """
    changes = list(changes)
    first = min((tick for tick, _ in changes), default=0)
    number = next((number for tick, number in reversed(changes) if tick == first), 0)
    return 60e6 / number if number else UNMARKED_TEMPO


# Far more than any music has (an opera has 200,000 notes and 50 tracks): a broken file must not
# become a million tokens of silence, nor take a day.
MAX_TRACKS = 1024
MAX_NOTES = 1_000_000
MAX_QUARTERS = 100_000
MAX_TICKS = 2**31 - 1  # an onset has 32 bits


def checked_score(
    rows: list[NoteRow], resolution: int, tempo: float, adjustments: Mapping[str, int] | None = None
) -> Score:
    """The score of these notes. Raises ValueError if it exceeds the limits on a piece."""
    _check_limits(
        len(rows), max((onset + length for onset, _, _, length, _ in rows), default=0), resolution
    )
    return Score(make_notes(rows), resolution, tempo, adjustments or {})


def checked_notes(notes: np.ndarray, resolution: int, tempo: float) -> Score:
    """The score of notes [num_notes] of NOTE in any order; limits as for `checked_score`."""
    end = notes["onset"].astype(np.int64) + notes["duration"]
    _check_limits(notes.size, int(end.max(initial=0)), resolution)
    return Score(sort_notes(notes), resolution, tempo)


def _check_limits(num_notes: int, end: int, resolution: int) -> None:
    if end > MAX_QUARTERS * resolution:
        raise ValueError(f"lasts {end // resolution} quarters; at most {MAX_QUARTERS} are read")
    if end > MAX_TICKS:
        raise ValueError(f"lasts {end} ticks, {resolution} a quarter; at most {MAX_TICKS} are read")
    if num_notes > MAX_NOTES:
        raise ValueError(f"has {num_notes} notes; at most {MAX_NOTES} are read")


def _resolution(division: int) -> tuple[int, int]:
    """(units per quarter, units per tick) of a header's division."""
    if division == 0:
        raise ValueError("the header says 0 ticks per quarter")
    if division < 0x8000:
        return division, 1
    frames_per_second = 256 - (division >> 8)  # two's complement of 24, 25, 29 (30 drop) or 30
    if frames_per_second not in FRAME_RATES:
        raise ValueError(
            f"the header's division {division:#x} says {frames_per_second} frames a second; MIDI "
            "has 24, 25, 29 and 30"
        )
    ticks_per_second = (30 if frames_per_second == 29 else frames_per_second) * (division & 0xFF)
    if ticks_per_second == 0:
        raise ValueError("the header says 0 ticks per second")
    return ticks_per_second, 2


def _program_changes(tracks: Sequence[Sequence[Event]]) -> dict[int, list[tuple[int, int]]]:
    """Channel -> (tick, program) of all tracks, by tick."""
    changes = defaultdict(list)
    for event in sorted(e for events in tracks for e in events if e.kind == PROGRAM_CHANGE):
        changes[event.channel].append((event.tick, event.number))
    return changes


# Tick, program of a note-on or None of a note-off, velocity or ALL_OFF.
Stroke = tuple[int, int | None, int]


def _track_notes(
    events: Sequence[Event], shared: dict[int, list[tuple[int, int]]], adjustments: Counter[str]
) -> list[NoteRow]:
    """Notes of one track by the rules of `score_from_tracks`, in ticks; adjustments are added."""
    programs: dict[int, int] = {PERCUSSION_CHANNEL: DRUMS}
    # (channel, key) -> its note-ons and note-offs in order.
    strokes: dict[tuple[int, int], list[Stroke]] = defaultdict(list)
    struck: dict[int, set[int]] = defaultdict(set)  # channel -> keys struck since an ALL_OFF

    def program_at(channel: int, tick: int) -> int:
        if channel in programs:
            return programs[channel]
        earlier = bisect_right(shared.get(channel, []), (tick, 127))
        return shared[channel][earlier - 1][1] if earlier else 0

    for tick, kind, channel, number, value in events:
        if kind == PROGRAM_CHANGE and channel != PERCUSSION_CHANNEL:
            programs[channel] = number
        elif kind == NOTE_ON and value:
            strokes[channel, number].append((tick, program_at(channel, tick), value))
            struck[channel].add(number)
        elif kind in (NOTE_ON, NOTE_OFF):
            strokes[channel, number].append((tick, None, 0))
        elif kind == ALL_OFF:
            for key in struck.pop(channel, ()):
                strokes[channel, key].append((tick, None, ALL_OFF))
    return [
        (onset, program, pitch, end - onset, velocity)
        for (_, pitch), of_key in strokes.items()
        for onset, program, end, velocity in _key_notes(of_key, events[-1].tick, adjustments)
    ]


def _key_notes(
    strokes: list[Stroke], track_end: int, adjustments: Counter[str]
) -> Iterator[tuple[int, int, int, int]]:
    """Onset, program, end and velocity of each note on one key of one channel."""
    # Which note-ons are never ended: those left when each note-off takes the latest note-on.
    left_on: list[int] = []
    idle: Counter[int] = Counter()  # tick -> note-offs that end no note
    for place, (tick, program, velocity) in enumerate(strokes):
        if program is not None:
            left_on.append(place)
        elif velocity == ALL_OFF:
            continue
        elif left_on:
            left_on.pop()
        else:
            idle[tick] += 1

    # They end before they begin, at an ALL_OFF, or where the key is struck again.
    ends: dict[int, int] = {}
    for place, following in zip(left_on, [*left_on, len(strokes)][1:], strict=True):
        tick = strokes[place][0]
        if idle[tick]:
            idle[tick] -= 1
            ends[place] = tick
            adjustments[ENDED_BEFORE] += 1
        else:
            between = strokes[place + 1 : following + 1]
            ends[place], _, by = next(
                (later for later in between if later[1] is not None or later[2] == ALL_OFF),
                (track_end, None, 0),
            )
            adjustments[NEVER_ENDED] += by != ALL_OFF

    # Each of the other notes takes the first note-off that no earlier note has.
    sounding: deque[Stroke] = deque()
    for place, (tick, program, velocity) in enumerate(strokes):
        if program is not None and place in ends:
            yield tick, program, ends[place], velocity
        elif program is not None:
            sounding.append((tick, program, velocity))
        elif sounding and velocity != ALL_OFF:
            onset, its_program, its_velocity = sounding.popleft()
            yield onset, its_program or 0, tick, its_velocity
