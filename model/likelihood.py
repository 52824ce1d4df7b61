"""How likely a trained network holds real frames: nats of every voice of every frame, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from model.networks import Network
from pipeline.grid import GridVocabulary
from pipeline.marks import END, PAD

PIECES_AT_ONCE = 8


def frame_nats(
    model: Network, vocabulary: GridVocabulary, pieces: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Nats [num_frames, voices] of pieces of frames [num_frames, voices] of keys, 0 for a rest.

    Left to right, each piece from its own beginning. STEP and END are given, not counted: how long
    a piece is belongs to no protocol. Raises ValueError for frames the vocabulary cannot say.
    """

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)] * 2, autograph=False)
    def nats_of(inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        logits, _ = model(inputs)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)

    ids = [vocabulary.encode_frames(piece) for piece in pieces]
    result: list[np.ndarray] = [np.empty(0)] * len(ids)
    by_length = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    for first in range(0, len(ids), PIECES_AT_ONCE):
        chosen = by_length[first : first + PIECES_AT_ONCE]
        longest = len(ids[chosen[-1]])
        targets = np.full((len(chosen), longest), PAD, np.int32)
        for row, index in zip(targets, chosen, strict=True):
            row[: len(ids[index])] = ids[index]
        inputs = np.concatenate([np.full((len(chosen), 1), END, np.int32), targets[:, :-1]], 1)
        nats = nats_of(tf.constant(inputs), tf.constant(targets)).numpy()
        for row, index in zip(nats, chosen, strict=True):
            music = row[vocabulary.opening.size : len(ids[index]) - 1]
            result[index] = music.reshape(-1, vocabulary.tokens_per_frame)[:, 1:]
    return result


def voices_of(frames: np.ndarray, has_voices: bool, num_voices: int) -> np.ndarray:
    """Frames [num_frames, num_voices] of keys, 0 for a rest, of frames as a data set keeps them.

    Where there are no voices the pitches stand from the highest down. Raises ValueError where a
    frame has more of them than the model has voices.
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
