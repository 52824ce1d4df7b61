"""Copying: how much of a piece is in the training set, in any key. NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.vocabulary.frames import REST

QUARTERS = 8  # of a window: two bars, long enough that two are not equal by chance


def windows(frames: np.ndarray, steps_per_quarter: int) -> list[bytes]:
    """The windows of 8 quarters of a piece of keys [num_frames, voices], one from each quarter on.

    A window holds the pitches that sound at each quarter, in any voice, counted from its lowest
    one: it is the same in every key. Notes between the quarters, mostly passing notes, do not
    count.
    """
    quarters = np.sort(frames[::steps_per_quarter], axis=1).astype(np.int16)
    if len(quarters) < QUARTERS:
        return []
    views = np.lib.stride_tricks.sliding_window_view(quarters, QUARTERS, axis=0)
    lowest = np.where(views == REST, np.iinfo(np.int16).max, views).min((1, 2), keepdims=True)
    moved = np.where(views == REST, -1, views - lowest)
    return [window.tobytes() for window in moved]


def count_copies(
    train: Iterable[np.ndarray], pieces: Sequence[np.ndarray], steps_per_quarter: int
) -> np.ndarray:
    """[num_pieces, 2]: how many windows of each piece are in train, and how many it has."""
    known = {window for piece in train for window in windows(piece, steps_per_quarter)}
    counts = []
    for piece in pieces:
        own = windows(piece, steps_per_quarter)
        counts.append((sum(window in known for window in own), len(own)))
    return np.array(counts, np.int64).reshape(-1, 2)
