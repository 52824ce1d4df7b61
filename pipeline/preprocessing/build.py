"""Scores -> a data folder: collected, parsed, assigned to splits, written as shards."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.dataset.manifest import FILE_NAME, SPLITS, Manifest
from pipeline.preprocessing.encoder import Encoder
from pipeline.preprocessing.killable_pool import Limits
from pipeline.preprocessing.mpi_ranks import Ranks
from pipeline.preprocessing.note_counts import count_adjustments, count_notes
from pipeline.preprocessing.output_folder import complete_folder
from pipeline.preprocessing.parsing import parse_pieces
from pipeline.preprocessing.rejects import REJECTS_FILE, check_rejects, write_rejects
from pipeline.preprocessing.shards import good_number_of_shards, write_split
from pipeline.preprocessing.spool import Entry, Spool
from pipeline.runtime.tables import print_line
from pipeline.scores.formats import AS_WRITTEN, Reading
from pipeline.scores.labels import NO_FEATURES, summarise
from pipeline.scores.notes import Score
from pipeline.sources.collect import content_digests, label_digests, open_sources
from pipeline.sources.piece import Piece
from pipeline.sources.splits import assign_splits, copies
from pipeline.vocabulary.conditions import check_labelled
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.registry import Vocabulary

MOST_LANES = 16  # unless others are asked for


@dataclass(frozen=True)
class Settings:
    """What is preprocessed, and how."""

    sources: tuple[str, ...]
    out: Path
    vocabulary: Vocabulary = EventVocabulary()
    num_lanes: int = MOST_LANES
    fewer_lanes: bool = False  # a small train split has as many lanes as it carries
    num_shards: int = 0  # per split; 0: by size, see good_number_of_shards
    seed: int = 0
    valid: float = 0.1
    test: float = 0.1
    limits: Limits = Limits()
    num_processes: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))  # cores
    max_rejects: float = 0.1  # a share of files and tunes, or from 1 on a number of them
    force: bool = False
    reading: Reading = AS_WRITTEN
    cache: Path | None = None  # folder of scores that were read before; None: no cache
    reader: Callable[[Path], list[Score]] | None = None  # None: pipeline/scores/reading.py

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
        """All settings that decide the output, with a digest of them, the contents and the labels.

        The number of processes, the output's path and what only stops a run are left out.
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
            **self.reading.for_manifest(),
            "contents": _digest(sorted(digests.items())),
        }
        if labels:  # left out where there are none: older data sets keep their digests
            decisive["labels"] = _digest(sorted(labels.items()))
        return {"sources": list(self.sources), "digest": _digest(decisive), **decisive}


def build_data_set(settings: Settings, ranks: Ranks | None = None) -> dict[str, Any]:
    """Write the data set of these settings; returns the summary that `--json` writes.

    Does nothing if `settings.out` holds the data set of the same sources and settings. Raises
    ValueError for sources, settings or a folder that cannot be used, and where more pieces are
    rejected than `settings.max_rejects`; then nothing half-written stays. A run that is killed or
    interrupted leaves its work beside the folder, and the next one of the same settings continues
    there. `ranks` are other processes that parse too.
    """
    settings.reading.check()
    started = time.monotonic()
    with open_sources(settings.sources) as pieces:
        check_labelled(settings.vocabulary.conditions, [piece.features for piece in pieces])
        digests = content_digests(pieces)
        request = settings.for_manifest(digests, label_digests(pieces))
        found = _existing(settings, request)
        if found is None:
            with complete_folder(settings.out, replace=settings.force) as folder:
                found = _write(folder, pieces, digests, settings, request, ranks)
    return {
        "out": str(settings.out),
        "files": found.num_sources,
        "pieces": {split: found.num_pieces(split) for split in SPLITS},
        "tokens": {split: found.num_tokens(split) for split in SPLITS},
        "longest": {split: found.longest(split) for split in SPLITS},
        "rejects": found.rejects,
        "adjustments": found.adjustments,
        "notes": found.notes,
        "seconds": round(time.monotonic() - started, 3),
    }


def _existing(settings: Settings, request: Mapping[str, Any]) -> Manifest | None:
    """The manifest in the output folder, if it is of this request and its files are undamaged.

    Raises ValueError for a data set of other settings.
    """
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
    print_line(
        f"{settings.out} holds this data set already (same sources and settings): nothing done"
    )
    return manifest


