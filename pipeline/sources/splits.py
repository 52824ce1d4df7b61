"""Train, valid and test: decided by a hash of each piece's music, before transposition."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pipeline.dataset.manifest import SPLITS
from pipeline.scores.notes import DRUMS, Score, steps_of
from pipeline.sources.piece import Piece

# The same for every vocabulary, so that a piece is in the same split of all its data sets.
STEPS_PER_QUARTER = 12
# In fewer pieces than this, chance would give splits far from their shares: 23, 1 and 5 of 29.
FEW = 100


def music_digest(score: Score) -> str:
    """Hex sha256 of a score's onsets, pitches and durations.

    It is equal for copies in another key, with other velocities or programs, or written in other
    note values (4/4 and 2/2). Percussion counts only where there is nothing else.
    """
    notes = score.notes
    is_melodic = notes["program"] != DRUMS
    if not is_melodic.all() and is_melodic.any():
        notes = notes.compress(is_melodic)
    onset, end = steps_of(notes, score.resolution, STEPS_PER_QUARTER)
    duration = np.maximum(end - onset, 1)
    onset -= onset.min()
    unit = np.gcd(np.gcd.reduce(onset), np.gcd.reduce(duration))  # at least 1: durations are
    pitch = notes["pitch"].astype(np.int64)

    # One number a note, 32 + 7 + 24 bits; notes that programs play in unison are one.
    if unit > 1:
        onset //= unit
        duration //= unit
    packed = (onset << 31) + (pitch - pitch.min() << 24) + np.minimum(duration, 2**24 - 1)
    packed.sort(kind="stable")  # fast where most are in order already
    is_new = packed[1:] != packed[:-1]
    if np.count_nonzero(is_new) < is_new.size:
        packed = packed.compress(np.append(is_new, True))
    return hashlib.sha256(packed.astype("<i8").tobytes()).hexdigest()


def assign_splits(
    pieces: Sequence[Piece], digests: Mapping[str, str], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Piece id -> split, such that pieces of one digest and members of a group share one.

    A unit is all pieces that must share a split. It goes where sha256(seed, group or digest) falls
    on the line from 0 to 1, which train, valid and test divide by their shares. So a piece keeps
    its split whatever its name and whatever joins the collection (cutting an ordered list by share
    would move pieces over the borders). Only a split that is left empty takes the unit nearest to
    its border from the fullest one, in the order train, valid, test. Fewer than `FEW` pieces are
    cut by share instead, in the order of their places on the line, so that they do move when others
    come; three units are enough for three splits. Pieces with an official split stay there, and
    draw there every unit that holds a copy of theirs; where copies are in several official splits,
    to the first in that order.
    """
    official = _official_splits(pieces, digests)
    free = [piece for piece in pieces if piece.split is None]
    units = _units(free, digests)
    drawn = {
        unit: min(to, key=SPLITS.index)
        for unit, names in units.items()
        if (to := {official[digests[name]] for name in names if digests[name] in official})
    }
    place = {unit: _place_on_line(unit, seed) for unit in units if unit not in drawn}
    wanted = [split for split in SPLITS if shares.get(split, 0) > 0]
    if len(free) < FEW:
        names = _balanced(len(place), shares)
        split_of_unit = dict(zip(sorted(place, key=place.__getitem__), names, strict=True))
    else:
        split_of_unit = {unit: _split_at(on_line, shares) for unit, on_line in place.items()}

    # An empty split takes a unit.
    for split in wanted:
        filled = Counter(split_of_unit.values())
        fullest = max(wanted, key=lambda other: filled[other])
        if filled[split] == 0 and filled[fullest] > 1:
            donors = [unit for unit in place if split_of_unit[unit] == fullest]
            after = SPLITS.index(split) > SPLITS.index(fullest)
            nearest = (max if after else min)(donors, key=lambda unit: place[unit])
            split_of_unit[nearest] = split

    split_of_unit |= drawn
    splits = {piece.id: piece.split for piece in pieces if piece.split is not None}
    splits.update((name, split_of_unit[unit]) for unit, names in units.items() for name in names)
    return splits


def copies(digests: Iterable[str]) -> tuple[int, int]:
    """How many pieces have the digest of an earlier one, and how many digests occur twice."""
    counts = Counter(digests)
    return counts.total() - len(counts), sum(count > 1 for count in counts.values())


def _official_splits(pieces: Iterable[Piece], digests: Mapping[str, str]) -> dict[str, str]:
    """Digest -> official split of the pieces that have one; of several the first in `SPLITS`."""
    found: dict[str, str] = {}
    for piece in pieces:
        if piece.split is not None and piece.id in digests:
            earlier = found.get(digests[piece.id], piece.split)
            found[digests[piece.id]] = min(earlier, piece.split, key=SPLITS.index)
    return found


def _units(pieces: Iterable[Piece], digests: Mapping[str, str]) -> dict[str, list[str]]:
    """Unit -> ids of its pieces. A unit's name is its first group's, without groups its digest.

    Groups that share a digest are one unit: the same tune may be in two games.
    """
    name_of: dict[str, str] = {}  # a digest's first group, a group's earlier one

    def first(name: str) -> str:
        while name in name_of:
            name = name_of[name]
        return name

    pieces = list(pieces)
    for piece in pieces:
        if piece.group is not None:
            ends = sorted({first(f"digest {digests[piece.id]}"), first(piece.group)})
            ends.sort(key=lambda name: name.startswith("digest "))  # groups give the name
            name_of.update((other, ends[0]) for other in ends[1:])
    units: dict[str, list[str]] = defaultdict(list)
    for piece in pieces:
        unit = first(piece.group or f"digest {digests[piece.id]}")
        units[unit.removeprefix("digest ")].append(piece.id)
    return dict(units)


def _place_on_line(unit: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{unit}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _balanced(num_units: int, shares: Mapping[str, float]) -> list[str]:
    """A split for each unit, in the order of `SPLITS`: by share, rounded, and none left empty.

    Of fewer units than splits the later splits get none.
    """
    counts = {
        split: max(1, round(num_units * shares[split])) if shares.get(split, 0) > 0 else 0
        for split in SPLITS[1:]
    }
    while counts and sum(counts.values()) >= num_units and any(counts.values()):
        fullest = max(reversed(counts), key=lambda split: counts[split])
        counts[fullest] -= 1
    names = [split for split, count in counts.items() for _ in range(count)]
    return [SPLITS[0]] * (num_units - len(names)) + names


def _split_at(place: float, shares: Mapping[str, float]) -> str:
    border = 0.0
    for split in SPLITS[:-1]:
        border += shares.get(split, 0.0)
        if place < border - 1e-12:
            return split
    return SPLITS[-1]
