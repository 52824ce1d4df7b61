"""One score file -> the ids of its pieces: the work of a parsing process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.notes import Score
from pipeline.pieces import Piece
from pipeline.vocabulary import Vocabulary


@dataclass(frozen=True)
class Encoded:
    """What a file gave: ids [num_tokens] int32 of each piece, and the notes that rules changed."""

    pieces: list[np.ndarray]
    adjustments: Counter[str] = field(default_factory=Counter)


class AllLeftOutError(ValueError):
    """A score of which the vocabulary can say no note."""

    kind = "empty"  # for the list of rejects


@dataclass(frozen=True)
class Encoder:
    """Callable that reads a file and encodes it; travels to other processes."""

    vocabulary: Vocabulary
    reader: Callable[[Path], list[Score]] | None = None  # None: scores.read_scores

    def __call__(self, piece: Piece) -> Encoded:
        """The file's pieces in ids. Raises ValueError or OSError with the true reason."""
        from pipeline.scores import read_scores  # music21: only the parsing processes load it

        read = self.reader or piece.reader or read_scores
        encoded, adjustments = [], Counter[str]()
        for score in read(piece.path):
            fitted, changed = self.vocabulary.fit(score)
            adjustments += changed
            if fitted.notes.size:
                encoded.append(self.vocabulary.encode(fitted))
        if not encoded:
            raise AllLeftOutError("only percussion, which needs --instruments")
        return Encoded(encoded, adjustments)
