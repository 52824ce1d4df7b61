"""A score written as MusicXML, which notation programs open, with music21."""

from __future__ import annotations

import warnings
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

import music21
import numpy as np

from pipeline.runtime.files import new_file
from pipeline.scores.notes import DEFAULT_VELOCITY, DRUMS, Score, one_note_per_key


def write_musicxml(score: Score, path: Path, title: str, beats_per_bar: int = 4) -> None:
    """Write the score as MusicXML, with a staff for each program.

    Bars are counted from the start of the score. The key signature, and with it the spelling of
    notes, is music21's estimate by Krumhansl's profiles. Percussion is placed on the staff as its
    MIDI keys would be, where a black key shares the line of a white one. Of two notes that sound at
    once on a key one is written. music21 writes no velocity of chords.
    Raises OSError on a full disk.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about instruments that share a MIDI channel
        document = notated(score, title, beats_per_bar)
        contents = music21.musicxml.m21ToXml.GeneralObjectExporter(document).parse()
    with new_file(path) as partial:
        partial.write_bytes(contents)


def notated(score: Score, title: str, beats_per_bar: int) -> Any:
    """The score as a music21 Score whose parts are divided into bars."""
    document = music21.stream.Score()
    document.metadata = music21.metadata.Metadata(title=title)
    document.metadata.software = ("chorale",)
    notes = one_note_per_key(score.notes)[0]
    key = _key_of(notes)
    bar = Fraction(beats_per_bar)
    num_bars = max(1, -(-score.end // (score.resolution * beats_per_bar)))
    for index, program in enumerate(np.unique(notes["program"]).tolist()):
        part = music21.stream.Part(id=f"P{index + 1}")
        part.insert(0, _instrument(program))
        if index == 0:
            part.insert(0, music21.tempo.MetronomeMark(number=score.tempo))
        part.insert(0, music21.meter.TimeSignature(f"{beats_per_bar}/4"))
        part.insert(0, music21.key.KeySignature(key.sharps))
        rows = notes[notes["program"] == program]
        for onset, written in _chords(rows, score.resolution, key):
            part.insert(onset, written)
        missing = num_bars * bar - Fraction(part.highestTime)
        if missing > 0:  # all staves end with the same bar
            part.insert(part.highestTime, music21.note.Rest(quarterLength=missing))
        is_percussion = program == DRUMS
        clef = music21.clef.PercussionClef() if is_percussion else music21.clef.bestClef(part)
        part.insert(0, clef)
        part.makeVoices(inPlace=True, fillGaps=True)
        document.insert(0, part.makeNotation())
    return document


def _chords(rows: np.ndarray, resolution: int, key: Any) -> list[tuple[Fraction, Any]]:
    """(onset in quarters, music21 note or chord); notes that start and end together are a chord."""
    chords = []
    order = np.lexsort([rows["pitch"], rows["duration"], rows["onset"]])
    for (onset, duration), group in groupby(rows[order].tolist(), key=lambda row: (row[0], row[3])):
        members = list(group)
        program = members[0][1]
        heads = [_head(program, pitch, key) for _, _, pitch, _, _ in members]
        several = music21.percussion.PercussionChord if program == DRUMS else music21.chord.Chord
        written = heads[0] if len(heads) == 1 else several(heads)
        if len(heads) == 1 and members[0][-1] != DEFAULT_VELOCITY:
            written.volume.velocity = members[0][-1]
        written.quarterLength = Fraction(duration, resolution)
        chords.append((Fraction(onset, resolution), written))
    return chords


def _head(program: int, pitch: int, key: Any) -> Any:
    """A music21 note, spelled as in the key."""
    place = music21.pitch.Pitch(pitch)
    if program == DRUMS:
        return music21.note.Unpitched(displayName=f"{place.step}{place.octave}")
    spelled = {degree.pitchClass: degree.name for degree in key.pitches}
    if pitch % 12 in spelled:
        octave = pitch // 12 - 1
        near = [music21.pitch.Pitch(spelled[pitch % 12], octave=octave + by) for by in (-1, 0, 1)]
        place = next(
            other for other in near if other.midi == pitch
        )  # B#3 and Cb5 are other octaves
    return music21.note.Note(place)


def _instrument(program: int) -> Any:
    if program == DRUMS:
        return music21.instrument.UnpitchedPercussion()
    instrument = music21.instrument.instrumentFromMidiProgram(program)
    instrument.transposition = None  # notes are written at the pitch that sounds
    return instrument


def _key_of(notes: np.ndarray) -> Any:
    """The likeliest key; C major for percussion alone."""
    melodic = notes[notes["program"] != DRUMS]
    if not melodic.size:
        return music21.key.Key("C")
    line: Any = music21.stream.Stream()
    for pitch, duration in melodic[["pitch", "duration"]].tolist():
        line.append(music21.note.Note(pitch, quarterLength=duration))
    return line.analyze("key")