def _write(
    folder: Path,
    pieces: Sequence[Piece],
    digests: Mapping[str, str],
    settings: Settings,
    request: dict[str, Any],
    ranks: Ranks | None,
) -> Manifest:
    """Parse all pieces and write shards, list of rejects and manifest into the folder.

    Continues where a run of the same request was killed in this folder.
    """
    spool = Spool(folder, request["digest"])
    try:
        # Parse.
        entries, rejects = parse_pieces(
            pieces,
            digests,
            spool,
            Encoder(settings.vocabulary, settings.reader, settings.reading, settings.cache),
            settings.num_processes,
            settings.limits,
            ranks,
        )
        check_rejects(
            rejects,
            len(entries) + len(rejects),
            settings.max_rejects,
            settings.out.with_name(f"{settings.out.name}.{REJECTS_FILE}"),
            "files" if len(entries) + len(rejects) == len(pieces) else "files and tunes of files",
        )

        # Assign the pieces to splits.
        parsed = {entry.source for entry in entries}
        remaining = [piece for piece in pieces if piece.id in parsed]
        features = {p.id: p.features for p in remaining if p.features != NO_FEATURES}
        splits, copied = _split(entries, {piece.id: piece for piece in remaining}, settings)
        members = {name: [e for e in entries if splits[e.piece] == name] for name in SPLITS}
        _warn_of_empty_valid(len(members["valid"]), settings)
        num_lanes = _num_lanes(len(members["train"]), settings)

        # Write the shards, then what describes them.
        shards = [
            shard
            for split in SPLITS
            for shard in write_split(
                folder,
                split,
                spool,
                members[split],
                num_lanes=num_lanes,
                num_shards=settings.num_shards or good_number_of_shards(members[split], num_lanes),
                seed=settings.seed,
                features=features,
            )
        ]
    finally:
        spool.close()
    manifest = Manifest(
        vocabulary=settings.vocabulary.to_dict(),
        num_lanes=num_lanes,
        seed=settings.seed,
        settings=request,
        shards=tuple(shards),
        num_sources=len(pieces),
        rejects=dict(sorted(Counter(failure.kind for failure in rejects.values()).items())),
        adjustments=count_adjustments(entries),
        notes=count_notes(entries, rejects),
        features=summarise(features[e.source] for e in entries if e.source in features),
        copies=copied,
    )
    write_rejects(folder / REJECTS_FILE, rejects)
    (folder / FILE_NAME).write_text(manifest.to_json())
    return manifest


def _split(
    entries: Sequence[Entry], sources: Mapping[str, Piece], settings: Settings
) -> tuple[dict[str, str], dict[str, int]]:
    """Piece id -> split, and the numbers of copies for the manifest, which it also prints.

    The tunes of a book are split apart.
    """
    pieces = [replace(sources[entry.source], id=entry.piece) for entry in entries]
    music = {entry.piece: entry.music for entry in entries}
    official = {music[piece.id] for piece in pieces if piece.split is not None}
    free = [music[piece.id] for piece in pieces if piece.split is None]
    num_copies, num_groups = copies([*official, *free])
    if num_copies:
        print_line(
            f"{num_copies} pieces are copies of others (in another key, velocity, program or note "
            f"value): {num_groups} groups of copies each stay in one split"
        )
    copied = {"pieces": num_copies, "groups": num_groups} if num_copies else {}
    return assign_splits(pieces, music, settings.shares, settings.seed), copied


def _warn_of_empty_valid(num_pieces: int, settings: Settings) -> None:
    if not num_pieces:
        print_line(
            f"warning: the valid split is empty (--valid {settings.valid:g}): a training on this "
            "data set goes without evaluation. For one, use a larger --valid or more scores, or a "
            "data set whose official split has one",
            sys.stderr,
        )


def _num_lanes(num_pieces: int, settings: Settings) -> int:
    """The lanes of so many train pieces: those of the settings or, if allowed, fewer.

    Fewer are the largest power of two that leaves none empty: batches and numbers of workers are
    often powers of two. Raises ValueError where some would be empty.
    """
    if settings.fewer_lanes and 0 < num_pieces < settings.num_lanes:
        num_lanes = 1 << (num_pieces.bit_length() - 1)
        print_line(
            f"lanes: {num_lanes} instead of {settings.num_lanes}, so that none of them is empty: "
            f"at most {num_lanes} process{'es' * (num_lanes > 1)} can train on this data set"
        )
        return num_lanes
    if num_pieces < settings.num_lanes:
        raise ValueError(
            f"{num_pieces} train pieces for {settings.num_lanes} lanes: some lanes would be empty. "
            f"Use --num-lanes {max(num_pieces, 1)} or fewer, or more scores"
        )
    return settings.num_lanes


def _digest(contents: Any) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
