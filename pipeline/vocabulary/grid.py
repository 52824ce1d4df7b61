"""Frames <-> ids: the `grid` vocabulary, whose likelihoods compare with the literature's."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from pipeline.scores.bars import signatures_from
from pipeline.scores.counted_rules import GIVEN_ONE_STEP, MOVED, PERCUSSION, PITCHES_BEYOND
from pipeline.scores.notes import DEFAULT_TEMPO, Score, snapped, sort_notes
from pipeline.vocabulary.fitting import move_into_range, start_at_first_note, without_percussion
from pipeline.vocabulary.frames import (
    FIRST_PROGRAM,
    MAX_VOICES,
    REST,
    frames_by_height,
    frames_of_voices,
    lost_and_added,
    score_of_frames,
    voices_of_programs,
)
from pipeline.vocabulary.grammar import END, MARKS, START, check_grammar

CHOIR = ("Soprano", "Alto", "Tenor", "Bass")
QUARTERS_PER_BAR = 4


@dataclass(frozen=True)
class GridVocabulary:
    """Music of a few voices as frames on a fixed grid; held and repeated notes are not told apart.

    A piece is START once for each voice, then for each frame STEP (its place in a bar of four
    quarters, counted from the first frame) and one token of each voice, its pitch or REST, the
    highest voice first; then END. Each voice has ids of its own, so the table of which id may
    follow which holds the whole grammar but the order of the STEPs. END stands in the place of the
    next STEP, so with the END before it a piece is a whole number of rows of `tokens_per_frame`.

    STEP adds nothing to the likelihood of the frames: unless the piece ends, it is certain.

    With `mark_moved` a piece that training has transposed has STEPs of its own, so that a network
    knows whether it hears the keys and ranges of the data set. It composes in those.
    """

    steps_per_quarter: int = 4
    lowest_pitch: int = 36
    highest_pitch: int = 81
    voices: int = 4
    mark_moved: bool = False
    conditions: ClassVar[tuple[str, ...]] = ()  # frames hold notes only
    opening_time: ClassVar[int] = -1  # grid step of the opening: the first STEP leads to 0

    def __post_init__(self) -> None:
        if not 0 <= self.lowest_pitch <= self.highest_pitch - 11 <= 116:
            raise ValueError(
                f"pitches {self.lowest_pitch}..{self.highest_pitch}: at least one octave within "
                "0..127 is needed"
            )
        if self.steps_per_quarter < 1 or not 1 <= self.voices <= MAX_VOICES:
            raise ValueError(
                f"{self.steps_per_quarter} steps a quarter, {self.voices} voices: at least 1 step "
                f"and 1 to {MAX_VOICES} voices are needed"
            )

    @property
    def num_pitches(self) -> int:
        """Pitches of a voice, without the rest."""
        return self.highest_pitch - self.lowest_pitch + 1

    @property
    def steps_per_bar(self) -> int:
        """Places in a bar."""
        return QUARTERS_PER_BAR * self.steps_per_quarter

    @property
    def part_names(self) -> dict[int, str]:
        """Program -> the name of its voice: a choir's if there are four, else Voice 1, ..."""
        numbered = [f"Voice {number + 1}" for number in range(self.voices)]
        names = CHOIR if self.voices == len(CHOIR) else numbered
        return {FIRST_PROGRAM + voice: name for voice, name in enumerate(names)}

    @property
    def tokens_per_frame(self) -> int:
        """STEP and one token a voice: windows must be whole frames."""
        return 1 + self.voices

    @cached_property
    def blocks(self) -> dict[str, range]:
        """Ids of each kind of token, in order, without gaps. A voice begins with its REST."""
        first = MARKS + self.steps_per_bar * (2 if self.mark_moved else 1)
        blocks = {"step": range(MARKS, first)}
        for voice in range(self.voices):
            blocks[f"voice {voice + 1}"] = range(first, first + 1 + self.num_pitches)
            first += 1 + self.num_pitches
        return blocks

    @property
    def size(self) -> int:
        """Number of ids, PAD, START and END included."""
        return MARKS + sum(len(block) for block in self.blocks.values())

    @cached_property
    def pitches(self) -> np.ndarray:
        """[size] int32: the MIDI key of an id, -1 without one. Semitones are neighbouring ids."""
        pitches = np.full(self.size, -1, np.int32)
        for first in self._first_ids:
            keys = np.arange(self.lowest_pitch, self.highest_pitch + 1)
            pitches[first + 1 : first + 1 + self.num_pitches] = keys
        return pitches

    @property
    def opening(self) -> np.ndarray:
        """Ids with which every piece begins."""
        return np.full(self.voices, START, np.int32)

    @cached_property
    def when_moved(self) -> np.ndarray:
        """[size] int32: the id that each one becomes in a piece in another key, but for pitches."""
        ids = np.arange(self.size, dtype=np.int32)
        if self.mark_moved:
            ids[MARKS : MARKS + self.steps_per_bar] += self.steps_per_bar
        return ids

    @cached_property
    def steps(self) -> np.ndarray:
        """[size] int32: grid steps by which each id moves time on; 0 for all but STEP."""
        steps = np.zeros(self.size, np.int32)
        steps[self.blocks["step"].start : self.blocks["step"].stop] = 1
        return steps

    @cached_property
    def may_begin(self) -> np.ndarray:
        """[size] bool: which ids may follow the opening."""
        may_begin = np.zeros(self.size, bool)
        may_begin[self.blocks["step"].start] = True
        return may_begin

    def token_name(self, token: int) -> str:
        """Readable name of an id: 'STEP 0', 'STEP 0 MOVED', 'VOICE 1 60', 'VOICE 4 REST'.

        Raises ValueError for an id that is not in the vocabulary.
        """
        if token < MARKS:
            return ("PAD", "START", "END")[token]
        for kind, block in self.blocks.items():
            if token in block:
                if kind == "step":
                    moved, place = divmod(token - block.start, self.steps_per_bar)
                    return f"STEP {place}" + " MOVED" * moved
                pitch = int(self.pitches[token])
                return f"{kind.upper()} {'REST' if pitch < 0 else pitch}"
        raise ValueError(f"id {token} is not in a vocabulary of {self.size}")

    def fit(self, score: Score) -> tuple[Score, Counter[str]]:
        """The score as this vocabulary can encode it, and how many notes each rule changed.

        Rules, in order: percussion is left out; notes snap to the grid; time starts at the first
        note; a pitch out of range moves by octaves into it, and so does key 0, which frames have
        for a rest. Voices are those of the instruments that `decode` writes, where the score has
        no others and none of them sounds two pitches at once; else, in each frame, the sounding
        pitches from the highest down, of which the upper ones and the lowest stay. A note that
        begins where its pitch sounds already is joined with it. A pitch that comes back after a
        frame in which it was left out, or goes to another voice, begins again as another note.
        """
        adjustments: Counter[str] = Counter()
        notes, adjustments[PERCUSSION] = without_percussion(score.notes)
        melodic = Score(notes, score.resolution, score.tempo)
        notes, given_one_step = snapped(melodic, self.steps_per_quarter)
        notes = sort_notes(notes)
        adjustments[GIVEN_ONE_STEP] = int(np.count_nonzero(given_one_step))
        first_step = start_at_first_note(notes)
        lowest = max(self.lowest_pitch, REST + 1)
        adjustments[MOVED] = move_into_range(notes, lowest, self.highest_pitch)

        # Notes to voices: by their programs, else by height.
        voice: np.ndarray | None = notes["program"] - FIRST_PROGRAM
        frames = voices_of_programs(notes, self.voices)
        if frames is None:
            voice = None
            frames, adjustments[PITCHES_BEYOND] = frames_by_height(notes, self.voices)
        fitted = score_of_frames(frames, self.steps_per_quarter, score.tempo)
        adjustments.update(lost_and_added(notes, voice, frames, fitted.notes))
        metres = signatures_from(
            score.time_signatures, self.steps_per_quarter, first_step, first_step + fitted.end
        )
        return replace(fitted, time_signatures=metres), +adjustments

    def frames(self, score: Score) -> np.ndarray:
        """The score after `fit` as frames [num_frames, voices] of MIDI keys, 0 for a rest."""
        return self._frames_of_fitted(self.fit(score)[0])

    def encode(self, score: Score) -> np.ndarray:
        """Ids [num_tokens] int32 of the score after `fit`, START and END included."""
        return self.encode_frames(self.frames(score))

    def encode_fitted(self, score: Score) -> np.ndarray:
        """Ids [num_tokens] int32 of a score that `fit` has returned, START and END included."""
        return self.encode_frames(self._frames_of_fitted(score))

    def encode_frames(self, frames: np.ndarray, *, moved: bool = False) -> np.ndarray:
        """Ids [num_tokens] int32 of frames [num_frames, voices] of MIDI keys, 0 for a rest.

        `moved`: the frames are in another key than the piece of the data set. Raises ValueError for
        another number of voices, or a pitch out of range.
        """
        frames = np.asarray(frames, np.int64)
        sounding = frames[frames != REST]
        in_range = (sounding >= self.lowest_pitch) & (sounding <= self.highest_pitch)
        if frames.ndim != 2 or frames.shape[1] != self.voices or not in_range.all():
            raise ValueError(
                f"frames of shape {frames.shape} with pitches {sounding.min(initial=127)}.."
                f"{sounding.max(initial=0)}; needed are {self.voices} voices within "
                f"{self.lowest_pitch}..{self.highest_pitch}"
            )
        index = np.where(frames == REST, 0, frames - self.lowest_pitch + 1)
        steps = self.blocks["step"].start + np.arange(len(frames)) % self.steps_per_bar
        rows = np.concatenate([steps[:, None], index + self._first_ids], axis=1)
        ids = np.concatenate([self.opening, rows.ravel(), [END]]).astype(np.int32)
        return self.when_moved[ids] if moved else ids

    def decode_frames(self, ids: np.ndarray) -> np.ndarray:
        """Frames [num_frames, voices] of MIDI keys, 0 for a rest; marks may be absent.

        Raises ValueError, naming the place, where a token may not follow the one before it.
        """
        ids = np.asarray(ids, np.int64)
        ids = ids[ids >= MARKS]
        check_grammar(self, ids)
        pitches = self.pitches[ids.reshape(-1, self.tokens_per_frame)[:, 1:]]
        return np.where(pitches < 0, REST, pitches)

    def decode(self, ids: np.ndarray, tempo: float = DEFAULT_TEMPO) -> Score:
        """The score of ids [num_tokens], each voice an instrument; marks may be absent."""
        return score_of_frames(self.decode_frames(ids), self.steps_per_quarter, tempo)

    @cached_property
    def follows(self) -> np.ndarray:
        """[size, size] bool: may the column's token follow the row's? PAD follows no token."""
        allowed = np.zeros((self.size, self.size), bool)
        chain = [slice(block.start, block.stop) for block in self.blocks.values()]
        for before, after in zip(chain, [*chain[1:], chain[0]], strict=True):
            allowed[before, after] = True
        allowed[chain[-1], END] = True
        allowed[START, START] = True
        first = self.blocks["step"].start
        allowed[START, [first, self.when_moved[first]]] = True
        allowed[END, START] = True
        return allowed

    def times(self, ids: np.ndarray) -> np.ndarray:
        """The grid step at which each of a piece's ids [num_tokens] acts."""
        return np.maximum(self.opening_time + np.cumsum(self.steps[ids]), 0)

    def to_dict(self) -> dict[str, Any]:
        """Settings from which `vocabulary_from_dict` makes this vocabulary again."""
        settings = {"kind": "grid", **asdict(self)}
        if not self.mark_moved:  # left out then, as older data sets have it
            del settings["mark_moved"]
        return settings

    @property
    def _first_ids(self) -> np.ndarray:
        """[voices]: the id of each voice's REST."""
        return np.array([block.start for block in list(self.blocks.values())[1:]])

    def _frames_of_fitted(self, score: Score) -> np.ndarray:
        return frames_of_voices(score.notes, score.notes["program"] - FIRST_PROGRAM, self.voices)
