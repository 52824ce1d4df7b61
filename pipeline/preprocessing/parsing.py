"""Files -> ids in the spool: each different file once, by as many processes as there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set

from pipeline.preprocessing.encoder import Encoded, Encoder
from pipeline.preprocessing.killable_pool import Failure, Limits, ParsePool
from pipeline.preprocessing.mpi_ranks import Ranks
from pipeline.preprocessing.spool import Entry, Spool
from pipeline.runtime.progress import progress
from pipeline.sources.piece import Piece


def parse_pieces(
    pieces: Sequence[Piece],
    digests: Mapping[str, str],
    spool: Spool,
    encoder: Encoder,
    num_processes: int,
    limits: Limits,
    ranks: Ranks | None = None,
) -> tuple[list[Entry], dict[str, Failure], Counter[str]]:
    """What came of every file: pieces in the spool, why it was rejected, notes changed by rules.

    Files that the spool has from a run that was killed are not read again. Of files with equal
    bytes, and of pieces with equal ids, the first by id stays; but an official split stays whole,
    as published figures are of all its pieces. The order in which files are done changes nothing.
    """
    official = {piece.id for piece in pieces if piece.split is not None}
    first: dict[str, Piece] = {}
    kept: list[Piece] = []
    rejects: dict[str, Failure] = {}
    for piece in sorted(pieces, key=lambda piece: (piece.id not in official, piece.id)):
        same = first.setdefault(digests[piece.id], piece)
        if same is piece or piece.id in official:
            kept.append(piece)
        else:
            rejects[piece.id] = Failure("duplicate", f"the same bytes as {same.id}")
    left = [piece for piece in kept if piece.id not in spool.done]
    if len(left) < len(kept):
        print(f"{len(kept) - len(left)} of {len(kept)} files were parsed before: going on there")
    # Workers load music21 once, in the server they are forked from.
    preload = ["numpy", "music21", "pipeline.scores.reading", *encoder.modules]
    pool: ParsePool[Piece, Encoded] = ParsePool(encoder, num_processes, limits, preload)
    with pool:
        outcomes = ranks.run(pool, left) if ranks else pool.run(left)
        for piece, outcome in progress(outcomes, len(left), "files parsed"):
            spool.append(piece.id, outcome)
    entries = _distinct(spool.entries, official, rejects)
    return entries, rejects | spool.failures, +spool.adjustments


def _distinct(
    entries: Sequence[Entry], official: Set[str], rejects: dict[str, Failure]
) -> list[Entry]:
    """The entries by id, without those whose ids are those of an earlier one: they are rejected."""
    first: dict[bytes, Entry] = {}
    kept: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: (entry.source not in official, entry.piece)):
        same = first.setdefault(entry.digest, entry)
        if same is entry or entry.source in official:
            kept.append(entry)
        else:
            rejects[entry.piece] = Failure("duplicate", f"the same notes as {same.piece}")
    return sorted(kept, key=lambda entry: entry.piece)
