"""How many notes a MIDI file strikes, counted without the readers and without time.

A note-on with a velocity above 0 strikes a note. Most files are counted as arrays: nearly all
events from the first note on have two data bytes, and the last byte of the time before them is
below 0x80 as data are. So every third byte below 0x80 is a velocity. Where that does not hold, or
does not give the reader's number, a file is counted event by event.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pipeline.scores.counted_rules import AFTER_END
from pipeline.scores.notes import CountError, Score

LARGEST_DELTA = 2**28 - 1  # ticks between two events, by the standard
_TIME = rb"[\x80-\xff]*+[\x00-\x7f]"
# A meta event of up to 127 bytes, without its time.
_META = rb"\xff[\x00-\x7f](?:" + b"|".join(
    b"%s[\x00-\xff]{%d}" % (re.escape(bytes([n])), n) for n in range(128)
)
META = re.compile(_META + b")", re.DOTALL)
# What may stand before the first note: events of one and of two data bytes, and meta events.
OPENING = re.compile(
    rb"(?:%s(?:[\xc0-\xdf][\x00-\x7f](?:%s[\x00-\x7f])*+" % (_TIME, _TIME)
    + rb"|[\x80-\x8f\xa0-\xbf\xe0-\xef][\x00-\x7f]{2}(?:%s[\x00-\x7f]{2})*+" % _TIME
    + rb"|%s)))*+" % _META,
    re.DOTALL,
)
ANY_NOTE_ON = re.compile(rb"[\x90-\x9f]")
# An event of one data byte, before a time of one byte and another status. It is no time of an event
# itself: after that there would be two data bytes or a status.
ONE_DATA_BYTE = re.compile(rb"[\xc0-\xdf][\x00-\x7f](?=[\x00-\x7f][\x80-\xff])")
CONTROLLER = b"\xb0\0\0"
SILENT = b"\0\0"  # the data of an event that strikes no note, whatever its status
END_OF_TRACK = b"\xff\x2f\x00"
NOTE_OFF, NOTE_ON, SYSTEM = 0x8, 0x9, 0xF  # the upper half of a status byte
# The byte after an event's time: a note-on, another event of two data bytes, a data byte, the rest.
ON, TWO, RUNNING, OTHER = 1, 0, 2, 3
KINDS = bytes(
    [RUNNING] * 128 + [TWO] * 16 + [ON] * 16 + [TWO] * 32 + [OTHER] * 32 + [TWO] * 16 + [OTHER] * 16
)


def with_count(score: Score, tracks: Sequence[bytes]) -> Score:
    """The score with the number of notes that its tracks strike.

    Raises CountError where that is not the number of its notes and of those it says it leaves out.
    """
    expected = score.notes.size + score.adjustments.get(AFTER_END, 0)
    num_notes = _count_as_arrays(tracks)
    if num_notes != expected:
        num_notes = count_notes(tracks)
    if num_notes != expected:
        raise CountError(num_notes, expected)
    return replace(score, notes_read=num_notes)


def count_notes(tracks: Sequence[bytes]) -> int:
    """The note-ons of velocity 1 or more, in each track up to the first damage."""
    return sum(velocity > 0 for track in tracks for velocity in _velocities(track))


def _velocities(track: bytes) -> Iterator[int]:
    """The velocity of each note-on of a track, up to the first damage."""
    at, status = 0, 0
    try:
        while at < len(track):
            delta, at = _number(track, at)
            if delta > LARGEST_DELTA:
                return
            if track[at] >> 4 == SYSTEM:  # running status stays
                is_meta = track[at] == 0xFF
                if not is_meta and track[at] not in (0xF0, 0xF7):
                    return
                size, at = _number(track, at + 1 + is_meta)
                at += size
                continue
            if track[at] >= 0x80:
                status, at = track[at], at + 1
            kind, num_data = status >> 4, 1 if 0xC0 <= status < 0xE0 else 2
            data, at = track[at : at + num_data], at + num_data
            if not status or len(data) < num_data:
                return
            if kind in (NOTE_ON, NOTE_OFF) and max(data) >= 0x80:
                return
            if kind == NOTE_ON:
                yield data[1]
    except IndexError:
        return


def _number(track: bytes, at: int) -> tuple[int, int]:
    """The variable-length number at byte `at`, and the byte after it. Raises IndexError."""
    value = 0
    while track[at] >= 0x80:
        value, at = value << 7 | track[at] & 0x7F, at + 1
    return value << 7 | track[at], at + 1


def _count_as_arrays(tracks: Sequence[bytes]) -> int | None:
    """As `count_notes`, of all tracks at once; None where it would take other events for notes."""
    bodies = (track[OPENING.match(track).end() :] for track in tracks)  # type: ignore[union-attr]
    parts = [body for body in bodies if ANY_NOTE_ON.search(body)]
    # A meta event becomes two data bytes of the event before it, after its own time.
    ends = [part.removesuffix(END_OF_TRACK) + SILENT for part in parts]
    found = _strikes(b"".join(ends))
    if found is None:
        two_data_bytes = ONE_DATA_BYTE.sub(CONTROLLER, b"".join(parts))
        found = _strikes(META.sub(SILENT, two_data_bytes))
    return found


def _strikes(events: bytes) -> int | None:
    """The note-ons of velocity 1 or more; None unless all events are of two data bytes."""
    octets = np.frombuffer(events, np.uint8)
    low = (octets < 0x80).nonzero()[0]
    num_events, rest = divmod(low.size, 3)
    if rest or not num_events:
        return None if rest else 0

    # The last byte of the time, then perhaps a status, then the two data bytes.
    time, key, velocity = low[0::3], low[1::3], low[2::3]
    status = octets[time + 1]
    kinds = status.tobytes().translate(KINDS)
    num_running = kinds.count(RUNNING)
    last, first = velocity.sum(), key.sum()
    if (
        last - first != num_events  # the data bytes are neighbours
        or first - time.sum() != 2 * num_events - num_running  # so are time, status and data
        or kinds[0] == RUNNING
        or OTHER in kinds
    ):
        return None
    is_on = np.frombuffer(kinds, np.uint8)
    if num_running:
        place = np.where(is_on == RUNNING, 0, np.arange(num_events))
        is_on = is_on[np.maximum.accumulate(place)]
    return int(np.count_nonzero(is_on & (octets[velocity] > 0)))
