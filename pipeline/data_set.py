"""Scores -> a data folder: parsed by many processes, split, balanced over lanes, complete."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.encoder import Encoder
from pipeline.features import NO_FEATURES, summarise
from pipeline.manifest import FILE_NAME, SPLITS, Manifest
from pipeline.notes import Score
from pipeline.parse_pool import Failure, Limits, ParsePool
from pipeline.progress import progress
from pipeline.rejects import REJECTS_FILE, check_rejects, write_rejects
from pipeline.shards import Entry, Spool, complete_folder, write_split
from pipeline.sources import Piece, assign_splits, content_digests, label_digests, open_sources
from pipeline.vocabulary import EventVocabulary, Vocabulary


@dataclass(frozen=True)
class Settings:
    """What to preprocess, and how."""

    sources: tuple[str, ...]
    out: Path
    vocabulary: Vocabulary = EventVocabulary()
    num_lanes: int = 16
    num_shards: int = 0  # per split; 0: one per lane
    seed: int = 0
    valid: float = 0.1
    test: float = 0.1
    limits: Limits = Limits()
    num_processes: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))  # cores
    max_rejects: float = 0.1  # a share of the files, or a number of files from 1 on
    force: bool = False
    reader: Callable[[Path], list[Score]] | None = None  # None: pipeline/scores.py

    def __post_init__(self) -> None:
        if self.num_lanes < 1:
            raise ValueError(f"--num-lanes {self.num_lanes}; at least 1 is needed")
        if self.num_shards % self.num_lanes:
            above = -(-self.num_shards // self.num_lanes) * self.num_lanes
            raise ValueError(
                f"--num-shards {self.num_shards} is no multiple of {self.num_lanes} lanes: some "
                f"lanes would have more files than others. Use {above}, or another --num-lanes"
            )
        if min(self.valid, self.test) < 0 or self.valid + self.test >= 1:
            raise ValueError(
                f"--valid {self.valid:g} and --test {self.test:g} leave nothing to train on; "
                "needed: shares of 0 or more whose sum is below 1"
            )

    @property
    def shares(self) -> dict[str, float]:
        """Split -> share of the pieces."""
        return dict(zip(SPLITS, (1 - self.valid - self.test, self.valid, self.test), strict=True))

    def for_manifest(self, digests: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, Any]:
        """All that decides the output, and a digest of it and of the sources' contents and labels.

        The number of processes, the place of the output and what only stops a run are left out.
        """
        decisive: dict[str, Any] = {
            "vocabulary": self.vocabulary.to_dict(),
            "num_lanes": self.num_lanes,
            "num_shards": self.num_shards or self.num_lanes,
            "seed": self.seed,
            "valid": float(self.valid),
            "test": float(self.test),
            "timeout": float(self.limits.seconds),
            "max_memory": float(self.limits.memory_gib),
            "music21": importlib.metadata.version("music21"),
            "contents": _digest(sorted(digests.items())),
        }
        if labels:  # data sets made before there were any stay what they are
            decisive["labels"] = _digest(sorted(labels.items()))
        return {"sources": list(self.sources), "digest": _digest(decisive), **decisive}


def build_data_set(settings: Settings) -> dict[str, Any]:
    """Write the data set of these settings; a summary of it, as `--json` prints it.

    Where `settings.out` holds the data set of the same sources and settings already, nothing is
    done. Raises ValueError for sources, settings or a folder that cannot be, and where more files
    are rejected than `settings.max_rejects`; nothing half-written stays then.
    """
    started = time.monotonic()
    with open_sources(settings.sources) as pieces:
        digests = content_digests(pieces)
        request = settings.for_manifest(digests, label_digests(pieces))
        found = _existing(settings, request)
        if found is None:
            with complete_folder(settings.out, replace=settings.force) as folder:
                found = _write(folder, pieces, digests, settings, request)
    return {
        "out": str(settings.out),
        "files": found.num_sources,
        "pieces": {split: found.num_pieces(split) for split in SPLITS},
        "tokens": {split: found.num_tokens(split) for split in SPLITS},
        "longest": {split: found.longest(split) for split in SPLITS},
        "rejects": found.rejects,
        "adjustments": found.adjustments,
        "seconds": round(time.monotonic() - started, 3),
    }


def _existing(settings: Settings, request: Mapping[str, Any]) -> Manifest | None:
    """The manifest in the output folder, if it is of this very request and its files are whole."""
    if settings.force or not (settings.out / FILE_NAME).is_file():
        return None
    manifest = Manifest.load(settings.out)
    if manifest.settings.get("digest") != request["digest"]:
        differing = [
            "sources" if name in ("contents", "labels") else name
            for name, value in request.items()
            if name not in ("sources", "digest") and manifest.settings.get(name) != value
        ]
        raise ValueError(
            f"{settings.out} holds a data set of other settings ({', '.join(differing)} differ). "
            "Use --force to replace it, or another --out"
        )
    manifest.verify(settings.out)
    print(f"{settings.out} holds this data set already (same sources and settings): nothing done")
    return manifest


def _write(
    folder: Path,
    pieces: Sequence[Piece],
    digests: Mapping[str, str],
    settings: Settings,
    request: dict[str, Any],
) -> Manifest:
    """Parse all pieces and write shards, list of rejects and manifest into an empty folder."""
    spool_path = folder / "spool"
    spool = Spool(spool_path)
    try:
        rejects, adjustments = _parse(pieces, digests, settings, spool)
        entries = _distinct(spool.entries, rejects)
        check_rejects(
            rejects,
            len(pieces),
            settings.max_rejects,
            settings.out.with_name(f"{settings.out.name}.{REJECTS_FILE}"),
        )
        parsed = {entry.source for entry in entries}
        remaining = [piece for piece in pieces if piece.id in parsed]
        features = {p.id: p.features for p in remaining if p.features != NO_FEATURES}
        splits = assign_splits(remaining, digests, settings.shares, settings.seed)
        members = {name: [e for e in entries if splits[e.source] == name] for name in SPLITS}
        _check_lanes(len(members["train"]), settings)
        shards = [
            shard
            for split in SPLITS
            for shard in write_split(
                folder,
                split,
                spool,
                members[split],
                num_lanes=settings.num_lanes,
                num_shards=settings.num_shards or settings.num_lanes,
                seed=settings.seed,
                features=features,
            )
        ]
    finally:
        spool.close()
    spool_path.unlink()
    manifest = Manifest(
        vocabulary=settings.vocabulary.to_dict(),
        num_lanes=settings.num_lanes,
        seed=settings.seed,
        settings=request,
        shards=tuple(shards),
        num_sources=len(pieces),
        rejects=dict(sorted(Counter(failure.kind for failure in rejects.values()).items())),
        adjustments=dict(sorted(adjustments.items())),
        features=summarise(features[e.source] for e in entries if e.source in features),
    )
    write_rejects(folder / REJECTS_FILE, rejects)
    (folder / FILE_NAME).write_text(manifest.to_json())
    return manifest


def _parse(
    pieces: Sequence[Piece], digests: Mapping[str, str], settings: Settings, spool: Spool
) -> tuple[dict[str, Failure], Counter[str]]:
    """Spool the ids of every file; (file id -> why it was rejected, notes changed by each rule)."""
    rejects: dict[str, Failure] = {}
    adjustments: Counter[str] = Counter()
    first: dict[str, Piece] = {}
    for piece in pieces:  # sorted by id: of equal files the first one stays, on every run
        same = first.setdefault(digests[piece.id], piece)
        if same is not piece:
            rejects[piece.id] = Failure("duplicate", f"the same bytes as {same.id}")
    pool: ParsePool[Piece, Any] = ParsePool(
        Encoder(settings.vocabulary, settings.reader),
        settings.num_processes,
        settings.limits,
        preload=["numpy", "music21", "pipeline.scores"],
    )
    for piece, outcome in progress(pool.run(first.values()), len(first), "files parsed"):
        if isinstance(outcome, Failure):
            rejects[piece.id] = outcome
            continue
        adjustments += outcome.adjustments
        for number, ids in enumerate(outcome.pieces, 1):
            name = piece.id if len(outcome.pieces) == 1 else f"{piece.id}#{number}"
            spool.append(name, piece.id, ids)
    return rejects, adjustments


def _distinct(entries: Sequence[Entry], rejects: dict[str, Failure]) -> list[Entry]:
    """The entries by id, without those whose ids are those of an earlier one: they are rejected."""
    first: dict[bytes, Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.piece):
        same = first.setdefault(entry.digest, entry)
        if same is not entry:
            rejects[entry.piece] = Failure("duplicate", f"the same notes as {same.piece}")
    return list(first.values())


def _check_lanes(num_pieces: int, settings: Settings) -> None:
    if num_pieces < settings.num_lanes:
        raise ValueError(
            f"{num_pieces} train pieces for {settings.num_lanes} lanes: some lanes would be empty. "
            f"Use --num-lanes {max(num_pieces, 1)} or fewer, or more scores"
        )


def _digest(contents: Any) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
