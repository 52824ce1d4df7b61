"""A score written as a Standard MIDI File."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.runtime.files import new_file
from pipeline.scores.bars import (
    UNKNOWN_METRE,
    Measure,
    Metre,
    measures_of,
    metre_of_length,
)
from pipeline.scores.midi.rules import (
    MELODIC_CHANNELS,
    NOTE_OFF,
    NOTE_ON,
    PERCUSSION_CHANNEL,
    PROGRAM_CHANGE,
)
from pipeline.scores.notes import DRUMS, Score, one_note_per_key
from pipeline.scores.parts import PLAIN, Parts, key_of

SLOWEST, FASTEST = 4.0, 1000.0  # quarters per minute; the slowest tempo in MIDI is 3.6


def write_midi(score: Score, path: Path, parts: Parts | None = None) -> None:
    """Write a format 1 MIDI file: one tempo, a track per program, percussion on channel 10.

    With `parts` it also has the names of the tracks and the estimated key. The time signatures are
    the score's, else that of `parts`. A bar begins at each: one is written at all bar lines that do
    not lie one whole bar after the line before. An upbeat of at most half a bar is a bar of its own
    length, as notation programs write it. Reading the file gives the same bar lines.

    Reading the file gives the same notes: ticks are an exact multiple of the score's grid, and no
    key sounds twice at once (`one_note_per_key`). With more than 15 melodic programs channels are
    shared, and the program is set before each note. Raises ValueError for a grid that is too fine
    for MIDI.
    """
    import mido

    if score.resolution > 0x7FFF:
        raise ValueError(
            f"{score.resolution} units per quarter; MIDI has at most 32767: quantise it first"
        )
    ticks_per_unit = -(-480 // score.resolution)  # sequencers expect at least 480
    notes = one_note_per_key(score.notes)[0]
    midi_file = mido.MidiFile(type=1, ticks_per_beat=score.resolution * ticks_per_unit)
    tempo = min(round(60e6 / score.tempo), 0xFFFFFF)
    conductor = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=tempo)])
    if parts or score.time_signatures:
        measures = measures_of(score, parts.beats_per_bar if parts else PLAIN.beats_per_bar)
        for tick, (upper, lower) in _metres(measures, score.resolution, ticks_per_unit):
            metre = {"numerator": upper, "denominator": lower}
            conductor.append(mido.MetaMessage("time_signature", **metre, time=tick))
    if parts:
        conductor.insert(2, mido.MetaMessage("key_signature", key=_signature(key_of(notes))))
    midi_file.tracks.append(conductor)

    # A track for each program.
    programs = [int(program) for program in np.unique(notes["program"])]
    melodic = [program for program in programs if program != DRUMS]
    for program in programs:
        is_drum = program == DRUMS
        channel = (
            PERCUSSION_CHANNEL
            if is_drum
            else MELODIC_CHANNELS[melodic.index(program) % len(MELODIC_CHANNELS)]
        )
        sound = parts.sound(program) if parts else program
        events = [] if is_drum else [(0, 1, PROGRAM_CHANGE, sound, 0)]
        for onset, _, pitch, duration, velocity in notes[notes["program"] == program].tolist():
            tick, end = onset * ticks_per_unit, (onset + max(duration, 1)) * ticks_per_unit
            if not is_drum and len(melodic) > len(MELODIC_CHANNELS):
                events.append((tick, 1, PROGRAM_CHANGE, sound, 0))
            events.append((tick, 2, NOTE_ON, pitch, velocity))
            events.append((end, 0, NOTE_OFF, pitch, 0))  # rank 0: before the key is struck again
        track = _mido_track(sorted(events), channel)
        if parts:
            track.insert(0, mido.MetaMessage("track_name", name=parts.name(program)))
        midi_file.tracks.append(track)
    with new_file(path) as partial:
        midi_file.save(partial)


def _metres(
    measures: Sequence[Measure], resolution: int, ticks_per_unit: int
) -> Iterator[tuple[int, Metre]]:
    """Ticks since the one before, and numbers, of the time signatures that say where bars begin."""
    now = 0
    before: Measure | None = None
    for measure, following in zip(measures, [*measures, measures[-1]][1:], strict=True):
        metre = measure.metre
        if measure.before >= measure.length and following.metre == metre:
            upbeat = metre_of_length(Fraction(measure.length, resolution))
            metre = metre if upbeat == UNKNOWN_METRE else upbeat
        if before is None or before.metre != metre or before.lacks:
            tick = measure.start * ticks_per_unit
            yield tick - now, metre
            now = tick
        before = measure


def _signature(key: Any) -> str:
    """Mido's name of a music21 key: 'Bb', 'F#m'."""
    return key.tonic.name.replace("-", "b") + ("m" if key.mode == "minor" else "")


def _mido_track(events: list[tuple[int, int, int, int, int]], channel: int) -> Any:
    """A mido track of events sorted by (tick, rank within the tick, kind, number, value)."""
    import mido

    track, now = mido.MidiTrack(), 0
    for tick, _, kind, number, value in events:
        data = [number] if kind == PROGRAM_CHANGE else [number, value]
        track.append(mido.Message.from_bytes([kind | channel, *data], time=tick - now))
        now = tick
    return track
