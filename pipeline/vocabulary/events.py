"""Notes <-> ids of events: the `events` vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.scores.bars import signatures_from
from pipeline.scores.counted_rules import CLIPPED, CUT, DOUBLED, GIVEN_ONE_STEP, MOVED, PERCUSSION
from pipeline.scores.labels import NO_FEATURES, Features
from pipeline.scores.notes import (
    DEFAULT_TEMPO,
    DEFAULT_VELOCITY,
    DRUMS,
    NOTE,
    Score,
    TimeSignature,
    one_note_per_key,
    snapped,
)
from pipeline.vocabulary.condition_tokens import (
    bars_of,
    chord_changes,
    insert_at_steps,
    time_signatures,
)
from pipeline.vocabulary.conditions import CHORDS, METRE, QUARTERS, UNKNOWN
from pipeline.vocabulary.event_tokens import EventTokens
from pipeline.vocabulary.fitting import (
    clip_durations,
    middle_of_bin,
    move_into_range,
    start_at_first_note,
    velocity_bin,
    without_percussion,
)
from pipeline.vocabulary.grammar import END, MARKS, PAD, START, check_grammar

NO_BARS: Mapping[int, int] = {}


@dataclass(frozen=True)
class EventVocabulary(EventTokens):
    """Polyphonic music as events on a grid, without metre and tempo unless they are conditions.

    A piece is START, then for each note, in the order (onset, program, pitch):
    SHIFT (as often as needed; none for notes that start together), PROGRAM (only with
    `instruments`, only when it changes; 0 at the start), NOTE or DRUM, DURATION, VELOCITY (only
    with `velocity_bins`); then END. Time starts at the first note. With `conditions`
    (conditions.py) a token of each follows START, and others come between notes.
    """

    def fit(self, score: Score) -> tuple[Score, Counter[str]]:
        """The score as this vocabulary can encode it, and how many notes each rule changed.

        Rules, in order: percussion is left out and programs become 0 unless `instruments`; notes
        snap to the grid; time starts at the first note; a pitch out of range moves by octaves into
        it; a key struck while it sounds ends its earlier note, doubles become one; a duration over
        `max_duration` is clipped; velocities become the middle of their bin. Bar lines snap to the
        grid too; the bar in which the first note lies begins with it.
        """
        adjustments: Counter[str] = Counter()
        notes = score.notes
        if not self.instruments:
            notes, adjustments[PERCUSSION] = without_percussion(notes)
        notes, given_one_step = snapped(
            Score(notes, score.resolution, score.tempo), self.steps_per_quarter
        )
        adjustments[GIVEN_ONE_STEP] = int(np.count_nonzero(given_one_step))
        if not self.instruments:
            notes["program"] = 0
        first_step = start_at_first_note(notes)
        adjustments[MOVED] = move_into_range(notes, self.lowest_pitch, self.highest_pitch)
        notes, adjustments[DOUBLED], adjustments[CUT] = one_note_per_key(notes)
        adjustments[CLIPPED] = clip_durations(notes, self.max_duration)
        if self.velocity_bins:
            bins = velocity_bin(notes["velocity"], self.velocity_bins)
            notes["velocity"] = middle_of_bin(bins, self.velocity_bins)
        else:
            notes["velocity"] = DEFAULT_VELOCITY
        # Still in order: no two notes have one onset, program and pitch.
        end = first_step + int(notes["onset"].max(initial=0)) + 1
        metres = signatures_from(score.time_signatures, self.steps_per_quarter, first_step, end)
        fitted = Score(notes, self.steps_per_quarter, score.tempo, time_signatures=metres)
        return fitted, +adjustments

    def encode(self, score: Score, features: Features = NO_FEATURES) -> np.ndarray:
        """Ids [num_tokens] int32 of the score after `fit`, START and END included."""
        return self.encode_fitted(self.fit(score)[0], features)

    def encode_fitted(
        self, score: Score, features: Features = NO_FEATURES, first_step: int = 0
    ) -> np.ndarray:
        """Ids [num_tokens] int32 of a score that `fit` has returned, START and END included.

        The first note is `first_step` steps after the first of the features' chords.
        """
        music = self._encode_notes(score.notes)
        if self.conditions:
            last_step = int(score.notes["onset"].max(initial=0))
            bars = bars_of(score) if METRE in self.conditions else {}
            tokens = self.condition_tokens(features, last_step, first_step, bars)
            music = insert_at_steps(music, tokens, self.steps, self.blocks["shift"].start)
        return np.concatenate([[START], music, [END]]).astype(np.int32)

    def condition_tokens(
        self,
        features: Features,
        last_step: int,
        first_step: int = 0,
        bars: Mapping[int, int] = NO_BARS,
    ) -> list[tuple[int, int]]:
        """(grid step, id) of every condition token of a piece with these features, in order.

        Steps are from 0, the first note, to `last_step`. The first chord begins `first_step` steps
        before the first note. `bars` are the steps of the bar lines, and the values of their metre.
        """
        changes = {}
        if CHORDS in self.conditions:
            changes = dict(chord_changes(features, self.steps_per_quarter, first_step))
        repeats = range(0, last_step + 1, QUARTERS * self.steps_per_quarter)
        tokens: list[tuple[int, int]] = []
        chord = UNKNOWN
        for step in sorted({*repeats, *bars, *(step for step in changes if step <= last_step)}):
            if step in repeats:
                tokens += [(step, int(token)) for token in self.opening_of(features)[1:]]
            if step in changes or (changes and step in repeats):
                chord = changes.get(step, chord)
                tokens.append((step, self.blocks[CHORDS].start + chord))
            if step in bars:
                tokens.append((step, self.blocks[METRE].start + bars[step]))
        return tokens

    def decode(self, ids: np.ndarray, tempo: float = DEFAULT_TEMPO) -> Score:
        """The score of ids [num_tokens], with or without marks; of conditions it has the metre.

        Raises ValueError, naming the place, where a token may not follow the one before it.
        """
        # The ids of music: no marks, no conditions.
        ids = np.asarray(ids, np.int64)
        ids = ids[ids >= MARKS]
        is_music = ids < self.blocks["drum"].stop  # conditions have the last blocks
        check_grammar(self, ids, ends=bool(is_music.any()))
        metres = self._metres_said(ids)
        ids = ids[is_music]

        # The time and the program in force at each id.
        time = np.cumsum(self.steps[ids])
        is_drum = self._is("drum", ids)
        program = np.where(self._is("program", ids), ids - self.blocks["program"].start, 0)
        changes = np.where(self._is("program", ids), np.arange(ids.size), -1)
        latest = np.maximum.accumulate(changes) if ids.size else changes
        program = np.where(latest >= 0, program[latest], 0)

        # One note for each NOTE or DRUM, which DURATION and VELOCITY follow.
        at = np.flatnonzero(self._is("note", ids) | is_drum)
        notes = np.zeros(at.size, NOTE)
        notes["onset"] = time[at]
        notes["program"] = np.where(is_drum[at], DRUMS, program[at])
        notes["pitch"] = np.where(
            is_drum[at],
            ids[at] - self.blocks["drum"].start,
            ids[at] - self.blocks["note"].start + self.lowest_pitch,
        )
        notes["duration"] = ids[at + 1] - self.blocks["duration"].start + 1
        bins = ids[at + 2] - self.blocks["velocity"].start if self.velocity_bins else at
        notes["velocity"] = middle_of_bin(bins, self.velocity_bins)
        notes = one_note_per_key(notes)[0]
        return Score(notes, self.steps_per_quarter, tempo, time_signatures=metres)

    def _encode_notes(self, notes: np.ndarray) -> np.ndarray:
        """Ids [num_tokens] int32 of notes in order, without marks."""
        starts = {kind: block.start for kind, block in self.blocks.items()}
        shift = notes["onset"].copy()
        shift[1:] -= notes["onset"][:-1]
        program, pitch = notes["program"], notes["pitch"].astype(np.int32)

        # A column [num_notes] for each token that a note may have, PAD where it has none.
        last_shift = np.where(shift > 0, starts["shift"] + (shift - 1) % self.max_shift, PAD)
        columns = [last_shift, starts["note"] + pitch - self.lowest_pitch]
        if self.instruments:
            is_drum = program == DRUMS
            changes = (program != _program_before_each(program, is_drum)) & ~is_drum
            columns.insert(1, np.where(changes, starts["program"] + program, PAD))
            columns[2] = np.where(is_drum, starts["drum"] + pitch, columns[2])
        columns.append(starts["duration"] + notes["duration"] - 1)
        if self.velocity_bins:
            bins = velocity_bin(notes["velocity"], self.velocity_bins)
            columns.append(starts["velocity"] + bins)

        # [num_notes, columns] -> [num_tokens]
        table = np.stack(columns, axis=1, dtype=np.int32)
        ids = table.ravel()
        ids = ids.compress(ids != PAD)

        # A long silence takes several SHIFTs, of which all but the last are the longest one.
        if shift.max(initial=0) > self.max_shift:
            more_shifts = np.maximum(shift - 1, 0) // self.max_shift
            num_tokens = np.count_nonzero(table != PAD, axis=1)
            at = np.repeat(np.cumsum(num_tokens) - num_tokens, more_shifts)
            ids = np.insert(ids, at, starts["shift"] + self.max_shift - 1)
        return ids

    def _metres_said(self, ids: np.ndarray) -> Sequence[TimeSignature]:
        """The time signatures that the metre tokens among ids [num_tokens] say."""
        if METRE not in self.conditions:
            return ()
        is_bar = self._is(METRE, ids)
        steps = self.times(ids)[is_bar]
        values = ids[is_bar] - self.blocks[METRE].start
        return time_signatures(steps.tolist(), values.tolist(), self.steps_per_quarter)

    def _is(self, kind: str, ids: np.ndarray) -> np.ndarray:
        return (ids >= self.blocks[kind].start) & (ids < self.blocks[kind].stop)


def _program_before_each(program: np.ndarray, is_drum: np.ndarray) -> np.ndarray:
    """[num_notes]: the program in force before each note, that of the last melodic note."""
    index = np.where(is_drum, -1, np.arange(program.size))
    latest = np.maximum.accumulate(index) if program.size else index
    in_force = np.where(latest >= 0, program[latest], 0)
    return np.concatenate([[0], in_force[:-1]])[: program.size]
