"""The likelihood of real frames under trained networks: nats of every voice of every frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from model.networks.masks import NEVER
from model.networks.registry import Network
from pipeline.vocabulary.frames import REST
from pipeline.vocabulary.grammar import END, PAD
from pipeline.vocabulary.grid import GridVocabulary

PIECES_AT_ONCE = 8
LOGITS_AT_ONCE = 1 << 27  # 0.5 GiB: one piece of 4,000 frames of 15 voices has 0.4


class Likelihood:
    """The likelihood of frames under one network."""

    def __init__(self, model: Network, vocabulary: GridVocabulary) -> None:
        self.vocabulary = vocabulary

        def nats_of(inputs: tf.Tensor, targets: tf.Tensor, possible: tf.Tensor) -> tf.Tensor:
            logits = tf.where(possible, model(inputs)[0], NEVER)
            return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)

        ids = tf.TensorSpec([None, None], tf.int32)
        possible = tf.TensorSpec([vocabulary.size], tf.bool)
        self._nats_of = tf.function(nats_of, input_signature=[ids, ids, possible], autograph=False)

    def nats(self, pieces: Sequence[np.ndarray], transpose: int = 0) -> list[np.ndarray]:
        """Nats [num_frames, voices] of pieces [num_frames, voices] of keys, 0 for a rest.

        From left to right, each piece from its own beginning. STEP and END are given and do not
        count: no protocol includes the length of a piece. With `transpose` the network reads the
        piece that many semitones higher, and gives the probabilities of the original pitches. A
        pitch that leaves the vocabulary by that has infinite nats, and the values after it mean
        nothing. Raises ValueError for frames that the vocabulary cannot express.
        """
        vocabulary = self.vocabulary
        moved = [np.where(piece == REST, REST, piece + transpose) for piece in pieces]
        lowest, highest = vocabulary.lowest_pitch, vocabulary.highest_pitch
        inputs = moved
        if transpose:
            inputs = [np.where(x == REST, REST, np.clip(x, lowest, highest)) for x in moved]
        original = vocabulary.pitches - transpose
        possible = (vocabulary.pitches < 0) | ((original >= lowest) & (original <= highest))
        ids = [vocabulary.encode_frames(piece, moved=transpose != 0) for piece in inputs]
        nats = self._nats_of_ids(ids, possible)
        return [
            np.where(there == here, values, np.inf)
            for values, there, here in zip(nats, moved, inputs, strict=True)
        ]

    def _nats_of_ids(self, ids: Sequence[np.ndarray], possible: np.ndarray) -> list[np.ndarray]:
        """Nats [num_frames, voices] of pieces of ids; pieces of similar length share a batch."""
        vocabulary = self.vocabulary
        result: list[np.ndarray] = [np.empty(0)] * len(ids)
        for chosen in _batches([len(piece) for piece in ids], vocabulary.size):
            longest = len(ids[chosen[-1]])
            targets = np.full((len(chosen), longest), PAD, np.int32)
            for row, index in zip(targets, chosen, strict=True):
                row[: len(ids[index])] = ids[index]
            inputs = np.concatenate([np.full((len(chosen), 1), END, np.int32), targets[:, :-1]], 1)
            nats = self._nats_of(*map(tf.constant, (inputs, targets, possible))).numpy()
            for row, index in zip(nats, chosen, strict=True):
                music = row[vocabulary.opening.size : len(ids[index]) - 1]
                result[index] = music.reshape(-1, vocabulary.tokens_per_frame)[:, 1:]
        return result


def _batches(lengths: Sequence[int], vocab_size: int) -> list[list[int]]:
    """The numbers of pieces of these lengths in batches, the shortest first, that fit in memory."""
    batches: list[list[int]] = [[]]
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        most = min(PIECES_AT_ONCE, LOGITS_AT_ONCE // (lengths[index] * vocab_size))
        if batches[-1] and len(batches[-1]) >= most:
            batches.append([])
        batches[-1].append(index)
    return [batch for batch in batches if batch]


def frame_nats(
    models: Sequence[Network],
    vocabulary: GridVocabulary,
    pieces: Sequence[np.ndarray],
    num_transpositions: int = 1,
) -> list[np.ndarray]:
    """Nats [num_frames, voices] of pieces of frames [num_frames, voices] of keys, 0 for a rest.

    Several models, and several transpositions of each piece, are averaged: the arithmetic mean of
    the probabilities of every note. Raises ValueError for frames that the vocabulary cannot
    express.
    """
    nats = [
        judge.nats(pieces, shift)
        for judge in (Likelihood(model, vocabulary) for model in models)
        for shift in transpositions(num_transpositions)
    ]
    return [average(np.stack(piece)) for piece in zip(*nats, strict=True)]


def transpositions(count: int) -> list[int]:
    """`count` transpositions in semitones, the nearest first: 0, -1, 1, -2, 2, ..."""
    return [(distance + 1) // 2 * (-1) ** distance for distance in range(count)]


def average(nats: np.ndarray) -> np.ndarray:
    """Nats [num_frames, voices] of the mean of probabilities, from those [experts, frames, voices].

    An expert whose transposition leaves the range of pitches has infinite nats there: it counts as
    probability 0 at that note, and not at all after it. Which experts count thus depends on the
    past alone, so the means are still probabilities that sum to 1.
    """
    experts = nats.reshape(len(nats), -1).astype(np.float64)
    can_say = np.logical_and.accumulate(np.isfinite(experts), axis=1)
    counts = np.concatenate([np.ones((len(nats), 1), bool), can_say[:, :-1]], axis=1)
    logs = np.where(counts & can_say, -experts, -np.inf)
    mean = np.logaddexp.reduce(logs, axis=0) - np.log(counts.sum(0))
    return -mean.reshape(nats.shape[1:])


def voices_of(frames: np.ndarray, has_voices: bool, num_voices: int) -> np.ndarray:
    """Frames [num_frames, num_voices] of keys, 0 for a rest, from the frames of a data set.

    Without voices, the pitches of a frame are sorted from the highest down. Raises ValueError if a
    frame has more pitches than the model has voices.
    """
    keys = np.where(frames < 0, 0, frames).astype(np.int64)
    if not has_voices:
        keys = -np.sort(-keys, axis=1)
    if keys.shape[1] > num_voices and keys[:, num_voices:].any():
        raise ValueError(
            f"a frame has {np.count_nonzero(keys, axis=1).max()} pitches and the model "
            f"{num_voices} voices. Train on data of --voices {keys.shape[1]}"
        )
    missing = max(num_voices - keys.shape[1], 0)
    return np.pad(keys, [(0, 0), (0, missing)])[:, :num_voices]
