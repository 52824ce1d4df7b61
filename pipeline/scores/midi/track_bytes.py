"""Facts about a MIDI track, found in its bytes without reading all its events."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.scores.midi.rules import (
    ALL_OFF,
    ALL_OFF_CONTROLLERS,
    END_OF_TRACK,
    NOTE_OFF,
    NOTE_ON,
    PROGRAM_CHANGE,
    Event,
)
from pipeline.scores.midi.rules import TEMPO as TEMPO_EVENT
from pipeline.scores.midi.rules import TIME_SIGNATURE as TIME_SIGNATURE_EVENT

END_OF_TRACK_BYTES = b"\xff\x2f\x00"
META, SYSTEM_EXCLUSIVE, END_OF_EXCLUSIVE = 0xFF, 0xF0, 0xF7
_DELTA = rb"[\x80-\xff]{0,3}+[\x00-\x7f]"
DELTA_TIME = re.compile(_DELTA)
TEMPO = re.compile(rb"\xff\x51\x03[\x00-\xff]{3}")
CONTINUED = bytes(128) + b"\1" * 128  # 1 for each byte that is not the last of a delta time
PROGRAMS = re.compile(rb"[\x00-\x7f](?:" + _DELTA + rb"[\x00-\x7f])*+")  # also by running status
# Tempo, metre, key, short texts: a length up to 7, and that number of bytes.
_META = rb"\xff[\x00-\x7f](?:" + b"|".join(rb"\x%02x[\x00-\xff]{%d}" % (n, n) for n in range(8))


def _runs(two: bytes, one: bytes) -> re.Pattern[bytes]:
    """A pattern of successive events: short meta events, and channel events of these statuses.

    `two` are the statuses with two data bytes, `one` those with one. Events by running status match
    too.
    """
    twos = rb"[%s][\x00-\x7f]{2}(?:%s[\x00-\x7f]{2})*+" % (two, _DELTA)
    ones = rb"[%s][\x00-\x7f](?:%s[\x00-\x7f])*+" % (one, _DELTA)
    return re.compile(rb"(?:%s(?:%s|%s|%s)))*+" % (_DELTA, twos, ones, _META))


EVENTS = _runs(rb"\x80-\xbf\xe0-\xef", rb"\xc0-\xdf")
EVENTS_BUT_PROGRAMS = _runs(rb"\x80-\xbf\xe0-\xef", rb"\xd0-\xdf")
SILENT_EVENTS = _runs(rb"\x80-\x8f\xa0-\xbf\xe0-\xef", rb"\xd0-\xdf")  # nor note-ons


def may_last_too_long(track: bytes) -> bool:
    """Whether the track may last 2**32 ticks, where symusic's clock starts again at 0.

    That takes 4 delta times of four bytes, 512 of three, or 100,000 events 8,192 ticks apart.
    """
    # A tempo and the delta time after it look like one delta time of many bytes.
    return _has_long_times(track) and _has_long_times(TEMPO.sub(b"", track))


def _has_long_times(events: bytes) -> bool:
    continued = events.translate(CONTINUED)
    return continued.count(b"\1\1\1") >= 4 or continued.count(b"\1\1") >= 512


def ends_once(track: bytes) -> bool:
    """Whether the track ends with its only End of Track event."""
    return track.endswith(END_OF_TRACK_BYTES) and track.count(END_OF_TRACK_BYTES[:2]) == 1


def exclusives_are_whole(track: bytes) -> bool:
    """Whether every system exclusive event is whole and the event after it has its own status.

    Whole means F0, the length, data below 0x80, F7. After any other the two readers disagree about
    where the next event begins.
    """
    if SYSTEM_EXCLUSIVE not in track and END_OF_EXCLUSIVE not in track:
        return True
    try:
        return all(
            status == META
            or (
                status == SYSTEM_EXCLUSIVE
                and data[-1:] == bytes([END_OF_EXCLUSIVE])
                and max(data[:-1], default=0) < 0x80
            )
            for status, _, data in _events_beside(EVENTS, track)
        )
    except ValueError:
        return False


def channels(track: bytes, kind: int) -> set[int]:
    """Channels that may have events of a kind: the status byte stands between two data bytes."""
    found = [channel for channel in range(16) if kind | channel in track]
    return {channel for channel in found if _may_have(track, kind | channel)}


def _may_have(track: bytes, status: int, start: int = 0) -> bool:
    at = track.find(status, max(start, 1))  # byte 0 is of the first time
    while 0 < at < len(track) - 1 and max(track[at - 1], track[at + 1]) >= 0x80:
        at = track.find(status, at + 1)
    return at > 0


@dataclass(frozen=True)
class Opening:
    """The programs that a track sets before its first note."""

    programs: list[tuple[int, int, int]]  # tick, channel, program
    first_note: int | None  # its tick
    size: int  # bytes

    @property
    def channels(self) -> set[int]:
        """Channels whose programs are set."""
        return {channel for _, channel, _ in self.programs}


def opening(track: bytes) -> Opening:
    """The opening of a track. Raises ValueError where it is damaged."""
    programs: list[tuple[int, int, int]] = []
    if SILENT_EVENTS.fullmatch(track):
        return Opening(programs, None, len(track))
    at, tick, status = 0, 0, 0
    try:
        while at < len(track):
            delta = track[at]
            at += 1
            if delta >= 0x80:
                delta, at = _number(track, at - 1)
            tick += delta
            first = track[at]
            if first >= SYSTEM_EXCLUSIVE and first in (META, SYSTEM_EXCLUSIVE, END_OF_EXCLUSIVE):
                size, at = _number(track, at + 1 + (first == META))  # running status stays
                at += size
                continue
            if first >= 0x80:
                status, at = first, at + 1
            kind = status & 0xF0
            if kind == NOTE_ON:
                return Opening(programs, tick, at)
            if kind == PROGRAM_CHANGE:
                programs.append((tick, status & 0x0F, track[at]))
            elif not 0x80 <= kind < SYSTEM_EXCLUSIVE:
                raise ValueError(f"status {status} where an event must begin")
            at += 1 if 0xC0 <= kind < 0xE0 else 2
    except IndexError:
        raise ValueError("it stops within an event") from None
    return Opening(programs, None, len(track))


def track_events(track: bytes) -> Iterator[Event]:
    """The events of a track that decide its notes, as by_music21.py reads them, but faster.

    Only for tracks that symusic accepts, with one End of Track. Raises ValueError for damage.
    """
    at, tick, status = 0, 0, 0
    try:
        while at < len(track):
            delta = track[at]
            at += 1
            if delta >= 0x80:
                delta, at = _number(track, at - 1)
            tick += delta
            first = track[at]
            if first in (META, SYSTEM_EXCLUSIVE, END_OF_EXCLUSIVE):  # running status stays
                kind = track[at + 1] if first == META else 0
                size, start = _number(track, at + 1 + (first == META))
                at = start + size
                if kind in (TEMPO_EVENT, END_OF_TRACK):
                    yield Event(tick, kind, number=int.from_bytes(track[start:at], "big"))
                elif kind == TIME_SIGNATURE_EVENT and size >= 2:
                    yield Event(tick, kind, 0, *track[start : start + 2])
                continue
            if first >= 0x80:
                status, at = first, at + 1
            kind, channel = status & 0xF0, status & 0x0F
            if kind in (NOTE_ON, NOTE_OFF):
                yield Event(tick, kind, channel, track[at], track[at + 1])
            elif kind == PROGRAM_CHANGE:
                yield Event(tick, kind, channel, track[at])
            elif kind == ALL_OFF and track[at] in ALL_OFF_CONTROLLERS:
                yield Event(tick, kind, channel)
            elif not 0x80 <= kind < SYSTEM_EXCLUSIVE:
                raise ValueError(f"status {status} where an event must begin")
            at += 1 if 0xC0 <= kind < 0xE0 else 2
    except IndexError:
        raise ValueError("it stops within an event") from None


def sets_later(track: bytes, wanted: set[int], start: int) -> set[int]:
    """The wanted channels whose programs a track sets from byte `start` on.

    Raises ValueError for a damaged track.
    """
    if not any(_may_have(track, PROGRAM_CHANGE | channel, start) for channel in wanted):
        return set()
    return wanted & {
        status & 0x0F
        for status, at, _ in _events_beside(EVENTS_BUT_PROGRAMS, track)
        if at >= start and status & 0xF0 == PROGRAM_CHANGE
    }


def _events_beside(runs: re.Pattern[bytes], track: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Status, first byte and data of each event that `runs` does not match.

    These are long meta events, exclusive events and programs. Raises ValueError for any other.
    """
    at = 0
    while (at := runs.match(track, at).end()) < len(track):  # type: ignore[union-attr]
        delta = DELTA_TIME.match(track, at)
        at = delta.end() + 1 if delta else len(track) + 1
        status = int.from_bytes(track[at - 1 : at], "big")
        if status in (META, SYSTEM_EXCLUSIVE, END_OF_EXCLUSIVE):
            size, start = _number(track, at + (status == META))
            end = start + size
        elif status & 0xF0 == PROGRAM_CHANGE and (found := PROGRAMS.match(track, at)):
            start, end = found.span()
        else:
            raise ValueError(f"unknown event at byte {at}")
        if end > len(track):
            raise ValueError("it stops within an event")
        yield status, start, track[start:end]
        at = end


def _number(track: bytes, at: int) -> tuple[int, int]:
    """The variable-length number at byte `at`, and the byte after it."""
    value = 0
    while at < len(track):
        value = value << 7 | track[at] & 0x7F
        at += 1
        if track[at - 1] < 0x80:
            break
    return value, at
