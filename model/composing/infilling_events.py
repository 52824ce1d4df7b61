"""The piece of `generate.py --infill` for a model of events: some bars of it are composed anew."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.composing.given_voice import read_given_score
from model.composing.infilling import apart, steps_of_bars
from pipeline.runtime.tables import print_line
from pipeline.scores.counted_rules import ADD, with_unit
from pipeline.scores.notes import DRUMS, Score, one_note_per_key, sort_notes, steps_of
from pipeline.vocabulary.events import EventVocabulary

FAMILY = 8  # programs: General MIDI has 16 families of instruments


@dataclass(frozen=True)
class EventsWithGap:
    """A piece of which some bars are composed anew."""

    score: Score  # the file's
    is_kept: np.ndarray  # [num_notes] bool: notes of `score` that stay
    heard: Score  # the piece as the model hears it, from its first note
    begin: int  # the first step of `heard` that is composed
    end: int  # the first step after it
    start: int  # of the first note in the file, in steps of the model's grid
    program: int | None  # that plays the composed notes; None: the model has learned programs

    @property
    def tempo(self) -> float:
        """Quarters a minute."""
        return self.score.tempo

    def put_back(self, composed: Score) -> Score:
        """The file's score, of which the gap alone is that of the composed piece.

        `composed` is on the vocabulary's grid. The result is on a grid that both fit. A note that
        is kept has the onset, duration, pitch, program and velocity of the file. A composed note on
        a key that a kept note of its part holds is left out, and one that reaches the next kept
        note on its key ends there. Where two kept notes of one part sound on a key at once, one is
        in another part of the same family of instruments. Lines say how many.
        """
        resolution = math.lcm(self.score.resolution, composed.resolution)
        onset = composed.notes["onset"]
        is_new = (self.begin <= onset) & (onset < self.end)
        new = composed.notes[is_new].copy()
        new["onset"] += self.start
        if self.program is not None:
            new["program"] = self.program
        kept = on_grid(self.score.notes[self.is_kept], resolution // self.score.resolution)
        new = on_grid(new, resolution // composed.resolution)

        kept, num_moved = apart(kept, family)
        kept, num_doubled, num_cut = one_note_per_key(kept)
        if num_moved or num_doubled or num_cut:
            print_line(
                "kept notes on a key that sounds already in their part: given to a part of a "
                f"similar instrument {num_moved}, left out {num_doubled}, cut where the key is "
                f"struck again {num_cut}"
            )
        free, num_cut = beside(kept, new)
        if free.size < new.size or num_cut:
            print_line(
                "composed notes on a key that a kept note holds: left out "
                f"{new.size - free.size}, cut where a kept one begins {num_cut}"
            )
        notes = sort_notes(np.concatenate([kept, free]))
        metres = self.score.time_signatures
        return Score(notes, resolution, composed.tempo, time_signatures=metres)


def family(program: int) -> range:
    """The eight General MIDI programs of similar instruments to which a program belongs."""
    first = program // FAMILY * FAMILY
    return range(first, first + FAMILY)


def on_grid(notes: np.ndarray, factor: int) -> np.ndarray:
    """The notes [num_notes] on a grid that is finer by a whole factor."""
    notes = notes.copy()
    for name in ("onset", "duration"):
        notes[name] *= factor
    return notes


def beside(kept: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, int]:
    """New notes that begin where their key is up, ending before a kept one begins; how many end so.

    Of `kept` [num_notes] no two sound on one key of a program at once.
    """
    by_key: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for onset, program, pitch, duration, _ in kept.tolist():
        by_key.setdefault((program, pitch), []).append((onset, onset + duration))
    new, is_free = new.copy(), np.ones(new.size, bool)
    num_cut = 0
    for place, (onset, program, pitch, duration, _) in enumerate(new.tolist()):
        spans = by_key.get((program, pitch), [])
        is_free[place] = not any(begin <= onset < end for begin, end in spans)
        room = min((begin - onset for begin, _ in spans if begin > onset), default=duration)
        if is_free[place] and room < duration:
            new["duration"][place] = room
            num_cut += 1
    return new[is_free], num_cut


def read_events_with_gap(
    path: Path,
    vocabulary: EventVocabulary,
    bars: tuple[int, int] | None = None,
    voices: Sequence[str] = (),
    beats_per_bar: int = 4,
    say: Callable[[str], None] = print_line,
) -> EventsWithGap:
    """A score file, to be composed anew from the first to the last of `bars`.

    Bars are counted from the first note, from 1. A note stays unless it begins in the gap;
    percussion stays if the model has no instruments. What the model hears otherwise than it is
    written is reported, and stays as it is written.
    Raises ValueError for voices, which events do not have, for a file that is missing or no score,
    and for bars that the piece does not have.
    """
    if voices or bars is None:
        raise ValueError(
            f"--voices {','.join(voices)}: a model of events has no voices. Leave them out, and "
            "name bars, such as --bars 5:8"
        )
    score = read_given_score(path, "--infill")
    heard, adjustments = vocabulary.fit(score)
    for rule, count in adjustments.items():
        of_notes = "" if rule in ADD else f" of {score.notes.size} notes"
        say(f"the model hears the piece otherwise: {with_unit(rule)}: {count}{of_notes}")

    # The gap, in steps from the first note that the model hears.
    grid = vocabulary.steps_per_quarter
    begin, end = steps_of_bars(bars, heard.end, beats_per_bar * grid, path)
    onset, _ = steps_of(score.notes, score.resolution, grid)
    is_heard = vocabulary.instruments | (score.notes["program"] != DRUMS)
    start = int(onset[is_heard].min())
    is_kept = ~is_heard | (onset - start < begin) | (onset - start >= end)
    program = None
    if not vocabulary.instruments:
        replaced = score.notes[~is_kept] if not is_kept.all() else score.notes[is_heard]
        program = Counter(replaced["program"].tolist()).most_common(1)[0][0]
    return EventsWithGap(score, is_kept, heard, begin, end, start, program)
