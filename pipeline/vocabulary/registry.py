"""The protocol of a vocabulary, and the vocabularies by name as a manifest keeps them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from pipeline.scores.notes import DEFAULT_TEMPO, Score
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.grammar import Tokens
from pipeline.vocabulary.grid import GridVocabulary


class Vocabulary(Tokens, Protocol):
    """Notes <-> ids. Ids 0, 1 and 2 are PAD, START and END (grammar.py); music begins at 3."""

    @property
    def steps_per_quarter(self) -> int:
        """Steps of the time grid in a quarter note."""

    @property
    def tokens_per_frame(self) -> int:
        """Windows are whole multiples of so many tokens; 1 where they may begin anywhere."""

    @property
    def conditions(self) -> tuple[str, ...]:
        """The labels that a model can be asked for (conditions.py); empty without any."""

    @property
    def part_names(self) -> Mapping[int, str]:
        """Program -> the name of its part; empty where parts keep their instruments' names."""

    @property
    def pitches(self) -> np.ndarray:
        """[size] int32: the MIDI key of an id, -1 without one. Semitones are neighbouring ids."""

    @property
    def when_moved(self) -> np.ndarray:
        """[size] int32: the id that each one becomes in a piece in another key, but for pitches."""

    @property
    def steps(self) -> np.ndarray:
        """[size] int32: grid steps by which each id moves time on."""

    @property
    def opening(self) -> np.ndarray:
        """Ids with which every piece begins, START first."""

    @property
    def opening_time(self) -> int:
        """Grid step of the opening: 0, or -1 where the first token after it leads to 0."""

    @property
    def may_begin(self) -> np.ndarray:
        """[size] bool: which ids may follow the opening."""

    def fit(self, score: Score) -> tuple[Score, Counter[str]]:
        """The score as this vocabulary can encode it, and how many notes each rule changed.

        The rules are those of pipeline/scores/counted_rules.py.
        """

    def encode(self, score: Score) -> np.ndarray:
        """Ids [num_tokens] int32 of the score after `fit`, START and END included."""

    def encode_fitted(self, score: Score) -> np.ndarray:
        """Ids [num_tokens] int32 of a score that `fit` has returned, START and END included."""

    def decode(self, ids: np.ndarray, tempo: float = DEFAULT_TEMPO) -> Score:
        """The score of ids [num_tokens]; marks may be absent.

        Raises ValueError, naming the place, for an id that may not follow the one before it
        (`check_grammar`).
        """

    def times(self, ids: np.ndarray) -> np.ndarray:
        """The grid step at which each of a piece's ids [num_tokens] acts."""

    def to_dict(self) -> dict[str, Any]:
        """Settings from which `vocabulary_from_dict` makes this vocabulary again."""


KINDS: dict[str, Callable[..., Vocabulary]] = {"events": EventVocabulary, "grid": GridVocabulary}


def vocabulary_from_dict(settings: dict[str, Any]) -> Vocabulary:
    """The vocabulary with the settings that `to_dict` returned. Raises ValueError."""
    settings = dict(settings)
    kind = str(settings.pop("kind", None))
    if kind not in KINDS:
        raise ValueError(
            f"vocabulary {kind!r} is unknown; this program has {', '.join(KINDS)}. Was the data "
            "set or checkpoint made by a newer version?"
        )
    if "conditions" in settings:
        settings["conditions"] = tuple(settings["conditions"])
    return KINDS[kind](**settings)
