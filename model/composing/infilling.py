"""The piece of `generate.py --infill`: what of it is composed anew, and what stays as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from model.composing.given_voice import FREE, read_given_score, voice_index
from pipeline.runtime.tables import print_line
from pipeline.scores.formats import MIDI_SUFFIXES
from pipeline.scores.midi.track_names import tracks_of_notes
from pipeline.scores.notes import DRUMS, NOTE, Score, one_note_per_key, snapped, sort_notes
from pipeline.vocabulary.fitting import move_into_range
from pipeline.vocabulary.frames import FIRST_PROGRAM, REST, frames_of_voices
from pipeline.vocabulary.grid import GridVocabulary
from pipeline.vocabulary.registry import Vocabulary


@dataclass(frozen=True)
class PieceWithGap:
    """A piece of which some voices are composed anew in some bars."""

    score: Score  # the file's; a note that a voice sings has that voice's program
    frames: np.ndarray  # [num_frames, voices] MIDI keys, as the model hears the piece
    is_free: np.ndarray  # [num_frames, voices] bool: to compose
    is_kept: np.ndarray  # [num_notes] bool: notes of `score` that stay
    start: int  # of the first frame in the file, in steps of the model's grid

    @property
    def tempo(self) -> float:
        """Quarters a minute."""
        return self.score.tempo

    def forced(self, vocabulary: GridVocabulary) -> np.ndarray:
        """Ids [num_frames, tokens_per_frame] int32, FREE in the place of those to compose."""
        ids = vocabulary.encode_frames(self.frames)[vocabulary.opening.size : -1]
        forced = ids.reshape(len(self.frames), vocabulary.tokens_per_frame).copy()
        forced[:, 1:][self.is_free] = FREE
        return forced

    def put_back(self, composed: Score) -> Score:
        """The file's score, of which the gap alone is that of the composed piece.

        `composed` is on the vocabulary's grid, voice i plays program FIRST_PROGRAM + i. The result
        is on a grid that both fit. A note that is kept has the onset, duration, pitch and velocity
        of the file. Where two notes of a part sound on one key at once, one is in another part. If
        all parts sound on this key, it is cut or left out, and a line says so.
        """
        resolution = math.lcm(self.score.resolution, composed.resolution)
        kept = self.score.notes[self.is_kept].copy()
        for name in ("onset", "duration"):
            kept[name] *= resolution // self.score.resolution
        step = resolution // composed.resolution
        rows = [
            (
                (self.start + first) * step,
                FIRST_PROGRAM + voice,
                pitch,
                (last - first) * step,
                velocity,
            )
            for voice in range(self.frames.shape[1])
            for first, last, pitch, velocity in self._composed_notes(composed, voice)
        ]
        voices = range(FIRST_PROGRAM, FIRST_PROGRAM + self.frames.shape[1])
        notes, _ = apart(np.concatenate([kept, np.array(rows, NOTE)]), lambda _: voices)
        notes, num_doubled, num_cut = one_note_per_key(notes)
        if num_doubled or num_cut:
            print_line(
                f"notes on a key that sounds in all parts: left out {num_doubled}, cut where the "
                f"key is struck again {num_cut}"
            )
        return replace(self.score, notes=notes, resolution=resolution, tempo=composed.tempo)

    def _composed_notes(self, composed: Score, voice: int) -> list[tuple[int, int, int, int]]:
        """(first frame, frame after the last, pitch, velocity) of a voice's notes in the gap."""
        sounding = np.zeros((len(self.frames), 2), np.int64)  # pitch and velocity by frame
        for note in composed.notes[composed.notes["program"] == FIRST_PROGRAM + voice]:
            sounding[note["onset"] : note["onset"] + note["duration"]] = (
                note["pitch"],
                note["velocity"],
            )
        pitches = np.where(self.is_free[:, voice], sounding[:, 0], REST)
        changes = np.flatnonzero(np.diff(pitches, prepend=-1))
        ends = np.append(changes[1:], pitches.size)
        return [
            (int(first), int(last), int(pitches[first]), int(sounding[first, 1]))
            for first, last in zip(changes, ends, strict=True)
            if pitches[first] != REST
        ]


def read_piece_with_gap(
    path: Path,
    vocabulary: Vocabulary,
    bars: tuple[int, int] | None = None,
    voices: Sequence[str] = (),
    beats_per_bar: int = 4,
    say: Callable[[str], None] = print_line,
) -> PieceWithGap:
    """A score file, to be composed anew from the first to the last of `bars`, in `voices`.

    Bars are counted from the first note, from 1; None means all bars, no voices all voices. A note
    stays unless it begins in the gap. What the model hears otherwise than it is written is told,
    and stays as it is written.
    Raises ValueError for a model without voices, a voice that it does not have, a file that is
    missing or no score, bars that the piece does not have, and a gap in which no note begins.
    """
    if not isinstance(vocabulary, GridVocabulary):
        raise ValueError(
            "--infill needs a model of voices or of events, made from a data set with --vocabulary "
            "grid or events. model/pretrained/chorales has four voices"
        )
    names = voices or map(str, range(1, vocabulary.voices + 1))
    columns = [voice_index(name, vocabulary, "--voices") for name in names]
    score = read_given_score(path, "--infill")

    # The notes as the model hears them, and the voice that sings each.
    heard = snapped(score, vocabulary.steps_per_quarter)[0]
    if moved := move_into_range(heard, vocabulary.lowest_pitch, vocabulary.highest_pitch):
        say(f"the model hears {moved} of {heard.size} notes in another octave; written they stay")
    start = int(heard["onset"][heard["program"] != DRUMS].min())
    heard["onset"] -= start
    voices_of_notes, told = _voices(path, score, heard, list(vocabulary.part_names.values()))
    say(told)
    if unheard := np.count_nonzero(voices_of_notes < 0):
        say(f"the model does not hear {unheard} of {heard.size} notes; written they stay")
    is_sung = voices_of_notes >= 0
    frames = frames_of_voices(heard[is_sung], voices_of_notes[is_sung], vocabulary.voices)

    # The gap.
    begin, end = steps_of_bars(
        bars, len(frames), beats_per_bar * vocabulary.steps_per_quarter, path
    )
    is_kept = (heard["onset"] < begin) | (heard["onset"] >= end)
    is_kept |= ~np.isin(voices_of_notes, columns)
    if is_kept.all():
        raise ValueError(
            f"no note of {path} begins in these bars and voices: there is nothing to compose anew. "
            "Name other --bars or --voices"
        )
    is_free = np.zeros(frames.shape, bool)
    is_free[begin:end, columns] = True
    for note, voice, stays in zip(heard, voices_of_notes, is_kept, strict=True):
        # Where a kept note is held into the gap the voice is not free; where one of the gap's own
        # is held beyond it, the voice is.
        if voice >= 0:
            is_free[note["onset"] : note["onset"] + note["duration"], voice] = not stays
    sung = score.notes.copy()
    sung["program"] = np.where(
        voices_of_notes < 0, sung["program"], FIRST_PROGRAM + voices_of_notes
    )
    as_sung = replace(score, notes=sung)
    return PieceWithGap(as_sung, frames, is_free, is_kept, start)


