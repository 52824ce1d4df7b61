"""The contents of a data set in numbers: pieces, notes, tokens, pitches, durations, coverage."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.dataset.manifest import SPLITS, Manifest
from pipeline.description.sequence_length import Recommendation, recommend_sequence_length
from pipeline.scores.labels import summarise
from pipeline.scores.notes import DRUMS
from pipeline.vocabulary.grammar import PAD
from pipeline.vocabulary.registry import Vocabulary


@dataclass(frozen=True)
class SplitDescription:
    """One split. Arrays are counts."""

    piece_tokens: np.ndarray  # [num_pieces]: length of each piece
    num_notes: int
    num_quarters: float
    pitches: np.ndarray  # [128] notes of each MIDI key, percussion left out
    durations: np.ndarray  # notes of each duration in steps, from 0 to the longest
    tokens: np.ndarray  # [vocabulary size] occurrences of each id

    @property
    def num_pieces(self) -> int:
        """Pieces in the split."""
        return len(self.piece_tokens)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        lengths = self.piece_tokens
        return {
            "pieces": self.num_pieces,
            "notes": self.num_notes,
            "quarters": self.num_quarters,
            "tokens": int(lengths.sum()),
            "piece_tokens": dict(zip(("min", "median", "max"), _spread(lengths), strict=True)),
            "pitches": {int(key): int(self.pitches[key]) for key in np.flatnonzero(self.pitches)},
            "durations": {int(n): int(self.durations[n]) for n in np.flatnonzero(self.durations)},
        }


@dataclass(frozen=True)
class Description:
    """A whole data set."""

    name: str
    manifest: Manifest
    vocabulary: Vocabulary
    splits: dict[str, SplitDescription]
    recommendation: Recommendation | None  # None without train pieces
    features: dict[str, dict[str, dict[str, Any]]]  # split -> labels.summarise of it

    def coverage(self) -> dict[str, tuple[int, int]]:
        """Kind of token -> (number of ids in the train split, number of ids). PAD is left out."""
        used: Counter[str] = Counter()
        size: Counter[str] = Counter()
        for token in range(PAD + 1, self.vocabulary.size):
            kind = self.vocabulary.token_name(token).partition(" ")[0]
            size[kind] += 1
            used[kind] += bool(self.splits["train"].tokens[token])
        return {kind: (used[kind], size[kind]) for kind in size}

    def unseen(self, split: str) -> dict[str, int]:
        """Name -> occurrences in a split, of the tokens that no train piece has.

        A model can learn them only where transposition makes them.
        """
        tokens = self.splits[split].tokens
        new = np.flatnonzero((tokens > 0) & (self.splits["train"].tokens == 0))
        return {self.vocabulary.token_name(int(token)): int(tokens[token]) for token in new}

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "vocabulary": {**self.manifest.vocabulary, "size": self.vocabulary.size},
            "lanes": self.manifest.num_lanes,
            "sources": self.manifest.num_sources,
            "rejects": self.manifest.rejects,
            "adjustments": self.manifest.adjustments,
            "notes": self.manifest.notes,
            "splits": {split: found.to_dict() for split, found in self.splits.items()},
            "coverage": {
                kind: {"used": used, "of": size} for kind, (used, size) in self.coverage().items()
            },
            "features": self.features,
            "unseen": {split: self.unseen(split) for split in SPLITS[1:]},
            "sequence_length": self.recommendation and asdict(self.recommendation),
        }


def describe(data_dir: Path) -> Description:
    """The description of a data folder. Raises ValueError for missing or damaged files."""
    manifest = Manifest.load(data_dir)
    manifest.verify(data_dir)
    return Description(
        name=data_dir.resolve().name,
        manifest=manifest,
        vocabulary=manifest.open_vocabulary,
        splits={split: _describe_split(data_dir, manifest, split) for split in SPLITS},
        recommendation=(
            recommend_sequence_length(data_dir, manifest) if manifest.num_pieces("train") else None
        ),
        features={split: _describe_features(data_dir, manifest, split) for split in SPLITS},
    )


def _describe_split(data_dir: Path, manifest: Manifest, split: str) -> SplitDescription:
    from pipeline.dataset.records import read_pieces

    vocabulary = manifest.open_vocabulary
    lengths = []
    num_quarters = 0.0
    pitches, durations = np.zeros(128, np.int64), np.zeros(1, np.int64)
    counts = np.zeros(vocabulary.size, np.int64)
    for _, tokens in read_pieces(data_dir, manifest, split):
        score = vocabulary.decode(tokens)
        pitched = score.notes[score.notes["program"] != DRUMS]
        lengths.append(len(tokens))
        num_quarters += score.end / score.resolution
        pitches += np.bincount(pitched["pitch"], minlength=128)
        durations = _added(durations, np.bincount(score.notes["duration"]))
        counts += np.bincount(tokens, minlength=vocabulary.size)
    return SplitDescription(
        piece_tokens=np.array(lengths, np.int64),
        num_notes=int(durations.sum()),
        num_quarters=num_quarters,
        pitches=pitches,
        durations=durations,
        tokens=counts,
    )


def _describe_features(data_dir: Path, manifest: Manifest, split: str) -> dict[str, dict[str, Any]]:
    from pipeline.dataset.records import read_features

    if not manifest.features:
        return {}
    return summarise(found for _, found in read_features(data_dir, manifest, split))


def _added(counts: np.ndarray, more: np.ndarray) -> np.ndarray:
    """The sum of two arrays of counts of different length."""
    longer, shorter = (counts, more) if len(counts) >= len(more) else (more, counts)
    return longer + np.pad(shorter, (0, len(longer) - len(shorter)))


def _spread(lengths: np.ndarray) -> tuple[int, float, int]:
    """Smallest, median and largest; zeros for an empty array."""
    if not lengths.size:
        return 0, 0.0, 0
    return int(lengths.min()), float(np.median(lengths)), int(lengths.max())
