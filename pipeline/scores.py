"""Score files <-> notes: MIDI, MusicXML, kern and ABC, read by music21."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import music21

from pipeline.midi import (
    END_OF_TRACK,
    NOTE_OFF,
    NOTE_ON,
    PROGRAM_CHANGE,
    TEMPO,
    Event,
    Row,
    score_from_tracks,
    split_chunks,
    write_midi,
)
from pipeline.notation import notated_scores
from pipeline.notes import DEFAULT_VELOCITY, Score, make_notes
from pipeline.sources import MIDI_SUFFIXES, NOTATION_SUFFIXES, SCORE_SUFFIXES

LARGEST_DELTA = 2**28 - 1  # ticks between two MIDI events, by the standard

__all__ = [
    "NoNotesError",
    "corpus_chorales",
    "notes_from_names",
    "read_score",
    "read_scores",
    "write_midi",
]


class NoNotesError(ValueError):
    """A file that is what it says, and holds no note."""

    kind = "empty"  # for the list of rejects


def read_score(path: Path) -> Score:
    """The score in a file that holds one piece. Raises ValueError with the true reason."""
    scores = read_scores(path)
    if len(scores) > 1:
        raise ValueError(f"{path} holds {len(scores)} pieces; one was needed")
    return scores[0]


def read_scores(path: Path) -> list[Score]:
    """The pieces in a score file: one, but for ABC and kern files that hold several tunes.

    The rules for MIDI stand at `midi.score_from_tracks`, those for notation at
    `notation.notated_score`.
    Raises ValueError saying what is wrong with the file: not of the format its suffix says, cut
    off, damaged, without notes (NoNotesError).
    """
    suffix = path.suffix.lower()
    if suffix in MIDI_SUFFIXES:
        scores = [_midi_score(path.read_bytes())]
    elif suffix in NOTATION_SUFFIXES:
        scores = notated_scores(path)
    else:
        raise ValueError(f"suffix {suffix or '(none)'}; readable are {' '.join(SCORE_SUFFIXES)}")
    scores = [score for score in scores if score.notes.size]
    if not scores:
        raise NoNotesError("no notes in it")
    return scores


def notes_from_names(names: str, steps_per_quarter: int = 12) -> Score:
    """A score of quarter notes, one after another: 'C4 E4 G4', 'F#4 Bb3'; octave 4 if not given.

    Raises ValueError naming what is no note.
    """
    rows: list[Row] = []
    for name in names.split():
        try:
            pitch = music21.pitch.Pitch(name)
        except (music21.exceptions21.Music21Exception, ValueError) as error:
            raise ValueError(
                f"{name!r} is not a note ({error}); needed: names like C4 F#4 Bb3"
            ) from None
        key = math.floor(pitch.ps + 0.5)
        if not 0 <= key <= 127:
            raise ValueError(f"{name!r} is MIDI key {key}; keys go from 0 (C-1) to 127 (G9)")
        rows.append((len(rows) * steps_per_quarter, 0, key, steps_per_quarter, DEFAULT_VELOCITY))
    if not rows:
        raise ValueError("no notes given; needed: names like C4 E4 G4")
    return Score(make_notes(rows), steps_per_quarter)


def corpus_chorales() -> list[Path]:
    """Files of the Bach chorales in music21's corpus, in the order of Riemenschneider's edition.

    Its 371 numbers are 350 different files: 20 chorales stand there twice or thrice, and counted
    again they could land in two splits. Nothing is parsed.
    """
    folder = music21.common.getCorpusFilePath()
    paths = []
    for name in dict.fromkeys(music21.corpus.chorales.Iterator(returnType="filename")):
        files = [folder / f"{name}{suffix}" for suffix in (".mxl", ".xml")]
        found = [path for path in files if path.is_file()]
        if not found:  # bwv18.5-l, whose file is called bwv18.5-lz: music21 looks by beginning
            found = sorted(folder.glob(f"{name}*"))
        paths.append(found[0])
    return paths


def _midi_score(contents: bytes) -> Score:
    kind, division, tracks = split_chunks(contents)
    events = [list(_track_events(track, number)) for number, track in enumerate(tracks, 1)]
    return score_from_tracks(kind, division, events)


def _track_events(contents: bytes, track_number: int) -> Iterator[Event]:
    """The events of a track that make notes, the last one END_OF_TRACK.

    music21's own loop over a track passes over what it cannot read, and loses its time; this one
    raises ValueError.
    """
    voice, meta = music21.midi.ChannelVoiceMessages, music21.midi.MetaEvents
    kinds = {
        voice.NOTE_ON: NOTE_ON,
        voice.NOTE_OFF: NOTE_OFF,
        voice.PROGRAM_CHANGE: PROGRAM_CHANGE,
        meta.SET_TEMPO: TEMPO,
        meta.END_OF_TRACK: END_OF_TRACK,
    }
    rest: Any = memoryview(contents)  # its slices are no copies: music21 slices at every event
    tick, status = 0, 0
    try:
        while rest:
            delta, rest = music21.midi.base.getVariableLengthNumber(rest)
            tick += delta
            if delta > LARGEST_DELTA:
                raise ValueError("a time of more than 4 bytes")
            event: Any = music21.midi.MidiEvent()
            if rest[0] < 0x80:  # running status: the status byte of the event before holds
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
            elif kind == PROGRAM_CHANGE:
                yield Event(tick, kind, event.channel - 1, event.parameter1)
            elif kind == TEMPO:
                yield Event(tick, kind, number=int.from_bytes(event.parameter1, "big"))
            elif kind == END_OF_TRACK:
                yield Event(tick, kind)
                return
        raise ValueError("it stops without an End of Track event")
    except (music21.midi.MidiException, IndexError, ValueError) as error:
        where = len(contents) - len(rest)
        raise ValueError(
            f"damaged in track {track_number}, near byte {where} of {len(contents)}: {error}"
        ) from None
