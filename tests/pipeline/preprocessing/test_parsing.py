"""What becomes of each file, whatever the order in which they are found, done and interrupted."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.preprocessing.encoder import Encoded, Encoder
from pipeline.preprocessing.killable_pool import Failure, Limits
from pipeline.preprocessing.note_counts import count_adjustments, count_notes
from pipeline.preprocessing.parsing import parse_pieces
from pipeline.preprocessing.spool import Spool
from pipeline.sources.piece import Piece
from pipeline.sources.splits import assign_splits
from pipeline.vocabulary.events import EventVocabulary

SHARES = {"train": 0.6, "valid": 0.2, "test": 0.2}


def outcome(content: int) -> list[Encoded | Failure] | Failure:
    """What parsing gives: two contents have the same notes, one three pieces, one none."""
    if content == 5:
        return Failure("unreadable", "is broken")
    ids = np.arange(content // 2, 9, dtype=np.int32)
    first = Encoded(ids, f"{content}", 10, 9, {"duration clipped": 1, "percussion left out": 1})
    if content != 4:
        return [first]
    return [first, Failure("unreadable", "a tune", 5), Encoded(ids[:3], "4", 3, 3)]


class InAnyOrder:
    """Stands for other ranks: outcomes as they come, and perhaps an end in the middle."""

    def __init__(self, contents: dict[str, int], seed: int, num_done: int | None = None) -> None:
        self._contents, self._seed, self._num_done = contents, seed, num_done

    def run(self, pool: object, tasks: Sequence[Piece]) -> Iterator[tuple[Piece, Any]]:
        shuffled = random.Random(self._seed).sample(tasks, len(tasks))
        for piece in shuffled[: self._num_done]:
            yield piece, outcome(self._contents[piece.id])
        if self._num_done is not None:
            raise KeyboardInterrupt


def parsed(
    pieces: Sequence[Piece], contents: dict[str, int], seed: int, num_done: int | None = None
) -> tuple[Any, ...]:
    """All that a data set is made of, after a run that ended early if `num_done` says when."""
    digests = {name: f"digest {content}" for name, content in contents.items()}
    encoder = Encoder(EventVocabulary())
    with TemporaryDirectory() as folder:
        for end in (num_done, None):
            spool = Spool(Path(folder), "a request")
            ranks: Any = InAnyOrder(contents, seed, end)
            try:
                found = parse_pieces(pieces, digests, spool, encoder, 1, Limits(), ranks)
            except KeyboardInterrupt:
                spool.close()
        entries, rejects = found
        ids = {entry.piece: spool.read(entry).tolist() for entry in entries}
        spool.close()
    remaining = [piece for piece in pieces if piece.id in {entry.source for entry in entries}]
    splits = assign_splits(remaining, digests, SHARES, 0)
    counts = count_adjustments(entries), count_notes(entries, rejects)
    return list(ids.items()), rejects, counts, splits


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([None, None, "test"])), max_size=12),
    st.integers(0, 1000),
    st.integers(0, 12),
)
@settings(deadline=None)
def test_the_order_of_files_and_an_end_in_the_middle_change_nothing(
    files: list[tuple[int, str | None]], seed: int, num_done: int
) -> None:
    names = [f"{number:02}.mid" for number in range(len(files))]
    contents = {name: content for name, (content, _) in zip(names, files, strict=True)}
    pieces = [
        Piece(name, Path(name), split=split) for name, (_, split) in zip(names, files, strict=True)
    ]
    shuffled = random.Random(seed).sample(pieces, len(pieces))
    ids, rejects, counts, splits = parsed(pieces, contents, seed=0)
    assert parsed(shuffled, contents, seed, num_done) == (ids, rejects, counts, splits)
    # Every file is a piece or more, or is a reject with its reason: none is lost.
    kept = {name.partition("#")[0] for name, _ in ids}
    assert kept | {name.partition("#")[0] for name in rejects} == set(names)
    # A kept piece counts once, and of a duplicate nothing was changed.
    adjustments, notes = counts
    whole = [name for name, ids_of_piece in ids if len(ids_of_piece) > 3]
    assert adjustments.get("duration clipped", 0) == len(whole)
    assert notes["kept"] == 9 * len(whole) + 3 * (len(ids) - len(whole))
    assert notes["read"] == notes["kept"] + sum(notes["dropped"].values())
