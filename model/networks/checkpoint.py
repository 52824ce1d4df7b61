"""A checkpoint folder: all that is needed to resume training or to compose. Data only, no pickle.

weights.npz and optimizer.npz hold arrays by variable path; so does workers.npz, which is there if
each worker has a state of its own. bundle.json holds the network's and the vocabulary's
configuration, the training progress, versions, the sha256 of the other files, and that of its own
contents.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.dataset.manifest import FILE_NAME as DATA_SET
from pipeline.runtime.files import advice_on, file_sha256, line_of, replace_file, without_checksum
from pipeline.runtime.provenance import library_versions, shipped
from pipeline.runtime.tables import print_line

SCHEMA_VERSION = 1
FILE_NAME = "bundle.json"
WEIGHTS, OPTIMIZER, WORKERS = FILES = ("weights.npz", "optimizer.npz", "workers.npz")
BEST = "checkpoints/best.json"  # {"step": N, ...}: the checkpoint of the lowest validation loss
RUN_FOLDER = ("checkpoints", "config.json")  # one of them is in every folder of a run
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Bundle:
    """What a checkpoint folder holds."""

    model: dict[str, Any]  # the configuration's fields and kind
    vocabulary: dict[str, Any]  # what vocabulary_from_dict takes
    weights: Arrays
    optimizer: Arrays = field(default_factory=dict)  # empty if it was not read, or not kept
    workers: Arrays = field(default_factory=dict)  # [workers, ...]: of each worker; mostly empty
    progress: dict[str, Any] = field(default_factory=dict)  # step, best validation loss, ...
    run: dict[str, Any] = field(
        default_factory=dict
    )  # the training configuration, and where it ran
    versions: dict[str, str] = field(default_factory=dict)


def write_bundle(path: Path, bundle: Bundle) -> None:
    """Write the folder beside its place, flush it to disk, then rename it: whole or not at all.

    Raises OSError if it cannot be written (a full disk, say); nothing is left behind then.
    """
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        files = {WEIGHTS: bundle.weights, OPTIMIZER: bundle.optimizer}
        files |= {WORKERS: bundle.workers} if bundle.workers else {}
        for name, arrays in files.items():
            with (partial / name).open("wb") as stream:
                stream.write(_archive(arrays))
                stream.flush()
                os.fsync(stream.fileno())
        contents = {
            "schema": SCHEMA_VERSION,
            "model": bundle.model,
            "vocabulary": bundle.vocabulary,
            "progress": bundle.progress,
            "run": bundle.run,
            "versions": library_versions(),
            "sha256": {name: file_sha256(partial / name) for name in files},
        }
        contents["contents_sha256"] = _contents_sha256(contents)
        with (partial / FILE_NAME).open("w") as stream:
            json.dump(contents, stream, indent=2)
            stream.flush()
            os.fsync(stream.fileno())
        _put_in_place(partial, path)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise OSError(
            f"checkpoint {path} could not be written ({error.strerror or error}); earlier "
            f"checkpoints are untouched. {advice_on(error)} and run the same command again"
        ) from error


def read_bundle(path: Path, *, optimizer: bool = True) -> Bundle:
    """The contents of a checkpoint folder; every byte that is read is checked against its sha256.

    Without `optimizer` its arrays stay on disk: they are twice as large as the weights.
    Raises ValueError naming what is missing, damaged or of another schema version.
    """
    wanted = FILES if optimizer else (WEIGHTS,)
    contents = _verified_contents(path, wanted)
    return Bundle(
        model=contents["model"],
        vocabulary=contents["vocabulary"],
        weights=_read_arrays(path / WEIGHTS),
        optimizer=_read_arrays(path / OPTIMIZER) if optimizer else {},
        workers=_read_arrays(path / WORKERS) if optimizer and WORKERS in contents["sha256"] else {},
        progress=contents["progress"],
        run=contents["run"],
        versions=contents["versions"],
    )


def _verified_contents(path: Path, files: Sequence[str]) -> dict[str, Any]:
    """What bundle.json says, after its own sha256 and those of the files have been checked."""
    advice = "Use another checkpoint of the run"
    try:
        contents = json.loads((path / FILE_NAME).read_text())
        schema, recorded = contents["schema"], contents["contents_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a checkpoint: {FILE_NAME} cannot be read ({error!r}). {advice}"
        ) from None
    if schema != SCHEMA_VERSION:
        raise ValueError(
            f"{path / FILE_NAME} has schema version {schema}; this program reads "
            f"{SCHEMA_VERSION}. {advice}"
        )
    if _contents_sha256(contents) != recorded:
        raise ValueError(f"{path / FILE_NAME} is damaged: its sha256 is not its own. {advice}")
    for name, expected in contents["sha256"].items():
        file = path / name
        if name not in files:
            continue
        if not file.is_file():
            raise ValueError(f"{file} is missing. {advice}")
        if file_sha256(file) != expected:
            raise ValueError(f"{file} is damaged: its sha256 is not the recorded one. {advice}")
    return dict(contents)


def open_checkpoint(path: Path, *, optimizer: bool = True) -> tuple[Path, Bundle]:
    """The checkpoint folder that a run folder or a checkpoint folder stands for, and its contents.

    Of a run: the best by validation if it is whole, else the newest whole one; those passed over
    are named on stderr. Raises ValueError if none is whole.
    """
    path = shipped(path)
    if (path / FILE_NAME).is_file():
        return path, read_bundle(path, optimizer=optimizer)
    candidates = _candidates(path)
    for candidate in candidates:
        try:
            return candidate, read_bundle(candidate, optimizer=optimizer)
        except ValueError as error:
            print_line(f"warning: {error}", sys.stderr)
    raise _none_whole(path, len(candidates))


def require_checkpoint(path: Path) -> None:
    """Raise ValueError, saying what is there instead, unless there is a checkpoint to open.

    Its contents are not checked: this is for an answer before TensorFlow is loaded.
    """
    path = shipped(path)
    if (path / FILE_NAME).is_file() or list_checkpoints(path):
        return
    if (path / DATA_SET).is_file():
        raise ValueError(
            f"{path} is a data set, and a run is needed. Train one with: python hpc/train.py "
            f"--data {path}, or use the model that comes with the program: "
            "model/pretrained/chorales"
        )
    raise _none_whole(path, 0)


def _candidates(run_dir: Path) -> list[Path]:
    """The checkpoints of a run in the order of preference: the best one, then the newest first."""
    newest_first = list_checkpoints(run_dir)[::-1]
    try:
        step = read_best(run_dir)
    except ValueError as error:
        print_line(f"warning: {error}: the newest is used", sys.stderr)
        return newest_first
    return newest_first if step is None else [step_folder(run_dir, step), *newest_first]


def write_best(run_dir: Path, step: int) -> None:
    """Record the step of the best checkpoint of a run. Raises OSError naming the file."""
    replace_file(run_dir / BEST, line_of({"step": step}))


def read_best(run_dir: Path) -> int | None:
    """The step of the best checkpoint of a run; None where none is recorded.

    Raises ValueError naming the file if it is damaged or names a checkpoint that does not exist.
    """
    path = run_dir / BEST
    if not path.is_file():
        return None
    try:
        contents = without_checksum(dict(json.loads(path.read_text())))
        if contents.keys() != {"step"} or type(contents["step"]) is not int:
            raise ValueError(f"it holds {contents!r:.40}, not a step")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error})") from None
    step: int = contents["step"]
    if not step_folder(run_dir, step).is_dir():
        raise ValueError(f"{path} is damaged (there is no checkpoint of step {step})")
    return step


def _none_whole(path: Path, num_candidates: int) -> ValueError:
    """The error of a path without a whole checkpoint; how to train one is said of a run folder."""
    what = ""
    if not path.exists():
        what = "does not exist"
    elif not path.is_dir():
        what = "is a file"
    elif not any((path / name).exists() for name in RUN_FOLDER):
        what = "is a folder without a run"
    if what:
        return ValueError(
            f"{path} {what}. Needed is a run folder or a checkpoint, such as "
            "model/pretrained/chorales"
        )
    return ValueError(
        f"no whole checkpoint in {path} ({num_candidates} looked at). "
        f"Train one with: python hpc/train.py --run {path}"
    )


def list_checkpoints(run_dir: Path) -> list[Path]:
    """The checkpoint folders of a run, the oldest first; their contents are not checked."""
    return sorted((run_dir / "checkpoints").glob("step-" + "[0-9]" * 8))


def step_folder(run_dir: Path, step: int) -> Path:
    """The folder of the checkpoint of a step."""
    return run_dir / "checkpoints" / f"step-{step:08d}"


def _contents_sha256(contents: dict[str, Any]) -> str:
    """sha256 of everything in bundle.json but the entry that holds it."""
    others = {name: value for name, value in contents.items() if name != "contents_sha256"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def _put_in_place(partial: Path, path: Path) -> None:
    """Rename a finished folder; it replaces an older one of that name."""
    _flush_folder(partial)
    replaced = path.with_name(path.name + ".replaced.partial")
    if path.exists():
        path.rename(replaced)
    partial.rename(path)
    shutil.rmtree(replaced, ignore_errors=True)
    _flush_folder(path.parent)


def _flush_folder(path: Path) -> None:
    """Flush a folder to disk: without that a power cut would undo the new names in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _archive(arrays: Arrays) -> memoryview:
    """The bytes of an .npz file, made in memory: on a full disk a ZipFile prints a traceback."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getbuffer()


def _read_arrays(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
