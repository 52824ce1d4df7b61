"""Composed pieces beside real ones: their metrics, their voice leading, their copies."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from model.metrics.copies import count_copies
from model.metrics.resemblance import bootstrap, resemblance
from model.metrics.score_metrics import measure_score
from model.metrics.voice_leading import RANGES, voice_leading
from pipeline.vocabulary.grid import GridVocabulary

if TYPE_CHECKING:
    from model.composing.composer import Composer
    from model.composing.sampling import Sampling

COPIES_LIMIT = 2  # times the rate of real pieces


@dataclass(frozen=True)
class Samples:
    """Composed pieces as frames, with the time that they took."""

    frames: list[np.ndarray]  # [num_frames, voices] of keys, 0 for a rest
    unfinished: int  # pieces that reached the bound on tokens before their end
    seconds: float


def compose_samples(composer: Composer, count: int, sampling: Sampling, seed: int) -> Samples:
    """`count` pieces composed side by side, each until the model ends it.

    Raises ValueError for a count below 1, or a piece without a note.
    """
    from model.composing.pieces import Length

    if count < 1:
        raise ValueError(f"--samples is {count}; it must be 1 or more")
    vocabulary = composer.vocabulary
    assert isinstance(vocabulary, GridVocabulary)
    started = time.perf_counter()
    pieces = composer.compose(range(count), sampling, Length(), seed)
    elapsed = time.perf_counter() - started
    frames = [vocabulary.decode_frames(piece.ids) for piece in pieces]
    empty = [piece.index for piece, rows in zip(pieces, frames, strict=True) if not rows.any()]
    if empty:
        raise ValueError(f"piece {empty[0]} of {count} holds no note: train longer")
    return Samples(frames, sum(not piece.complete for piece in pieces), elapsed)


def table_of(
    pieces: Sequence[np.ndarray], vocabulary: GridVocabulary, *, has_voices: bool
) -> dict[str, np.ndarray]:
    """The values [num_pieces] of each metric; for four voices also those of voice leading."""
    rows = []
    for frames in pieces:
        row = measure_score(vocabulary.decode(vocabulary.encode_frames(frames)))
        if has_voices and vocabulary.voices == len(RANGES):
            row |= voice_leading(frames)
        rows.append(row)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def compare_with_real(
    samples: Samples,
    real: dict[str, list[np.ndarray]],
    vocabulary: GridVocabulary,
    *,
    has_voices: bool,
) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """The comparison that music_report.py shows, and the values of each set of pieces behind it.

    `real` has train and one other split, the reference, as frames [num_frames, voices] of keys.
    Real pieces go through the vocabulary as composed ones did, so that both are measured alike.
    """
    (split,) = real.keys() - {"train"}
    sets = {"composed": samples.frames, "train": real["train"], split: real[split]}
    values = {
        name: table_of(pieces, vocabulary, has_voices=has_voices) for name, pieces in sets.items()
    }
    metrics = {
        name: asdict(resemblance(composed, values["train"][name], values[split][name]))
        for name, composed in values["composed"].items()
        # A metric without a value in a set (no rests in any piece, say) cannot be compared.
        if all(np.isfinite(columns[name]).any() for columns in values.values())
    }
    report = {
        "pieces": len(samples.frames),
        "unfinished": samples.unfinished,
        "seconds": samples.seconds,
        "split": split,
        "metrics": metrics,
        "copies": _copies(samples.frames, real["train"], real[split], vocabulary),
    }
    return report, values


def _copies(
    composed: Sequence[np.ndarray],
    train: Sequence[np.ndarray],
    real: Sequence[np.ndarray],
    vocabulary: GridVocabulary,
) -> dict[str, Any]:
    """The percentage of windows of 8 quarters that are in train, for composed and real pieces."""
    counts = count_copies(train, composed, vocabulary.steps_per_quarter)
    real_counts = count_copies(train, real, vocabulary.steps_per_quarter)
    rate, real_rate = (_percent(pieces[None])[0] for pieces in (counts, real_counts))
    return {
        "composed": rate,
        "interval": bootstrap(lambda chosen: _percent(counts[chosen]), len(counts)),
        "real": real_rate,
        "inside": bool(rate <= COPIES_LIMIT * real_rate),
    }


def _percent(counts: np.ndarray) -> np.ndarray:
    """Rates [resamples] of counts [resamples, num_pieces, 2] of copies and windows."""
    copied, total = np.moveaxis(counts.sum(1), -1, 0)
    return 100 * copied / np.maximum(total, 1)
