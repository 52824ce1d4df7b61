"""Notation (MusicXML, kern, ABC) -> the notes that sound, through music21."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import music21

from pipeline.scores.midi.rules import PERCUSSION_CHANNEL, checked_score
from pipeline.scores.notes import DEFAULT_TEMPO, DEFAULT_VELOCITY, DRUMS, Score

# Units per quarter of notated music: exact for all tuplets of 2, 3, 4, 5, 6, 7, 9 notes.
NOTATED_RESOLUTION = 10080
# Finer than this, 32-bit onsets could overflow: nested rare tuplets are then rounded.
FINEST_RESOLUTION = 2**20

REPEATS = (music21.bar.Repeat, music21.repeat.RepeatMark)
NotatedRow = tuple[Fraction, int, int, Fraction, int]  # as for make_notes, times in quarters


def notated_scores(path: Path, *, expand_repeats: bool = False) -> list[Score]:
    """The pieces of a file. Raises ValueError saying what music21 found wrong with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layout and text that it cannot place
            # No pickle: music21 would leave one in the temporary folder for each file.
            parsed = music21.converter.parse(path, forceSource=True, storePickle=False)
        pieces = list(parsed.scores) if isinstance(parsed, music21.stream.Opus) else [parsed]
        return [notated_score(piece, expand_repeats=expand_repeats) for piece in pieces]
    except (MemoryError, OSError):
        raise
    except Exception as error:  # music21's parsers raise whatever a broken file leads them to
        reason = str(error) or "no reason given"
        raise ValueError(f"music21 cannot read it: {type(error).__name__}: {reason}") from error


def notated_score(piece: Any, *, expand_repeats: bool = False) -> Score:
    """The sounding notes of a music21 stream.

    - Tied notes are one note, within chords too; a tie that leads nowhere is no tie.
    - Grace notes come right before the beat, a twelfth of a quarter each, or shorter where the
      piece has no room before it.
    - Parts of transposing instruments sound where they sound, not where they are written.
    - What stands between repeat signs is played once, or as often as they say (endings, da capo and
      dal segno too) with `expand_repeats`; signs that make no sense are an error then.
    - Chord symbols are not played, dynamics and ornaments not realised.
    - A part has the program of its instrument in force, else 0; unpitched notes are percussion.
    - The first tempo mark is the score's.
    """
    if expand_repeats and piece.recurse().getElementsByClass(REPEATS):
        piece = piece.expandRepeats()
    instruments = piece.recurse().getElementsByClass(music21.instrument.Instrument)
    if any(instrument.transposition is not None for instrument in instruments):
        piece = piece.toSoundingPitch()
    tempos: list[tuple[float, float]] = []
    rows: list[NotatedRow] = []
    for part in list(getattr(piece, "parts", ())) or [piece]:
        rows += _part_notes(part, tempos)
    denominators = {value.denominator for row in rows for value in (row[0], row[3])}
    resolution = math.lcm(NOTATED_RESOLUTION, *denominators)
    if resolution > FINEST_RESOLUTION:
        resolution = NOTATED_RESOLUTION
    units = [
        (_round(onset * resolution), program, pitch, _round(length * resolution), velocity)
        for onset, program, pitch, length, velocity in rows
    ]
    return checked_score(units, resolution, min(tempos)[1] if tempos else DEFAULT_TEMPO)


def _round(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def _part_notes(part: Any, tempos: list[tuple[float, float]]) -> list[NotatedRow]:
    """Rows as for make_notes, times in quarters; tempo marks are appended to `tempos`."""
    rows: list[NotatedRow] = []
    tied: dict[tuple[int, int], int] = {}  # (program, pitch) -> row that a tie leads on from
    graces: dict[Fraction, list[list[tuple[int, int, int]]]] = defaultdict(list)
    instrument = None
    for element in part.flatten():
        if isinstance(element, music21.instrument.Instrument):
            instrument = element
        elif isinstance(element, music21.tempo.MetronomeMark) and element.getQuarterBPM():
            tempos.append((float(element.offset), float(element.getQuarterBPM() or 0)))
        if not isinstance(element, music21.note.NotRest) or isinstance(
            element, music21.harmony.Harmony
        ):
            continue
        onset, length = Fraction(element.offset), Fraction(element.duration.quarterLength)
        heads = getattr(element, "notes", (element,))  # a chord's, or the note itself
        keys = [(*_program_and_pitch(head, instrument), _velocity(element)) for head in heads]
        if length == 0:
            graces[onset].append(keys)
            continue
        for head, (program, pitch, velocity) in zip(heads, keys, strict=True):
            tie = head.tie.type if head.tie is not None else None
            before = tied.pop((program, pitch), None) if tie in ("stop", "continue") else None
            if before is not None and rows[before][0] + rows[before][3] == onset:
                rows[before] = (*rows[before][:3], rows[before][3] + length, rows[before][4])
            else:
                before = len(rows)
                rows.append((onset, program, pitch, length, velocity))
            if tie in ("start", "continue"):
                tied[program, pitch] = before
    for beat, chords in graces.items():
        length = min(Fraction(1, 12), beat / len(chords))
        for place, keys in enumerate(chords, -len(chords)):
            rows += [(beat + place * length, *key[:2], length, key[2]) for key in keys]
    return rows


def _program_and_pitch(head: Any, instrument: Any) -> tuple[int, int]:
    if isinstance(head, music21.note.Unpitched):
        stored = getattr(head.storedInstrument or instrument, "percMapPitch", None)
        return DRUMS, stored if stored is not None else head.displayPitch().midi
    pitch = min(max(math.floor(head.pitch.ps + 0.5), 0), 127)
    if getattr(instrument, "midiChannel", None) == PERCUSSION_CHANNEL:
        return DRUMS, pitch
    return getattr(instrument, "midiProgram", None) or 0, pitch


def _velocity(element: Any) -> int:
    written = element.volume.velocity if element.hasVolumeInformation() else None
    return written or DEFAULT_VELOCITY
