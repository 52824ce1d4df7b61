"""`manifest.json`: what a data set holds, and the check that its files are what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from pipeline.runtime.files import file_sha256
from pipeline.scores.counted_rules import ADD, LEAVE_OUT
from pipeline.vocabulary.registry import Vocabulary, vocabulary_from_dict

SCHEMA_VERSION = 2  # of the manifest and of the records (records.py)
READABLE_SCHEMAS = (1, 2)  # in schema 1 no piece has features; all else is the same
FILE_NAME = "manifest.json"
OWN_DIGEST = "contents_sha256"  # entry of manifest.json; data sets of older versions have none
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Shard:
    """One TFRecord file of pieces. Shard i of a split belongs to lane i % num_lanes."""

    file: str  # name within the data folder
    split: str
    num_pieces: int
    num_tokens: int  # START and END included
    longest: int  # tokens of the longest piece
    sha256: str

    def __post_init__(self) -> None:
        _check_types(self)
        if Path(self.file).name != self.file:
            raise ValueError(f"shard {self.file!r} is not in the data folder itself")


@dataclass(frozen=True)
class Manifest:
    """A data set's contents; shards are listed split by split, in lane order."""

    vocabulary: dict[str, Any]
    num_lanes: int
    seed: int
    settings: dict[str, Any]  # what preprocess.py was asked for, sources included
    shards: tuple[Shard, ...]
    num_sources: int = 0
    rejects: dict[str, int] = field(default_factory=dict)  # kind -> files and tunes of files
    adjustments: dict[str, int] = field(default_factory=dict)  # rule -> notes of these pieces
    # feature -> pieces that have it, and its values or range: see labels.summarise
    features: dict[str, dict[str, Any]] = field(default_factory=dict)
    # "pieces" that are copies of others, and "groups" of copies; empty where there are none
    copies: dict[str, int] = field(default_factory=dict)
    # notes "read", "kept", "dropped" and "added" by rule: see note_counts.py in preprocessing;
    # empty in data sets of older versions
    notes: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        _check_types(self)
        if self.num_lanes < 1:
            raise ValueError(f"num_lanes is {self.num_lanes}; at least 1 is needed")

    @property
    def open_vocabulary(self) -> Vocabulary:
        """The vocabulary that the ids belong to."""
        return vocabulary_from_dict(self.vocabulary)

    def of_split(self, split: str) -> list[Shard]:
        """The shards of a split, in lane order."""
        return [shard for shard in self.shards if shard.split == split]

    def lanes(self, split: str) -> list[list[Shard]]:
        """The shards of each lane: num_lanes lists, some perhaps empty."""
        shards = self.of_split(split)
        return [shards[lane :: self.num_lanes] for lane in range(self.num_lanes)]

    def num_pieces(self, split: str) -> int:
        """Pieces in a split."""
        return sum(shard.num_pieces for shard in self.of_split(split))

    def num_tokens(self, split: str) -> int:
        """Tokens in a split, START and END included."""
        return sum(shard.num_tokens for shard in self.of_split(split))

    def longest(self, split: str) -> int:
        """Tokens of the longest piece of a split."""
        return max((shard.longest for shard in self.of_split(split)), default=0)

    def digest(self) -> str:
        """sha256 of the contents: equal on hosts that hold the same data set."""
        return _sha256(self._contents())

    def to_json(self) -> str:
        """The text of `manifest.json`, the same bytes for the same contents.

        It holds its own digest, but for a data set of schema 1, which never had one.
        """
        contents = self._contents()
        own = {} if self.schema == 1 else {OWN_DIGEST: _sha256(contents)}
        return _text(contents | own)

    def _contents(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        contents = asdict(self)
        if self.schema == 1:  # as it was written, so that its digest stays what runs recorded
            del contents["features"]
        for name in ("copies", "notes"):  # left out, as data sets of older versions have it
            if not contents[name]:
                del contents[name]
        return contents

    @classmethod
    def load(cls, data_dir: Path) -> Manifest:
        """The manifest of a data folder.

        Raises ValueError where there is none, it cannot be read, another schema wrote it, or its
        contents are not those of its own digest.
        """
        path = data_dir / FILE_NAME
        if not data_dir.is_dir() or not path.is_file():
            is_used = data_dir.is_dir() and any(data_dir.iterdir())
            scores, out = (data_dir, "data/NAME") if is_used else ("bach", data_dir)
            raise ValueError(
                f"no data set in {data_dir} ({FILE_NAME} is missing). Make one"
                f"{' of the scores in it' * is_used} with: "
                f"python pipeline/preprocess.py {scores} --out {out}"
            )
        try:
            contents = json.loads(path.read_text())
            found = contents["schema"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not a manifest ({error!r}). Run pipeline/preprocess.py again"
            ) from None
        if found not in READABLE_SCHEMAS:
            raise ValueError(
                f"{path} has schema version {found}; this program reads versions "
                f"{', '.join(map(str, READABLE_SCHEMAS))}. Run pipeline/preprocess.py again with "
                "this version"
            )
        if OWN_DIGEST in contents and contents.pop(OWN_DIGEST) != _sha256(contents):
            raise ValueError(
                f"{path} is damaged: its sha256 is not its own. Copy the data folder again or run "
                "pipeline/preprocess.py again"
            )
        try:
            contents["shards"] = tuple(Shard(**shard) for shard in contents["shards"])
            manifest = cls(**contents)
            _ = manifest.open_vocabulary
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(
                f"{path} does not have the fields of schema {found} ({error}). "
                "Run pipeline/preprocess.py again"
            ) from None
        return manifest

    def verify(self, data_dir: Path, shards: Iterable[Shard] | None = None) -> None:
        """Read the given shards (all, unless given) and compare their sha256.

        A TFRecord cut exactly between two records reads without an error, so only this tells.
        Raises ValueError naming the first shard that is missing or differs.
        """
        chosen = list(self.shards if shards is None else shards)
        with ThreadPoolExecutor() as pool:
            for shard, found in zip(
                chosen, pool.map(lambda s: _sha256_or_none(data_dir / s.file), chosen), strict=True
            ):
                if found is None:
                    problem = "is missing"
                elif found != shard.sha256:
                    problem = (
                        f"is damaged (sha256 {found[:12]}..., manifest {shard.sha256[:12]}...)"
                    )
                else:
                    continue
                raise ValueError(
                    f"shard {data_dir / shard.file} {problem}. Copy the data folder again or run "
                    "pipeline/preprocess.py again"
                )


def notes_in_words(notes: Mapping[str, Any]) -> str:
    """The notes of a manifest: '9 read, 7 kept; dropped: 2 doubled notes merged'.

    Empty for a data set of an older version, which has no counts.
    """
    if not notes:
        return ""
    parts = [f"{notes['read']:,} read, {notes['kept']:,} kept"]
    for name in ("dropped", "added"):
        if counts := notes.get(name):
            parts.append(f"{name}: " + ", ".join(f"{n:,} {rule}" for rule, n in counts.items()))
    return "; ".join(parts)


def changes_alone(adjustments: Mapping[str, int]) -> dict[str, int]:
    """The adjustments that `notes_in_words` does not name."""
    return {rule: n for rule, n in adjustments.items() if rule not in LEAVE_OUT | ADD}


def _text(contents: dict[str, Any]) -> str:
    return json.dumps(contents, indent=2, sort_keys=True) + "\n"


def _sha256(contents: dict[str, Any]) -> str:
    """sha256 of the text of a manifest that has these contents and no digest of its own."""
    return hashlib.sha256(_text(contents).encode()).hexdigest()


def _check_types(instance: Shard | Manifest) -> None:
    """Raise TypeError for a field of another type than declared, as a damaged file may hold."""
    types = get_type_hints(type(instance))
    for name in (entry.name for entry in fields(instance)):
        wanted, value = get_origin(types[name]) or types[name], getattr(instance, name)
        if not isinstance(value, wanted):
            raise TypeError(f"{name} is {value!r:.40}, not of type {wanted.__name__}")


def _sha256_or_none(path: Path) -> str | None:
    return file_sha256(path) if path.is_file() else None
