"""Baselines: likelihoods without a network, which a model must beat to have learned. Pure NumPy.

Each is fitted on train, and is a proper likelihood of the same frames as a network's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.sources.json_frames import SILENT, piano_roll

LOWEST_PITCH, HIGHEST_PITCH = 36, 81  # of the JSB Chorales
NUM_SYMBOLS = HIGHEST_PITCH - LOWEST_PITCH + 2  # 46 pitches and the rest
STEPS_PER_QUARTER = 4
LOWEST_KEY, HIGHEST_KEY = 21, 108  # of the piano: the frames of Boulanger-Lewandowski 2012

Pieces = Sequence[np.ndarray]


def symbols(frames: np.ndarray) -> np.ndarray:
    """Frames of one pitch per voice as symbols 0 .. 46, the rest 0.

    Raises ValueError for a pitch outside the protocol's 36..81.
    """
    _require_pitches(frames, LOWEST_PITCH, HIGHEST_PITCH, "the 16th-grid protocol")
    return np.where(frames == SILENT, 0, frames - LOWEST_PITCH + 1).astype(np.int64)


def uniform(train: Pieces, pieces: Pieces) -> list[np.ndarray]:
    """Nats [num_frames, voices] of each piece if all symbols are equally likely."""
    return [np.full(piece.shape, np.log(NUM_SYMBOLS)) for piece in pieces]


def unigram(train: Pieces, pieces: Pieces) -> list[np.ndarray]:
    """Nats [num_frames, voices] of each piece by the frequency of each voice's symbols."""
    logs = _unigram_logs(train)
    return [-logs[np.arange(piece.shape[1]), symbols(piece)] for piece in pieces]


def hold(train: Pieces, pieces: Pieces) -> list[np.ndarray]:
    """Nats [num_frames, voices] if a voice holds its note, or draws another one by the unigram.

    The probability of holding depends on the voice and the place in the quarter.
    """
    num_voices = train[0].shape[1]
    logs = _unigram_logs(train)
    held = np.zeros((num_voices, STEPS_PER_QUARTER, 2))
    for piece in train:
        ids = symbols(piece)
        place = np.arange(1, len(ids)) % STEPS_PER_QUARTER
        same = (ids[1:] == ids[:-1]).astype(int)
        for voice in range(num_voices):
            np.add.at(held[voice], (place, same[:, voice]), 1)
    share = (held[..., 1] + 1) / (held.sum(-1) + 2)  # [voices, places]
    result = []
    for piece in pieces:
        ids, voices = symbols(piece), np.arange(num_voices)
        drawn = np.exp(logs[voices, ids])
        hold_share = share[voices, (np.arange(len(ids)) % STEPS_PER_QUARTER)[:, None]]
        same = np.concatenate([np.zeros((1, num_voices), bool), ids[1:] == ids[:-1]])
        last = np.concatenate([ids[:1], ids[:-1]])
        # A note that is not held is another symbol: the unigram without the last symbol.
        other = drawn / (1 - np.exp(logs[voices, last]))
        probability = np.where(same, hold_share, (1 - hold_share) * other)
        probability[0] = drawn[0]
        result.append(-np.log(probability))
    return result


def bigram(train: Pieces, pieces: Pieces) -> list[np.ndarray]:
    """Nats [num_frames, voices] given a voice's last symbol and the place in the quarter."""
    num_voices = train[0].shape[1]
    logs = _unigram_logs(train)
    counts = np.zeros((num_voices, STEPS_PER_QUARTER, NUM_SYMBOLS, NUM_SYMBOLS))
    for piece in train:
        ids = symbols(piece)
        place = np.arange(1, len(ids)) % STEPS_PER_QUARTER
        for voice in range(num_voices):
            np.add.at(counts[voice], (place, ids[:-1, voice], ids[1:, voice]), 1)
    # Smoothed towards the unigram, as most pairs are never seen at most places.
    prior = np.exp(logs)[:, None, None, :]
    probability = (counts + prior) / (counts.sum(-1, keepdims=True) + 1)
    result = []
    for piece in pieces:
        ids, voices = symbols(piece), np.arange(num_voices)
        place = (np.arange(1, len(ids)) % STEPS_PER_QUARTER)[:, None]
        nats = -logs[voices, ids]
        nats[1:] = -np.log(probability[voices, place, ids[:-1], ids[1:]])
        result.append(nats)
    return result


def bernoulli(train: Pieces, pieces: Pieces) -> list[np.ndarray]:
    """Nats [num_frames, 1] of each piece if every key sounds independently of the others.

    The protocol of Boulanger-Lewandowski et al. 2012 (arXiv 1206.6392) for 88 keys. Raises
    ValueError for a pitch outside them: its nats would be missing.
    """
    roll = np.concatenate([_keys(piece) for piece in train])
    share = (roll.sum(0) + 1) / (len(roll) + 2)
    result = []
    for piece in pieces:
        keys = _keys(piece)
        nats = -np.where(keys, np.log(share), np.log1p(-share)).sum(1)
        result.append(nats[:, None])
    return result


def _keys(frames: np.ndarray) -> np.ndarray:
    _require_pitches(frames, LOWEST_KEY, HIGHEST_KEY, "the protocol of 88 keys")
    return piano_roll(frames)[:, LOWEST_KEY : HIGHEST_KEY + 1]


def _require_pitches(frames: np.ndarray, lowest: int, highest: int, protocol: str) -> None:
    """Raise ValueError for a pitch that the protocol does not have."""
    sounding = frames[frames != SILENT]
    outside = (sounding < lowest) | (sounding > highest)
    if outside.any():
        raise ValueError(
            f"pitches outside {lowest}..{highest}, all that {protocol} has: {outside.sum()} of a "
            f"piece within {sounding.min()}..{sounding.max()}; a likelihood cannot leave them out"
        )


def _unigram_logs(train: Pieces) -> np.ndarray:
    """Logarithms [voices, symbols] of the shares of each voice's symbols; no share is 0."""
    ids = np.concatenate([symbols(piece) for piece in train])
    counts = np.stack([np.bincount(voice, minlength=NUM_SYMBOLS) + 1 for voice in ids.T])
    return np.log(counts / counts.sum(1, keepdims=True))
