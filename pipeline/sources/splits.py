"""Train, valid and test: decided by a hash of each piece, before transposition."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from pipeline.dataset.manifest import SPLITS
from pipeline.sources.piece import Piece


def assign_splits(
    pieces: Sequence[Piece], digests: Mapping[str, str], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Piece id -> split, such that equal files and the members of a group share one.

    A piece goes where sha256(seed, group or content) falls on the line from 0 to 1, which train,
    valid and test divide by their shares. So a piece keeps its split whatever its name and whoever
    joins the collection (cutting an ordered list by share would move pieces over the borders). Only
    a split that is left empty takes the unit nearest to its border from the fullest one, in the
    order train, valid, test: three units are enough for three splits.
    Pieces with an official split stay there.
    """
    units: dict[str, list[str]] = {}
    for piece in pieces:
        if piece.split is None:
            units.setdefault(piece.group or digests[piece.id], []).append(piece.id)
    place = {unit: _place_on_line(unit, seed) for unit in units}
    wanted = [split for split in SPLITS if shares.get(split, 0) > 0]
    split_of_unit = {unit: _split_at(place[unit], shares) for unit in units}
    for split in wanted:
        filled = Counter(split_of_unit.values())
        fullest = max(wanted, key=lambda other: filled[other])
        if filled[split] == 0 and filled[fullest] > 1:
            donors = [unit for unit in units if split_of_unit[unit] == fullest]
            after = SPLITS.index(split) > SPLITS.index(fullest)
            nearest = (max if after else min)(donors, key=lambda unit: place[unit])
            split_of_unit[nearest] = split
    splits = {piece.id: piece.split for piece in pieces if piece.split is not None}
    splits.update((name, split_of_unit[unit]) for unit, names in units.items() for name in names)
    return splits


def _place_on_line(unit: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{unit}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _split_at(place: float, shares: Mapping[str, float]) -> str:
    border = 0.0
    for split in SPLITS[:-1]:
        border += shares.get(split, 0.0)
        if place < border - 1e-12:
            return split
    return SPLITS[-1]
