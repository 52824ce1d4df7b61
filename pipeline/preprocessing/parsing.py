"""Files -> ids in the spool: each different file once, on all processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from pipeline.preprocessing.encoder import Encoded, Encoder
from pipeline.preprocessing.killable_pool import Failure, Limits, ParsePool
from pipeline.preprocessing.mpi_ranks import Ranks
from pipeline.preprocessing.spool import Entry, Spool
from pipeline.runtime.progress import progress
from pipeline.runtime.tables import print_line
from pipeline.sources.piece import Piece

Pool = ParsePool[Piece, list[Encoded | Failure]]


def parse_pieces(
    pieces: Sequence[Piece],
    digests: Mapping[str, str],
    spool: Spool,
    encoder: Encoder,
    num_processes: int,
    limits: Limits,
    ranks: Ranks | None = None,
) -> tuple[list[Entry], dict[str, Failure]]:
    """(pieces in the spool, reasons by rejected file or piece of a file); they are all there is.

    Files that are in the spool already, from a run that was killed, are not read again. Of files
    with equal bytes, and of pieces with equal ids, only the first by name is kept; but a piece with
    an official split is always kept, as published figures are of all pieces of that split. The
    order in which files are done changes nothing.
    """
    # Files with equal bytes: one is kept.
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

    # The files that are left to parse.
    left = [piece for piece in kept if piece.id not in spool.done]
    if len(left) < len(kept):
        print_line(
            f"{len(kept) - len(left)} of {len(kept)} files were parsed before: going on there"
        )
    # music21 is loaded once, in the server from which the workers are forked.
    preload = ["numpy", "music21", "pipeline.scores.reading", *encoder.modules]
    pool: Pool = ParsePool(encoder, num_processes, limits, preload)
    with pool:
        outcomes = ranks.run(pool, left) if ranks else pool.run(left)
        for piece, outcome in progress(outcomes, len(left), "files parsed"):
            spool.append(piece.id, outcome)

    # Pieces with equal ids: one is kept.
    entries = _distinct(spool.entries, official, rejects)
    return entries, rejects | spool.failures


def _distinct(
    entries: Sequence[Entry], official: Set[str], rejects: dict[str, Failure]
) -> list[Entry]:
    """The entries sorted by name, each token sequence once; the others are added to `rejects`."""
    first: dict[bytes, Entry] = {}
    kept: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: (entry.source not in official, entry.piece)):
        same = first.setdefault(entry.digest, entry)
        if same is entry or entry.source in official:
            kept.append(entry)
        else:
            why = f"the same notes as {same.piece}"
            rejects[entry.piece] = Failure("duplicate", why, entry.notes_read)
    return sorted(kept, key=lambda entry: entry.piece)