def steps_of_bars(
    bars: tuple[int, int] | None, num_steps: int, steps_per_bar: int, path: Path
) -> tuple[int, int]:
    """The steps of the first bar's beginning and the last one's end. Raises ValueError."""
    num_bars = -(-num_steps // steps_per_bar)
    first, last = bars or (1, num_bars)
    if not 1 <= first <= last <= num_bars:
        raise ValueError(
            f"--bars {first}:{last}: {path} has {num_bars} bars, counted from its first note by "
            f"--beats-per-bar. Give bars from 1 to {num_bars}"
        )
    return (first - 1) * steps_per_bar, min(last * steps_per_bar, num_steps)


def _voices(
    path: Path, score: Score, heard: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, str]:
    """The voice of each note [num_notes], 0 for the highest, -1 for none; and how it was told.

    Voices go by the names of a MIDI file's tracks, where each is another voice's. Else they go by
    the programs that composed pieces have, where the score has no others, or by height.
    """
    is_melodic = heard["program"] != DRUMS
    tracks = np.zeros(heard.size, np.int64)
    titles: list[str] = []
    if path.suffix.lower() in MIDI_SUFFIXES:
        with suppress(ValueError):
            tracks, titles = tracks_of_notes(path, score)
    known = [name.lower() for name in names]
    sung = {track: titles[track].lower() for track in set(tracks[is_melodic].tolist()) if titles}
    by_program = heard["program"].astype(int) - FIRST_PROGRAM
    if sung and len(set(sung.values())) == len(sung) and set(sung.values()) <= set(known):
        how = "their tracks' names"
        of_track = np.array([known.index(sung[t]) if t in sung else -1 for t in range(len(titles))])
        voices = np.where(is_melodic, of_track[tracks], -1)
    elif ((by_program >= 0) & (by_program < len(names)))[is_melodic].all():
        how, voices = "their programs", np.where(is_melodic, by_program, -1)
    else:
        how, voices = "height", _by_height(heard, is_melodic, len(names))
    taken = [
        f"{title} as {' and '.join(known[v] if v >= 0 else 'none' for v in found)}"
        for track, title in enumerate(titles)
        if (found := sorted(set(voices[tracks == track].tolist()), key=lambda v: (v < 0, v)))
    ]
    return voices, f"notes are taken as voices by {how}" + (": " if taken else "") + ", ".join(
        taken
    )


def _by_height(heard: np.ndarray, is_melodic: np.ndarray, num_voices: int) -> np.ndarray:
    """The voices [num_notes] by height among the notes that sound where a note begins.

    The upper ones and the lowest are sung; of the others the voice is -1.
    """
    order = np.argsort(-heard["pitch"], kind="stable")
    order = order[is_melodic[order]]
    onset, end = heard["onset"][order], (heard["onset"] + heard["duration"])[order]
    voices = np.full(heard.size, -1)
    for index, begin in zip(order, onset, strict=True):
        together = order[(onset <= begin) & (begin < end)]
        place = int(np.flatnonzero(together == index)[0])
        is_lowest = place == together.size - 1
        if together.size <= num_voices or place < num_voices - 1:
            voices[index] = place
        elif is_lowest:
            voices[index] = num_voices - 1
    return voices


def apart(notes: np.ndarray, others: Callable[[int], Iterable[int]]) -> tuple[np.ndarray, int]:
    """The notes, each in a part where its key is up when it begins, and how many are in another.

    That is the note's own part or, of `others` (program -> programs), the first that is free. One
    part is one MIDI channel, on which a key sounds once. Percussion stays as it is.
    """
    moved = sort_notes(notes)
    num_moved = 0
    ends: dict[tuple[int, int], int] = {}  # (program, pitch) -> when the key is up again
    for note in moved:
        own, pitch, onset = int(note["program"]), int(note["pitch"]), int(note["onset"])
        parts = [own] if own == DRUMS else [own, *others(own)]
        part = next((part for part in parts if ends.get((part, pitch), 0) <= onset), own)
        num_moved += part != own
        note["program"] = part
        ends[part, pitch] = max(ends.get((part, pitch), 0), onset + int(note["duration"]))
    return sort_notes(moved), num_moved
