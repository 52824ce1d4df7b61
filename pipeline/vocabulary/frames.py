"""Notes <-> frames [num_frames, voices]: in each step of the grid the MIDI key of each voice."""

from __future__ import annotations

import numpy as np

from pipeline.scores.counted_rules import BEGUN_AGAIN, BEYOND, JOINED
from pipeline.scores.notes import DEFAULT_VELOCITY, NOTE, Score, sort_notes

REST = 0  # in frames; every other value is a MIDI key
FIRST_PROGRAM = 40  # voice i plays program 40 + i (violin, viola, cello, contrabass): its own track
MAX_VOICES = 15  # the most pitches of a frame of MuseData; MIDI has as many melodic channels


def score_of_frames(frames: np.ndarray, steps_per_quarter: int, tempo: float) -> Score:
    """The score of frames [num_frames, voices]: equal pitches in a row are one note of a voice."""
    notes = []
    for voice, pitches in enumerate(frames.T):
        changes = np.flatnonzero(np.diff(pitches, prepend=-1))
        voice_notes = np.zeros(changes.size, NOTE)
        voice_notes["onset"] = changes
        voice_notes["duration"] = np.diff(changes, append=pitches.size)
        voice_notes["pitch"] = pitches[changes]
        voice_notes["program"] = FIRST_PROGRAM + voice
        voice_notes["velocity"] = DEFAULT_VELOCITY
        notes.append(voice_notes[voice_notes["pitch"] != REST])
    return Score(sort_notes(np.concatenate(notes)), steps_per_quarter, tempo)


def frames_of_voices(notes: np.ndarray, voice: np.ndarray, num_voices: int) -> np.ndarray:
    """Frames [num_frames, num_voices] of notes with known voices; of overlaps the later sounds."""
    frames = np.zeros((_end(notes), num_voices), np.int64)
    order = np.argsort(notes["onset"], kind="stable")
    for note, row in zip(notes[order], voice[order], strict=True):
        frames[note["onset"] : note["onset"] + note["duration"], row] = note["pitch"]
    return frames


def voices_of_programs(notes: np.ndarray, num_voices: int) -> np.ndarray | None:
    """Frames [num_frames, num_voices] of notes whose programs are those of voices.

    None where a note has another program, or a program sounds two pitches at once: it is then an
    instrument that is called so, as the two violins of a quartet or a choir on one track.
    """
    voice = notes["program"] - FIRST_PROGRAM
    if not np.all((voice >= 0) & (voice < num_voices)):
        return None
    frames = frames_of_voices(notes, voice, num_voices)
    for note, row in zip(notes, voice, strict=True):
        own = frames[note["onset"] : note["onset"] + note["duration"], row]
        if np.any(own != note["pitch"]):
            return None
    return frames


def frames_by_height(notes: np.ndarray, num_voices: int) -> tuple[np.ndarray, int]:
    """Frames [num_frames, num_voices], highest pitch first, and how many pitches were left out."""
    sounding = np.zeros((_end(notes), 128), bool)
    for note in notes:
        sounding[note["onset"] : note["onset"] + note["duration"], note["pitch"]] = True
    frames, beyond = np.zeros((len(sounding), num_voices), np.int64), 0
    for frame, row in zip(frames, sounding, strict=True):
        pitches = np.flatnonzero(row)[::-1]
        if pitches.size > num_voices:
            beyond += pitches.size - num_voices
            pitches = np.append(pitches[: num_voices - 1], pitches[-1])
        frame[: pitches.size] = pitches
    return frames, beyond


def lost_and_added(
    notes: np.ndarray, voice: np.ndarray | None, frames: np.ndarray, fitted: np.ndarray
) -> dict[str, int]:
    """How many of the notes do not begin a note of the frames, and how many of those no note began.

    `voice` [num_notes] is None where notes have no voices; `fitted` are the notes of the frames.
    """
    in_frame = frames[notes["onset"]] == notes["pitch"][:, None]  # [num_notes, num_voices]
    if voice is None:
        sounds = in_frame.any(axis=1)
        begin, begun = (_packed(found["onset"], found["pitch"], 0) for found in (notes, fitted))
    else:
        sounds = in_frame[np.arange(notes.size), voice]
        begin = _packed(notes["onset"], notes["pitch"], voice)
        begun = _packed(fitted["onset"], fitted["pitch"], fitted["program"] - FIRST_PROGRAM)
    num_both = np.intersect1d(begin, begun).size
    beyond = int(np.count_nonzero(~sounds))
    return {
        BEYOND: beyond,
        JOINED: notes.size - num_both - beyond,
        BEGUN_AGAIN: begun.size - num_both,
    }


def _packed(onset: np.ndarray, pitch: np.ndarray, voice: np.ndarray | int) -> np.ndarray:
    """[num_notes] int64, equal for notes of equal onset, pitch and voice."""
    return (onset.astype(np.int64) << 16) + (pitch.astype(np.int64) << 8) + voice


def _end(notes: np.ndarray) -> int:
    return int((notes["onset"] + notes["duration"]).max(initial=0))
