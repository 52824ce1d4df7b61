"""Command: scores -> sharded TFRecords and `manifest.json`.

python pipeline/preprocess.py bach --out data/bach
python pipeline/preprocess.py my_midi_files/ more.zip --out data/mine --instruments
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import from the root, not from pipeline/
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.command import run_command
from pipeline.encoder import Encoder
from pipeline.manifest import FILE_NAME, SPLITS, Manifest
from pipeline.notes import Score
from pipeline.parse_pool import Failure, Limits, ParsePool
from pipeline.progress import progress
from pipeline.shards import Entry, Spool, complete_folder, write_split
from pipeline.sources import NAMED_SOURCES, Piece, assign_splits, content_digests, open_sources
from pipeline.vocabulary import EventVocabulary

REJECTS_FILE = "rejects.csv"


@dataclass(frozen=True)
class Settings:
    """What to preprocess, and how."""

    sources: tuple[str, ...]
    out: Path
    vocabulary: EventVocabulary = EventVocabulary()
    num_lanes: int = 16
    num_shards: int = 0  # per split; 0: one per lane
    seed: int = 0
    valid: float = 0.1
    test: float = 0.1
    limits: Limits = Limits()
    num_processes: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
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

    def for_manifest(self, digests: Mapping[str, str]) -> dict[str, Any]:
        """All that decides the output, and a digest of it and of the sources' contents.

        The number of processes, the place of the output and what only stops a run are left out.
        """
        import importlib.metadata

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
        return {"sources": list(self.sources), "digest": _digest(decisive), **decisive}


def preprocess(settings: Settings) -> dict[str, Any]:
    """Write the data set of these settings; a summary of it, as `--json` prints it.

    Where `settings.out` holds the data set of the same sources and settings already, nothing is
    done. Raises ValueError for sources, settings or a folder that cannot be, and where more files
    are rejected than `settings.max_rejects`; nothing half-written stays then.
    """
    started = time.monotonic()
    with open_sources(settings.sources) as pieces:
        digests = content_digests(pieces)
        request = settings.for_manifest(digests)
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
            "sources" if name == "contents" else name
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
        _stop_at_too_many(rejects, len(pieces), settings)
        parsed = {entry.source for entry in entries}
        remaining = [piece for piece in pieces if piece.id in parsed]
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
    )
    _write_rejects(folder / REJECTS_FILE, rejects)
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


def _stop_at_too_many(rejects: Mapping[str, Failure], num_files: int, settings: Settings) -> None:
    failed = {name: why for name, why in rejects.items() if why.kind != "duplicate"}
    limit = settings.max_rejects
    allowed = int(limit) if limit >= 1 else int(limit * num_files)
    if len(failed) <= allowed:
        return
    path = settings.out.with_name(settings.out.name + f".{REJECTS_FILE}")
    _write_rejects(path, rejects)
    for name, failure in sorted(failed.items())[:20]:
        print(f"  {name}: {failure.kind}: {failure.reason}", file=sys.stderr)
    raise ValueError(
        f"{len(failed)} of {num_files} files could not be used, {allowed} would be accepted. The "
        f"list is in {path}. Mend or remove them, or raise --max-rejects"
    )


def _check_lanes(num_pieces: int, settings: Settings) -> None:
    if num_pieces < settings.num_lanes:
        raise ValueError(
            f"{num_pieces} train pieces for {settings.num_lanes} lanes: some lanes would be empty. "
            f"Use --num-lanes {max(num_pieces, 1)} or fewer, or more scores"
        )


def _write_rejects(path: Path, rejects: Mapping[str, Failure]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["source", "kind", "reason"])
        writer.writerows([name, why.kind, why.reason] for name, why in sorted(rejects.items()))


def _digest(contents: Any) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def _share(text: str) -> float:
    """0.1 from '0.1' or '10%'."""
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def parse_arguments(argv: Sequence[str] | None) -> tuple[Settings, Path | None]:
    """The settings that the flags say, and where to write the summary."""
    default = Settings((), Path())
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0].removeprefix("Command: "),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help=f"a folder, a score, a .zip or .tar of scores, or: {', '.join(NAMED_SOURCES)}",
    )
    add("--out", type=Path, required=True, help="folder to write; it appears when complete")
    add("--processes", type=int, default=default.num_processes, help="parsing at the same time")
    add("--timeout", type=float, default=60.0, help="seconds for one file")
    add("--max-memory", type=float, default=Limits().memory_gib, help="GiB for one process")
    add("--max-rejects", type=_share, default="10%", help="files that may fail: share or number")
    add("--num-lanes", type=int, default=16, help="streams of pieces; workers must divide them")
    add("--num-shards", type=int, default=0, help="files per split; 0: one for each lane")
    add("--valid", type=_share, default="10%", help="share of the pieces for validation")
    add("--test", type=_share, default="10%", help="share of the pieces for the final test")
    add("--seed", type=int, default=0, help="decides the splits and the order in the shards")
    add("--steps-per-quarter", type=int, default=12, help="time grid; 12 fits triplets and 16ths")
    add("--velocity-bins", type=int, default=0, help="levels of loudness; 0: none")
    add("--instruments", action="store_true", help="keep programs and percussion")
    add("--force", action="store_true", help="replace a data set of other settings")
    add("--json", type=Path, metavar="FILE", help="write the summary there too")
    flags = parser.parse_args(argv)
    settings = Settings(
        sources=tuple(flags.sources),
        out=flags.out,
        vocabulary=EventVocabulary(
            steps_per_quarter=flags.steps_per_quarter,
            max_shift=4 * flags.steps_per_quarter,  # a bar of 4/4
            max_duration=8 * flags.steps_per_quarter,
            velocity_bins=flags.velocity_bins,
            instruments=flags.instruments,
        ),
        num_lanes=flags.num_lanes,
        num_shards=flags.num_shards,
        seed=flags.seed,
        valid=flags.valid,
        test=flags.test,
        limits=Limits(flags.timeout, flags.max_memory),
        num_processes=flags.processes,
        max_rejects=flags.max_rejects,
        force=flags.force,
    )
    return settings, flags.json


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print what is in the data set and what happened to what is not."""
    pieces, tokens = summary["pieces"], summary["tokens"]
    print(f"{summary['out']}: {sum(pieces.values())} pieces from {summary['files']} files")
    for split in SPLITS:
        longest = summary["longest"][split]
        print(f"  {split:5} {pieces[split]:8} pieces {tokens[split]:12} tokens, longest {longest}")
    for title, counts in (("rejected", summary["rejects"]), ("adjusted", summary["adjustments"])):
        for what, count in counts.items():
            print(f"  {title}: {count} {what}")
    print(f"  {summary['seconds']:.1f} seconds")


def run(argv: Sequence[str] | None) -> None:
    """Preprocess as the flags say."""
    settings, json_file = parse_arguments(argv)
    summary = preprocess(settings)
    print_summary(summary)
    if json_file is not None:
        json_file.write_text(json.dumps(summary, indent=2) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code of the command."""
    return run_command(lambda: run(argv))


if __name__ == "__main__":
    sys.exit(main())
