"""Recommends a sequence length for a data set, with the reason.

A longer window lets the model see further back; a shorter one gives more windows, and so more steps
for the same music. The choice depends on three things: how far apart the music repeats itself, how
long the pieces are, and how many steps an epoch has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from pipeline.dataset.manifest import Manifest
from pipeline.scores.notes import DRUMS, Score

LENGTHS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
SAMPLED_PIECES = 200
SAMPLED_QUARTERS = 1024  # of a piece: enough for its repetitions, whatever its length
MAX_LAG = 64  # quarters: 16 bars of 4/4
MIN_LAG = 2  # quarters: at a lag of 1, likeness is mostly a harmony that is held
ENOUGH_REPETITION = 0.8
MIN_STEPS = 16  # of an epoch: with fewer, one update is a large part of the music
SLOTS_PER_QUARTER = 4  # onsets are counted in 16ths


@dataclass(frozen=True)
class Candidate:
    """The figures of a data set at one sequence length."""

    sequence_length: int  # tokens
    quarters: float  # length of a window in the music of a typical piece
    repetition: float  # share of the repetitions that are no further apart than a window
    whole_pieces: float  # share of the pieces that fit into one window
    cuts: float  # window borders within a piece, on average
    padding: float  # share of positions that would be padding if windows did not join pieces
    steps_per_epoch: int


@dataclass(frozen=True)
class Recommendation:
    """The sequence length for a data set, the reason as a sentence, and the figures behind it."""

    sequence_length: int
    reason: str
    candidates: tuple[Candidate, ...]
    tokens_per_quarter: float  # median over pieces
    median_tokens: float  # of a piece
    repetition_by_lag: tuple[float, ...]  # share of the repetitions at 0, 1, ... quarters
    num_pieces: int  # in the sample


def recommend_sequence_length(
    data_dir: Path, manifest: Manifest, global_batch_size: int = 64
) -> Recommendation:
    """The recommended sequence length of a data set, the same on every host.

    It is a whole number of frames, and the shortest that holds 80 % of the repetitions, unless that
    is longer than half of the pieces or leaves fewer than 16 steps an epoch. Raises ValueError for
    an empty train split.
    """
    # The figures of each sampled piece.
    vocabulary = manifest.open_vocabulary
    lengths, densities, profiles = [], [], []
    for tokens in _sample(data_dir, manifest):
        score = vocabulary.decode(tokens)
        lengths.append(len(tokens))
        densities.append(len(tokens) / max(score.end / score.resolution, 1))
        profiles.append(repetition_profile(score))
    if not lengths:
        raise ValueError(f"{data_dir} holds no train piece: no sequence length can be chosen")

    # The figures of each candidate.
    pieces = np.array(lengths)
    profile, tokens_per_quarter = np.array(profiles), np.array(densities)
    strength = profile.sum()
    lag_tokens = np.arange(MAX_LAG + 1) * tokens_per_quarter[:, None]  # [num_pieces, lags]
    unit = vocabulary.tokens_per_frame  # a window may not cut through a frame
    longest = manifest.longest("train") // unit * unit
    whole = sorted({max(length // unit, 1) * unit for length in LENGTHS})
    candidates = tuple(
        Candidate(
            sequence_length=length,
            quarters=float(length / np.median(tokens_per_quarter)),
            repetition=float(profile[lag_tokens <= length].sum() / strength) if strength else 0.0,
            whole_pieces=float((pieces <= length + 1).mean()),
            cuts=float(((pieces - 1) // length).mean()),
            padding=float(1 - pieces.sum() / (-(-pieces // length) * length).sum()),
            steps_per_epoch=manifest.num_tokens("train") // (length * global_batch_size),
        )
        for length in [n for n in whole if n <= longest] or [longest]
    )
    chosen, reason = _choose(candidates, float(np.median(pieces)), global_batch_size)
    return Recommendation(
        sequence_length=chosen,
        reason=reason,
        candidates=candidates,
        tokens_per_quarter=float(np.median(tokens_per_quarter)),
        median_tokens=float(np.median(pieces)),
        repetition_by_lag=tuple((profile.sum(0) / (strength or 1.0)).tolist()),
        num_pieces=len(lengths),
    )


def repetition_profile(score: Score) -> np.ndarray:
    """How strongly a score repeats itself at each lag: [MAX_LAG + 1], by quarters, summing to 1.

    This is the autocorrelation of the piece: quarters are compared by sounding pitch classes and by
    onsets in 16ths (the mean of both cosines), averaged over the piece for each lag. Only what
    exceeds the mean of all lags by more than one standard deviation counts; else all are zeros.
    """
    profile = np.zeros(MAX_LAG + 1)
    features = _quarters(score)
    lags = np.arange(MIN_LAG, min(MAX_LAG, len(features) // 2) + 1)
    if lags.size < 2:
        return profile
    # By the Fourier transform: a product of all pairs would be quadratic in the length.
    spectrum = np.fft.rfft(features, 2 * len(features), axis=0)
    sums = np.fft.irfft(np.square(np.abs(spectrum)).sum(1), 2 * len(features))[lags]
    likeness = sums / (len(features) - lags)
    # 1e-9: of a perfectly even piece only rounding would be left.
    profile[lags] = np.maximum(likeness - likeness.mean() - likeness.std() - 1e-9, 0)
    return profile / (profile.sum() or 1.0)


def _quarters(score: Score) -> np.ndarray:
    """[quarters, 12 + 4]: sounding time of each pitch class, onsets in each 16th; rows of norm 1.

    Both parts have the same norm, so that harmony and rhythm have equal weight.
    """
    num_quarters = min(-(-score.end // score.resolution), SAMPLED_QUARTERS)
    num_units = num_quarters * score.resolution
    notes = score.notes[score.notes["onset"] < num_units]
    ends = np.minimum(notes["onset"] + notes["duration"], num_units)
    pitched = notes["program"] != DRUMS
    changes = np.zeros((num_units + 1, 12))
    np.add.at(changes, (notes["onset"][pitched], notes["pitch"][pitched] % 12), 1)
    np.add.at(changes, (ends[pitched], notes["pitch"][pitched] % 12), -1)
    sounding = np.cumsum(changes[:-1], 0).reshape(num_quarters, score.resolution, 12).sum(1)
    slots = notes["onset"] * SLOTS_PER_QUARTER // score.resolution
    onsets = np.bincount(slots, minlength=num_quarters * SLOTS_PER_QUARTER)
    halves = (sounding, onsets.reshape(num_quarters, SLOTS_PER_QUARTER))
    norms = (np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-9) for half in halves)
    return np.hstack([half / norm for half, norm in zip(halves, norms, strict=True)]) / np.sqrt(2)


def _sample(data_dir: Path, manifest: Manifest) -> Iterator[np.ndarray]:
    """Tokens of the first train pieces of every lane, about SAMPLED_PIECES in all.

    The first pieces are a fair sample, since preprocessing sorts a lane by hash. A data set of any
    size takes the same time.
    """
    from pipeline.dataset.records import read_shards

    per_lane = -(-SAMPLED_PIECES // manifest.num_lanes)
    for shards in manifest.lanes("train"):
        for _, tokens in islice(read_shards(data_dir, shards), per_lane):
            yield tokens


def _choose(
    candidates: tuple[Candidate, ...], median_tokens: float, global_batch_size: int
) -> tuple[int, str]:
    """The recommended length and the reason for it."""
    enough = next((c for c in candidates if c.repetition >= ENOUGH_REPETITION), candidates[-1])
    shorter = [c for c in candidates if c.sequence_length <= median_tokens] or [candidates[0]]
    often = [c for c in candidates if c.steps_per_epoch >= MIN_STEPS] or [candidates[0]]
    limits = (
        (
            enough,
            f"{enough.repetition:.0%} of the repetitions are no further apart, and a longer "
            "window would show little more",
        ),
        (
            shorter[-1],
            f"a longer window would be longer than half of the pieces (median {median_tokens:.0f} "
            "tokens)",
        ),
        (
            often[-1],
            f"a longer window would leave fewer than {MIN_STEPS} steps of {global_batch_size} "
            "windows in an epoch",
        ),
    )
    chosen, why = min(limits, key=lambda limit: limit[0].sequence_length)
    reason = (
        f"{chosen.sequence_length} tokens are about {chosen.quarters:.0f} quarters and hold "
        f"{chosen.repetition:.0%} of the repetitions; {why}"
    )
    return chosen.sequence_length, reason
