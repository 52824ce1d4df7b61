"""The ids of the `events` vocabulary: what each one means and which may follow which."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from pipeline.scores.labels import NO_FEATURES, Features
from pipeline.vocabulary.conditions import (
    CHORDS,
    CONDITIONS,
    METRE,
    num_values,
    number_of,
    roots,
    value_name,
)
from pipeline.vocabulary.grammar import MARKS, START, event_grammar


@dataclass(frozen=True)
class EventTokens:
    """Blocks of ids, one for each kind of token: SHIFT, NOTE, DURATION, ..., conditions.

    Raises ValueError for settings that do not fit together.
    """

    steps_per_quarter: int = 12  # triplets and 16ths are exact
    lowest_pitch: int = 21  # the piano's lowest key
    highest_pitch: int = 108  # the piano's highest key
    max_shift: int = 48  # steps in one SHIFT; a longer silence takes several
    max_duration: int = 96  # steps; a longer note is clipped
    velocity_bins: int = 0  # 0: velocity is not modelled
    instruments: bool = False  # False: one instrument, percussion left out
    conditions: tuple[str, ...] = ()  # of pipeline/vocabulary/conditions.py, in its order
    opening_time: ClassVar[int] = 0  # grid step of the opening
    part_names: ClassVar[dict[int, str]] = {}  # program -> name; those of the instruments stay

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

    @property
    def tokens_per_frame(self) -> int:
        """1: a window may begin with any token."""
        return 1

    @cached_property
    def pitches(self) -> np.ndarray:
        """[size] int32: the MIDI key of an id, -1 without one. Semitones are neighbouring ids."""
        pitches = np.full(self.size, -1, np.int32)
        pitches[self._slice("note")] = np.arange(self.lowest_pitch, self.highest_pitch + 1)
        return pitches

    @property
    def when_moved(self) -> np.ndarray:
        """[size] int32: the id that each one becomes in a piece in another key, but for pitches."""
        return np.arange(self.size, dtype=np.int32)

    @cached_property
    def roots(self) -> np.ndarray:
        """[size] int32: the pitch class of an id's key or chord, -1 without one.

        The 12 pitch classes of a mode or chord quality are neighbouring ids.
        """
        found = np.full(self.size, -1, np.int32)
        for name in self.conditions:
            found[self._slice(name)] = roots(name)
        return found

    @cached_property
    def steps(self) -> np.ndarray:
        """[size] int32: grid steps by which each token moves time on; 0 for all but SHIFT."""
        steps = np.zeros(self.size, np.int32)
        steps[self._slice("shift")] = 1 + np.arange(self.max_shift)
        return steps

    @cached_property
    def follows(self) -> np.ndarray:
        """[size, size] bool: may the column's token follow the row's? PAD follows no token."""
        return event_grammar(self.size, self.blocks, self.conditions)

    @property
    def piece_conditions(self) -> tuple[str, ...]:
        """The conditions that have one value for a whole piece: all but chords and metre."""
        return tuple(name for name in self.conditions if name not in (CHORDS, METRE))

    @property
    def opening(self) -> np.ndarray:
        """Ids at the start of a piece without labels."""
        return self.opening_of(NO_FEATURES)

    def opening_of(self, features: Features) -> np.ndarray:
        """Ids at the start of a piece with these labels: START and its piece conditions."""
        tokens = [
            self.blocks[name].start + number_of(name, features) for name in self.piece_conditions
        ]
        return np.array([START, *tokens], np.int32)

    @cached_property
    def may_begin(self) -> np.ndarray:
        """[size] bool: which ids may follow the opening. No SHIFT: time starts at a note."""
        return self.follows[self.opening[-1]] & (self.steps == 0)

    def token_name(self, token: int) -> str:
        """Readable name of an id, for plots and messages: 'SHIFT 12', 'NOTE 60'.

        Raises ValueError for an id that is not in the vocabulary.
        """
        if token < MARKS:
            return ("PAD", "START", "END")[token]
        for kind, block in self.blocks.items():
            if token in block:
                if kind in self.conditions:
                    return f"{kind.upper()} {value_name(kind, token - block.start)}"
                first = {"note": self.lowest_pitch, "program": 0, "drum": 0, "velocity": 0}
                return f"{kind.upper()} {token - block.start + first.get(kind, 1)}"
        raise ValueError(f"id {token} is not in a vocabulary of {self.size}")

    def times(self, ids: np.ndarray) -> np.ndarray:
        """[num_tokens]: the grid step at which each of a piece's ids acts."""
        return self.opening_time + np.cumsum(self.steps[ids])

    def to_dict(self) -> dict[str, Any]:
        """Settings from which `vocabulary_from_dict` makes this vocabulary again."""
        settings = {"kind": "events", **asdict(self), "conditions": list(self.conditions)}
        if not self.conditions:  # left out where there are none, as older data sets have it
            del settings["conditions"]
        return settings

    def _slice(self, kind: str) -> slice:
        return slice(self.blocks[kind].start, self.blocks[kind].stop)
