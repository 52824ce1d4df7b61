"""A piece of a source, before it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.scores.labels import NO_FEATURES, Features
from pipeline.scores.notes import Score


@dataclass(frozen=True, slots=True)  # there may be a million
class Piece:
    """A score file of a source, or one piece of a file that holds many."""

    id: str  # stable: the name within its source, never where the source lies
    path: Path
    split: str | None = None  # the official one, where the source has one
    group: str | None = None  # pieces that must share a split, such as those of one game
    # Reads the piece from `path`, in another process; None: by suffix (pipeline/scores/reading.py).
    reader: Callable[[Path], list[Score]] | None = None
    content: str | None = None  # hex sha256 of what the reader returns; None: of the whole file
    features: Features = NO_FEATURES
