"""Notes <-> ids: the `events` vocabulary, and either vocabulary from what a manifest says of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.scores.labels import NO_FEATURES, Features
from pipeline.scores.notes import (
    DEFAULT_TEMPO,
    DEFAULT_VELOCITY,
    DRUMS,
    GIVEN_ONE_STEP,
    NOTE,
    Score,
    one_note_per_key,
    snapped,
)
from pipeline.vocabulary.conditions import (
    CHORDS,
    CONDITIONS,
    QUARTERS,
    UNKNOWN,
    chord_changes,
    insert_at_steps,
    num_values,
    number_of,
    roots,
    value_name,
)
from pipeline.vocabulary.grammar import END, MARKS, PAD, START, check_grammar, event_grammar


@dataclass(frozen=True)
class EventVocabulary:
    """Polyphonic music as events on a grid without metre and tempo.

    A piece is START, then for each note, in the order (onset, program, pitch):
    SHIFT (as often as needed; none for notes that start together), PROGRAM (only with
    `instruments`, only when it changes; 0 at the start), NOTE or DRUM, DURATION, VELOCITY (only
    with `velocity_bins`); then END. Time starts at the first note. With `conditions`
    (conditions.py) a token of each follows START, and others come between notes.
    """

    steps_per_quarter: int = 12  # triplets and 16ths are exact
    lowest_pitch: int = 21  # the piano's lowest key
    highest_pitch: int = 108  # the piano's highest key
    max_shift: int = 48  # steps in one SHIFT; a longer silence takes several
    max_duration: int = 96  # steps; a longer note is clipped
    velocity_bins: int = 0  # 0: loudness is not modelled
    instruments: bool = False  # False: one instrument, percussion left out
    conditions: tuple[str, ...] = ()  # of pipeline/vocabulary/conditions.py, in its order

    def __post_init__(self) -> None:
        if not 0 <= self.lowest_pitch <= self.highest_pitch - 11 <= 116:
            raise ValueError(
                f"pitches {self.lowest_pitch}..{self.highest_pitch}: at least one octave within "
                "0..127 is needed"
            )
        if min(self.steps_per_quarter, self.max_shift, self.max_duration) < 1:
            raise ValueError("steps_per_quarter, max_shift and max_duration must be 1 or more")
        if not 0 <= self.velocity_bins <= 127:
            raise ValueError(f"velocity_bins is {self.velocity_bins}; 0 to 127 is possible")
        if self.conditions != tuple(name for name in CONDITIONS if name in self.conditions):
            raise ValueError(f"conditions {self.conditions}: needed are some of {CONDITIONS}")
        if CHORDS in self.conditions and self.steps_per_quarter % 2:
            raise ValueError(
                f"steps_per_quarter is {self.steps_per_quarter}; chords change on eighth notes, "
                "which need an even number"
            )

    @cached_property
    def blocks(self) -> dict[str, range]:
        """Ids of each kind of token, in order, without gaps."""
        sizes = {
            "shift": self.max_shift,
            "note": self.highest_pitch - self.lowest_pitch + 1,
            "duration": self.max_duration,
            "velocity": self.velocity_bins,
            "program": 128 if self.instruments else 0,
            "drum": 128 if self.instruments else 0,
            **{name: num_values(name) for name in self.conditions},
        }
        blocks, first = {}, MARKS
        for kind, size in sizes.items():
            blocks[kind] = range(first, first + size)
            first += size
        return blocks

    @property
    def size(self) -> int:
        """Number of ids, PAD, START and END included."""
        return MARKS + sum(len(block) for block in self.blocks.values())

    @cached_property
    def pitches(self) -> np.ndarray:
        """[size] int32: the MIDI key an id stands for, -1 for none. Semitones are neighbours."""
        pitches = np.full(self.size, -1, np.int32)
        pitches[self._slice("note")] = np.arange(self.lowest_pitch, self.highest_pitch + 1)
        return pitches

    @cached_property
    def roots(self) -> np.ndarray:
        """[size] int32: the pitch class of an id's key or chord, -1 for none; 12 are neighbours."""
        found = np.full(self.size, -1, np.int32)
        for name in self.conditions:
            found[self._slice(name)] = roots(name)
        return found

    @property
    def piece_conditions(self) -> tuple[str, ...]:
        """The conditions that say one thing of a whole piece."""
        return tuple(name for name in self.conditions if name != CHORDS)

    @property
    def opening(self) -> np.ndarray:
        """Ids with which a piece begins of which nothing is known or asked."""
        return self.opening_of(NO_FEATURES)

    def opening_of(self, features: Features) -> np.ndarray:
        """Ids with which a piece of these features begins: START and a token a condition."""
        said = [
            self.blocks[name].start + number_of(name, features) for name in self.piece_conditions
        ]
        return np.array([START, *said], np.int32)

    def condition_tokens(
        self, features: Features, last_step: int, first_step: int = 0
    ) -> list[tuple[int, int]]:
        """(grid step, id) of all that a piece of these features says beside its notes, in order.

        From step 0, the first note, to `last_step`. The first chord is `first_step` steps earlier.
        """
        changes = {}
        if CHORDS in self.conditions:
            changes = dict(chord_changes(features, self.steps_per_quarter, first_step))
        bars = range(0, last_step + 1, QUARTERS * self.steps_per_quarter)
        said: list[tuple[int, int]] = []
        chord = UNKNOWN
        for step in sorted({*bars, *(step for step in changes if step <= last_step)}):
            if step in bars:
                said += [(step, int(token)) for token in self.opening_of(features)[1:]]
            if changes:
                chord = changes.get(step, chord)
                said.append((step, self.blocks[CHORDS].start + chord))
        return said

    @cached_property
    def may_begin(self) -> np.ndarray:
        """[size] bool: which ids may follow the opening. No SHIFT: time starts at a note."""
        return self.follows[self.opening[-1]] & (self.steps == 0)

    @property
    def tokens_per_frame(self) -> int:
        """Windows may be cut before any token."""
        return 1

    def token_name(self, token: int) -> str:
        """Readable name of an id, for plots and messages: 'SHIFT 12', 'NOTE 60'."""
        if token < MARKS:
            return ("PAD", "START", "END")[token]
        for kind, block in self.blocks.items():
            if token in block:
                if kind in self.conditions:
                    return f"{kind.upper()} {value_name(kind, token - block.start)}"
                first = {"note": self.lowest_pitch, "program": 0, "drum": 0, "velocity": 0}
                return f"{kind.upper()} {token - block.start + first.get(kind, 1)}"
        raise ValueError(f"id {token} is not in a vocabulary of {self.size}")

    def fit(self, score: Score) -> tuple[Score, Counter[str]]:
        """The score as this vocabulary can say it, and how many notes each rule changed.

        Rules, in order: percussion is left out and programs become 0 unless `instruments`; notes
        snap to the grid; time starts at the first note; a pitch out of range moves by octaves into
        it; a key struck while it sounds ends its earlier note, doubles become one; a duration over
        `max_duration` is clipped; velocities become the middle of their bin.
        """
        adjustments: Counter[str] = Counter()
        notes, given_one_step = snapped(score, self.steps_per_quarter)
        if not self.instruments:
            is_melodic = notes["program"] != DRUMS
            if not is_melodic.all():
                adjustments["percussion left out"] = np.count_nonzero(~is_melodic)
                notes = notes.compress(is_melodic)
                given_one_step = given_one_step.compress(is_melodic)
            notes["program"] = 0
        adjustments[GIVEN_ONE_STEP] = np.count_nonzero(given_one_step)
        if notes.size:
            notes["onset"] -= notes["onset"].min()

        pitch = notes["pitch"]
        outside = (pitch < self.lowest_pitch) | (pitch > self.highest_pitch)
        if outside.any():
            outside &= notes["program"] != DRUMS
            adjustments["pitch moved by octaves"] = np.count_nonzero(outside)
            below, above = self.lowest_pitch - pitch[outside], pitch[outside] - self.highest_pitch
            octaves = -(-below.clip(0) // 12) + above.clip(0) // -12
            notes["pitch"][outside] += 12 * octaves

        notes, adjustments["doubled notes merged"], adjustments["overlaps of one key cut"] = (
            one_note_per_key(notes)
        )
        too_long = notes["duration"] > self.max_duration
        adjustments["duration clipped"] = np.count_nonzero(too_long)
        notes["duration"][too_long] = self.max_duration
        if self.velocity_bins:
            notes["velocity"] = self._middle_of_bin(self._velocity_bin(notes["velocity"]))
        else:
            notes["velocity"] = DEFAULT_VELOCITY
        # Still in order: no two notes have one onset, program and pitch.
        return Score(notes, self.steps_per_quarter, score.tempo), +adjustments

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
            said = self.condition_tokens(features, last_step, first_step)
            music = insert_at_steps(music, said, self.steps, self.blocks["shift"].start)
        return np.concatenate([[START], music, [END]]).astype(np.int32)

    def _encode_notes(self, notes: np.ndarray) -> np.ndarray:
        """Ids [num_tokens] int32 of notes in order, without marks."""
        starts = {kind: block.start for kind, block in self.blocks.items()}
        shift = notes["onset"].copy()
        shift[1:] -= notes["onset"][:-1]
        program, pitch = notes["program"], notes["pitch"].astype(np.int32)
        # [num_notes] of each token that a note may have, PAD where it has none.
        last_shift = np.where(shift > 0, starts["shift"] + (shift - 1) % self.max_shift, PAD)
        columns = [last_shift, starts["note"] + pitch - self.lowest_pitch]
        if self.instruments:
            is_drum = program == DRUMS
            changes = (program != self._program_before_each(program, is_drum)) & ~is_drum
            columns.insert(1, np.where(changes, starts["program"] + program, PAD))
            columns[2] = np.where(is_drum, starts["drum"] + pitch, columns[2])
        columns.append(starts["duration"] + notes["duration"] - 1)
        if self.velocity_bins:
            columns.append(starts["velocity"] + self._velocity_bin(notes["velocity"]))
        table = np.stack(columns, axis=1, dtype=np.int32)
        ids = table.ravel()
        ids = ids.compress(ids != PAD)
        if shift.max(initial=0) > self.max_shift:  # every SHIFT but the last is the longest one
            more_shifts = np.maximum(shift - 1, 0) // self.max_shift
            num_tokens = np.count_nonzero(table != PAD, axis=1)
            at = np.repeat(np.cumsum(num_tokens) - num_tokens, more_shifts)
            ids = np.insert(ids, at, starts["shift"] + self.max_shift - 1)
        return ids

    def decode(self, ids: np.ndarray, tempo: float = DEFAULT_TEMPO) -> Score:
        """The score that ids [num_tokens] say; marks may be absent. Conditions are no notes.

        Raises ValueError, naming the place, where a token may not follow the one before it.
        """
        ids = np.asarray(ids, np.int64)
        ids = ids[ids >= MARKS]
        is_music = ids < self._first_condition
        check_grammar(self, ids, ends=bool(is_music.any()))
        ids = ids[is_music]
        shift = np.where(self._is("shift", ids), ids - self.blocks["shift"].start + 1, 0)
        time = np.cumsum(shift)
        is_drum = self._is("drum", ids)
        at = np.flatnonzero(self._is("note", ids) | is_drum)
        program = np.where(self._is("program", ids), ids - self.blocks["program"].start, 0)
        changes = np.where(self._is("program", ids), np.arange(ids.size), -1)
        latest = np.maximum.accumulate(changes) if ids.size else changes
        program = np.where(latest >= 0, program[latest], 0)

        notes = np.zeros(at.size, NOTE)
        notes["onset"] = time[at]
        notes["program"] = np.where(is_drum[at], DRUMS, program[at])
        notes["pitch"] = np.where(
            is_drum[at],
            ids[at] - self.blocks["drum"].start,
            ids[at] - self.blocks["note"].start + self.lowest_pitch,
        )
        notes["duration"] = ids[at + 1] - self.blocks["duration"].start + 1
        notes["velocity"] = self._middle_of_bin(
            ids[at + 2] - self.blocks["velocity"].start if self.velocity_bins else at
        )
        return Score(one_note_per_key(notes)[0], self.steps_per_quarter, tempo)

    @cached_property
    def follows(self) -> np.ndarray:
        """[size, size] bool: may the column's token follow the row's? PAD follows nothing."""
        return event_grammar(self.size, self.blocks, self.conditions)

    @cached_property
    def steps(self) -> np.ndarray:
        """[size] int32: grid steps by which each token moves time on; 0 for all but SHIFT."""
        steps = np.zeros(self.size, np.int32)
        steps[self._slice("shift")] = 1 + np.arange(self.max_shift)
        return steps

    def times(self, ids: np.ndarray) -> np.ndarray:
        """The grid step at which each of a piece's ids [num_tokens] acts."""
        return np.cumsum(self.steps[ids])

    def to_dict(self) -> dict[str, Any]:
        """What `vocabulary_from_dict` needs to make this vocabulary again."""
        settings = {"kind": "events", **asdict(self), "conditions": list(self.conditions)}
        if not self.conditions:  # what was made before there were any stays what it is
            del settings["conditions"]
        return settings

    @property
    def _first_condition(self) -> int:
        return self.blocks["drum"].stop

    def _slice(self, kind: str) -> slice:
        return slice(self.blocks[kind].start, self.blocks[kind].stop)

    def _is(self, kind: str, ids: np.ndarray) -> np.ndarray:
        return (ids >= self.blocks[kind].start) & (ids < self.blocks[kind].stop)

    @staticmethod
    def _program_before_each(program: np.ndarray, is_drum: np.ndarray) -> np.ndarray:
        """The program in force before each note: the last one of a note that is not percussion."""
        index = np.where(is_drum, -1, np.arange(program.size))
        latest = np.maximum.accumulate(index) if program.size else index
        in_force = np.where(latest >= 0, program[latest], 0)
        return np.concatenate([[0], in_force[:-1]])[: program.size]

    def _velocity_bin(self, velocity: np.ndarray) -> np.ndarray:
        return np.clip(velocity.astype(np.int64), 0, 127) * self.velocity_bins // 128

    def _middle_of_bin(self, velocity_bin: np.ndarray) -> np.ndarray:
        if not self.velocity_bins:
            return np.full(velocity_bin.shape, DEFAULT_VELOCITY)
        width = 128 / self.velocity_bins
        return np.maximum(np.floor((velocity_bin + 0.5) * width), 1).astype(np.int64)
