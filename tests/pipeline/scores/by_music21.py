"""Notation as music21 reads it: a second reading, to hold our own readers against."""

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
# A finer grid could overflow 32-bit onsets; notes of nested rare tuplets are rounded instead.
FINEST_RESOLUTION = 2**20

REPEATS = (music21.bar.Repeat, music21.repeat.RepeatMark)
NotatedRow = tuple[Fraction, int, int, Fraction, int]  # as NoteRow, with times in quarters


def notated_scores(path: Path, *, expand_repeats: bool = False) -> list[Score]:
    """The pieces in a file. Raises ValueError with the reason that music21 gives."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about layout and text
            # music21 would otherwise leave a pickle of each file in the temporary folder.
            parsed = music21.converter.parse(path, forceSource=True, storePickle=False)
        pieces = list(parsed.scores) if isinstance(parsed, music21.stream.Opus) else [parsed]
        return [notated_score(piece, expand_repeats=expand_repeats) for piece in pieces]
    except (MemoryError, OSError):
        raise
    except Exception as error:  # for broken files music21's parsers raise exceptions of any kind
        reason = str(error) or "no reason given"
        raise ValueError(f"music21 cannot read it: {type(error).__name__}: {reason}") from error


def notated_score(piece: Any, *, expand_repeats: bool = False) -> Score:
    """The sounding notes of a music21 stream.

    - Tied notes are one note, also within chords; a tie without its other end is ignored.
    - Grace notes come right before the beat, a twelfth of a quarter each, or shorter where the
      piece has no room before it.
    - Parts of transposing instruments sound where they sound, not where they are written.
    - Repeated sections are read once. With `expand_repeats` they are read as often as they are
      played, endings, da capo and dal segno included; contradictory signs are then an error.
    - Chord symbols are not played; dynamics and ornaments are not realised.
    - A note has the program of the last instrument named in its part, else 0; unpitched notes are
      percussion.
    - The first tempo mark is the tempo of the score.
    """
    if expand_repeats and piece.recurse().getElementsByClass(REPEATS):
        piece = piece.expandRepeats()
    instruments = piece.recurse().getElementsByClass(music21.instrument.Instrument)
    if any(instrument.transposition is not None for instrument in instruments):
        piece = piece.toSoundingPitch()

    # Notes in quarters, part by part.
    tempos: list[tuple[float, float]] = []
    rows: list[NotatedRow] = []
    for part in list(getattr(piece, "parts", ())) or [piece]:
        rows += _part_notes(part, tempos)

    # Notes in units of the coarsest grid that is exact for all of them.
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
    """The notes of a part; its tempo marks (offset, quarters per minute) are added to `tempos`."""
    rows: list[NotatedRow] = []
    tied: dict[tuple[int, int], int] = {}  # (program, pitch) -> row whose note is tied to the next
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

        # A note or chord: graces wait, the end of a tie lengthens an earlier row, others are new.
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

    # Grace notes share the time before their beat.
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
