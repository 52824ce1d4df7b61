"""Standard MIDI Files read event by event with music21."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import music21

from pipeline.scores.midi.note_count import LARGEST_DELTA
from pipeline.scores.midi.rules import (
    ALL_OFF,
    ALL_OFF_CONTROLLERS,
    END_OF_TRACK,
    NOTE_OFF,
    NOTE_ON,
    PROGRAM_CHANGE,
    TEMPO,
    TIME_SIGNATURE,
    Event,
    score_from_tracks,
)
from pipeline.scores.notes import Score


def score_by_music21(kind: int, division: int, tracks: Sequence[bytes]) -> Score:
    """The score of what `split_chunks` found in a MIDI file.

    Raises ValueError naming the track and the byte where a track is damaged.
    """
    events = [list(_track_events(track, number)) for number, track in enumerate(tracks, 1)]
    return score_from_tracks(kind, division, events)


def _track_events(contents: bytes, track_number: int) -> Iterator[Event]:
    """The events of a track that decide its notes, the last one END_OF_TRACK.

    music21's own loop over a track skips events that it cannot read, and loses their time. This one
    raises ValueError, but for damage after the End of Track event.
    """
    events = _events(contents, track_number)
    for event in events:
        if event.kind == END_OF_TRACK:
            yield event._replace(number=_num_notes(events))
            return
        yield event
    raise ValueError(
        f"damaged in track {track_number}, near byte {len(contents)} of {len(contents)}: "
        "it stops without an End of Track event"
    )


def _num_notes(events: Iterator[Event]) -> int:
    """Number of note-ons among the events, up to the first one that is damaged."""
    number = 0
    with suppress(ValueError):
        for event in events:
            number += event.kind == NOTE_ON and event.value > 0
    return number


def _events(contents: bytes, track_number: int) -> Iterator[Event]:
    """The events of the kinds that `Event` has. Raises ValueError where the track is damaged."""
    voice, meta = music21.midi.ChannelVoiceMessages, music21.midi.MetaEvents
    modes = music21.midi.ChannelModeMessages
    kinds: dict[Any, int] = {
        voice.NOTE_ON: NOTE_ON,
        voice.NOTE_OFF: NOTE_OFF,
        voice.PROGRAM_CHANGE: PROGRAM_CHANGE,
        meta.SET_TEMPO: TEMPO,
        meta.TIME_SIGNATURE: TIME_SIGNATURE,
        meta.END_OF_TRACK: END_OF_TRACK,
        **{modes(controller): ALL_OFF for controller in ALL_OFF_CONTROLLERS},
    }
    rest: Any = memoryview(contents)  # a slice of it copies nothing; music21 slices at each event
    tick, status = 0, 0
    try:
        while rest:
            delta, rest = music21.midi.base.getVariableLengthNumber(rest)
            tick += delta
            if delta > LARGEST_DELTA:
                raise ValueError("a time of more than 4 bytes")
            event: Any = music21.midi.MidiEvent()
            if rest[0] < 0x80:  # running status: the event has the status of the one before
                if not status:
                    raise ValueError("a data byte where an event must begin")
                message = bytes([status]) + bytes(rest[:2])
                rest = rest[len(message) - 1 - len(event.read(message)) :]
            else:
                status = rest[0] if rest[0] < 0xF0 else status
                rest = event.read(rest)
            kind = kinds.get(event.type)
            if kind in (NOTE_ON, NOTE_OFF):
                key, velocity = event.parameter1, event.parameter2
                if key > 127 or velocity > 127:
                    raise ValueError(f"key {key}, velocity {velocity}: more than 127")
                yield Event(tick, kind, event.channel - 1, key, velocity)
            elif kind == ALL_OFF:
                yield Event(tick, kind, event.channel - 1)
            elif kind == PROGRAM_CHANGE:
                yield Event(tick, kind, event.channel - 1, event.parameter1)
            elif kind == TEMPO:
                yield Event(tick, kind, number=int.from_bytes(event.parameter1, "big"))
            elif kind == TIME_SIGNATURE and len(event.parameter1) >= 2:
                yield Event(tick, kind, 0, *event.parameter1[:2])
            elif kind == END_OF_TRACK:
                yield Event(tick, kind)
    except (music21.midi.MidiException, IndexError, ValueError) as error:
        where = len(contents) - len(rest)
        raise ValueError(
            f"damaged in track {track_number}, near byte {where} of {len(contents)}: {error}"
        ) from None
