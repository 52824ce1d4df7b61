"""Composed pieces by the emotion that was asked for, beside real ones by that of their label.

Valence and arousal have two values each in the vocabulary: below 0 and above 0. For each of both,
and for each measure of a piece, the correlation of the two is compared: of the label with real
pieces, and of what was asked for with composed ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from model.composing.composer import Composer
from model.composing.pieces import Length
from model.composing.sampling import Sampling
from model.evaluation.music_report import interval, shown
from model.metrics.resemblance import bootstrap
from model.metrics.score_metrics import melodic, polyphony, scale_consistency
from pipeline.dataset.manifest import SPLITS, Manifest
from pipeline.dataset.records import read_features, read_pieces
from pipeline.runtime.tables import aligned_lines
from pipeline.scores.labels import Features
from pipeline.scores.notes import DEFAULT_TEMPO, Score
from pipeline.scores.parts import key_of

QUARTERS = 64  # of a composed piece
LABELS = ("valence", "arousal")
FEWEST = 2  # pieces for each of the four emotions: a correlation needs a spread

MEASURES: dict[str, Callable[[Score], float]] = {
    "major key": lambda score: float(key_of(score.notes).mode == "major"),
    "notes a quarter": lambda score: score.notes.size * score.resolution / score.end,
    "mean pitch": lambda score: float(melodic(score)["pitch"].mean()),
    "mean duration": lambda score: float(score.notes["duration"].mean() / score.resolution),
    "pitches at once": polyphony,
    "scale consistency": scale_consistency,
}

Pieces = list[tuple[Features, Score]]


def compare_emotions(composer: Composer, data: Path, flags: argparse.Namespace) -> dict[str, Any]:
    """The comparison of the labelled pieces of a data set folder with composed ones.

    `flags.emotions` pieces are composed for each of the four emotions. Raises ValueError for too
    few pieces, a model without these conditions, and a data set without these labels.
    """
    if flags.emotions < FEWEST:
        raise ValueError(f"--emotions is {flags.emotions}; it must be {FEWEST} or more")
    sampling = Sampling(flags.temperature, top_p=flags.top_p, guidance=flags.guidance)
    asked = composer.asked(Features(valence=1, arousal=1))  # what a model cannot do is said first
    real = labelled_pieces(data)
    composed = composed_pieces(asked, flags.emotions, sampling, flags.seed)
    return {
        "pieces": len(real),
        "composed": len(composed),
        "seed": flags.seed,
        "temperature": flags.temperature,
        "top_p": flags.top_p,
        "correlations": correlations(real, composed),
    }


def labelled_pieces(data: Path) -> Pieces:
    """The pieces of all splits that have both labels, neither of them 0. Raises ValueError."""
    manifest = Manifest.load(data)
    manifest.verify(data)
    vocabulary = manifest.open_vocabulary
    found: Pieces = []
    for split in SPLITS:
        features = read_features(data, manifest, split)
        for (_, ids), (_, labels) in zip(read_pieces(data, manifest, split), features, strict=True):
            if labels.valence and labels.arousal:
                found.append((labels, vocabulary.decode(ids)))
    if not found:
        raise ValueError(
            f"no piece of {data} has a valence and an arousal; make it with: "
            "pipeline/preprocess.py vgmidi:PATH --conditions emotion"
        )
    return found


def composed_pieces(composer: Composer, count: int, sampling: Sampling, seed: int) -> Pieces:
    """`count` pieces of `QUARTERS` quarters for each of the four emotions."""
    steps = composer.vocabulary.steps_per_quarter
    length = Length.of_steps(QUARTERS * steps, steps)
    found: Pieces = []
    for number, (valence, arousal) in enumerate(product((-1.0, 1.0), repeat=2)):
        wishes = Features(valence=valence, arousal=arousal)
        asked = composer.asked(wishes)
        numbers = range(number * count, (number + 1) * count)
        for piece in asked.compose(numbers, sampling, length, seed):
            found.append((wishes, asked.score(piece, length, DEFAULT_TEMPO)))
    return found


def correlations(real: Pieces, composed: Pieces) -> dict[str, dict[str, dict[str, Any]]]:
    """Pearson's correlation of the sign of each label with each measure, and its 95 % interval.

    By measure, label, and set of pieces: "real" and "composed". Pieces without a pitch do not
    count; a label or measure that is the same in all pieces has no correlation (None).
    """
    sets = {"real": real, "composed": composed}
    heard = {
        name: [(labels, score) for labels, score in pieces if melodic(score).size]
        for name, pieces in sets.items()
    }
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, measure in MEASURES.items():
        values = {kind: np.array([measure(s) for _, s in pieces]) for kind, pieces in heard.items()}
        found[name] = {
            label: {
                kind: _correlation(pieces, label, values[kind]) for kind, pieces in heard.items()
            }
            for label in LABELS
        }
    return found


def describe(comparison: dict[str, Any]) -> list[str]:
    """The comparison as lines of text."""
    rows = [
        (
            measure,
            *(
                text
                for label in LABELS
                for kind in ("real", "composed")
                for text in (
                    shown(by_label[label][kind]["r"], 2),
                    interval(by_label[label][kind]["interval"], 2),
                )
            ),
        )
        for measure, by_label in comparison["correlations"].items()
    ]
    columns = [""]
    for label in LABELS:
        columns += [f">{label}: real", ">95 %", ">composed", ">95 %"]
    return [
        f"{comparison['composed']} pieces of {QUARTERS} quarters composed (seed "
        f"{comparison['seed']}, temperature {comparison['temperature']:g}, top-p "
        f"{comparison['top_p']:g}), as many for each emotion, beside {comparison['pieces']} real "
        "ones: correlations with the sign of what was asked for, and of the label",
        *aligned_lines(columns, rows),
    ]


def _correlation(pieces: Pieces, label: str, values: np.ndarray) -> dict[str, Any]:
    signs = np.sign([getattr(labels, label) for labels, _ in pieces])

    def pearson(chosen: np.ndarray) -> np.ndarray:
        a, b = (x[chosen] - x[chosen].mean(-1, keepdims=True) for x in (signs, values))
        spread = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
        return (a * b).sum(-1) / np.maximum(spread, np.finfo(float).tiny)

    has_spread = np.ptp(signs) > 0 and np.ptp(values) > 0
    return {
        "r": float(pearson(np.arange(signs.size))) if has_spread else None,
        "interval": bootstrap(pearson, signs.size),
    }
