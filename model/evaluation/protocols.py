"""The two protocols of published likelihoods, and the figures that may be compared. NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.runtime.tables import NOTHING, aligned_lines
from pipeline.sources.json_frames import FrameSet

GRAM = 12  # intervals by which a tune is recognised


@dataclass(frozen=True)
class Protocol:
    """A protocol: its unit, and the published figures that it may be compared with."""

    name: str
    unit: str  # of the published figure: nats_per_note or nats_per_frame
    comparable: str


NOTES = Protocol(
    "16th-grid JSB, nats per note token",
    "nats_per_note",
    "validation split: LSTM 0.447, Coconet in order 0.436, Transformer 0.417, Music Transformer "
    "0.335 (arXiv 1809.04281); not TonicNet's 0.22 (given the frame's chord; with the chord 0.396 "
    "at most), nor Coconet's orderless 0.238",
)
FRAMES = Protocol(
    "frames of Boulanger-Lewandowski 2012, nats per frame",
    "nats_per_frame",
    "test split, JSB / Nottingham / MuseData / Piano-midi.de: of the whole frame RNN-NADE 5.56 / "
    "2.31 / 5.60 / 7.05; JSB / Nottingham with independent outputs LSTM 8.45 / 3.29, TCN 8.10 / "
    "3.07 (arXiv 1803.01271)",
)


def protocol_of(frame_set: FrameSet) -> Protocol:
    """The protocol of a data set's frames: those with voices, or those of sounding pitches."""
    return NOTES if frame_set.has_voices else FRAMES


def figures(nats: Sequence[np.ndarray]) -> dict[str, Any]:
    """Means and counts over all frames of all pieces, from nats [num_frames, voices] of each."""
    total = float(sum(piece.sum(dtype=np.float64) for piece in nats))
    num_frames = sum(len(piece) for piece in nats)
    num_notes = sum(piece.size for piece in nats)
    return {
        "nats_per_note": total / num_notes if num_notes else None,
        "nats_per_frame": total / num_frames if num_frames else None,
        "pieces": len(nats),
        "frames": num_frames,
        "notes": num_notes,
    }


def tune_overlap(train: Sequence[np.ndarray], pieces: Sequence[np.ndarray]) -> np.ndarray:
    """The share [num_pieces] of each piece's tune that is in train; 0 for a tune unknown there.

    Measured by the first voice's runs of 12 intervals between successive different pitches.
    """
    known = {gram for piece in train for gram in _grams(piece)}
    found = [[gram in known for gram in _grams(piece)] for piece in pieces]
    return np.array([float(np.mean(grams)) if grams else 0.0 for grams in found])


def report(
    frame_set: FrameSet, split: str, nats: Sequence[np.ndarray], model: str, family: str
) -> dict[str, Any]:
    """The likelihood of a split, its unit, and the figures that it may be compared with.

    `nats` [num_frames, voices] of each piece. With voices also for the pieces whose tune is not in
    train ("clean"), and for those of which half the tune or more is ("shared").
    """
    protocol = protocol_of(frame_set)
    contents: dict[str, Any] = {
        "protocol": protocol.name,
        "unit": protocol.unit,
        "comparable": protocol.comparable,
        "model": model,
        "family": family,
        "split": split,
        **figures(nats),
    }
    if not frame_set.has_voices:
        contents["nats_per_note"] = None  # without voices a note is not defined
    if frame_set.has_voices and split != "train":
        overlap = tune_overlap(frame_set.splits["train"], frame_set.splits[split])
        for name, chosen in (("clean", overlap == 0), ("shared", overlap >= 0.5)):
            part = [piece for piece, wanted in zip(nats, chosen, strict=True) if wanted]
            contents[name] = figures(part)
    return contents


def describe(contents: dict[str, Any]) -> str:
    """The report as lines of text."""
    lines = [
        f"protocol: {contents['protocol']}; {contents['split']} split",
        f"model: {contents['model']}; {contents['family']}",
        f"may be compared with: {contents['comparable']}",
    ]
    rows = []
    titles = {"": "all", "clean": "tune not in train", "shared": "half the tune in train"}
    for name, title in titles.items():
        part = contents[name] if name else contents
        nats = (_shown(part["nats_per_note"]), _shown(part["nats_per_frame"]))
        rows.append((title, str(part["pieces"]), str(part["frames"]), *nats))
        if "clean" not in contents:
            break
    columns = ("pieces", ">number", ">frames", ">nats/note", ">nats/frame")
    return "\n".join([*lines, *aligned_lines(columns, rows)])


def _shown(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}"


def _grams(piece: np.ndarray) -> list[tuple[int, ...]]:
    """The runs of `GRAM` intervals of the first voice, repeated pitches merged."""
    tune = piece[:, 0].astype(np.int64)
    tune = tune[tune >= 0]
    intervals = np.diff(tune[np.append(True, np.diff(tune) != 0)[: tune.size]]).tolist()
    return [tuple(intervals[i : i + GRAM]) for i in range(len(intervals) - GRAM + 1)]
