"""Files -> ids in the spool: each different file once, by as many processes as there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pipeline.encoder import Encoded, Encoder
from pipeline.mpi_ranks import Ranks
from pipeline.parse_pool import Failure, Limits, ParsePool
from pipeline.pieces import Piece
from pipeline.progress import progress
from pipeline.spool import Entry, Spool


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
    bytes, and of pieces with equal ids, the first by id stays. The order in which files are done
    changes nothing.
    """
    first: dict[str, Piece] = {}
    rejects: dict[str, Failure] = {}
    for piece in sorted(pieces, key=lambda piece: piece.id):
        same = first.setdefault(digests[piece.id], piece)
        if same is not piece:
            rejects[piece.id] = Failure("duplicate", f"the same bytes as {same.id}")
    left = [piece for piece in first.values() if piece.id not in spool.done]
    if len(left) < len(first):
        print(f"{len(first) - len(left)} of {len(first)} files were parsed before: going on there")
    # Workers load music21 once, in the server they are forked from.
    preload = ["numpy", "music21", "pipeline.scores", *encoder.modules]
    pool: ParsePool[Piece, Encoded] = ParsePool(encoder, num_processes, limits, preload)
    with pool:
        outcomes = ranks.run(pool, left) if ranks else pool.run(left)
        for piece, outcome in progress(outcomes, len(left), "files parsed"):
            spool.append(piece.id, outcome)
    entries = _distinct(spool.entries, rejects)
    return entries, rejects | spool.failures, +spool.adjustments


def _distinct(entries: Sequence[Entry], rejects: dict[str, Failure]) -> list[Entry]:
    """The entries by id, without those whose ids are those of an earlier one: they are rejected."""
    first: dict[bytes, Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.piece):
        same = first.setdefault(entry.digest, entry)
        if same is not entry:
            rejects[entry.piece] = Failure("duplicate", f"the same notes as {same.piece}")
    return list(first.values())
