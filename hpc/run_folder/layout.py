"""What a run folder holds, and how to read it without TensorFlow.

config.json       the settings, which can be given back as --config
metrics.jsonl     one object a line: step, split, loss (mean nats per token), ..., time
stretches.jsonl   one object a line: from which step on the run went on where, and how
checkpoints/      step-NNNNNNNN/ (model/networks/checkpoint.py), best.json
music.json        composed pieces beside real ones, by model/evaluate.py --samples
lock              held by the process that trains the run
tensorboard/      event files and profiles
"""

from __future__ import annotations

import fcntl
import json
import sys
import time
from pathlib import Path
from typing import IO, Any

from hpc.config.train_config import TrainConfig, flag

CONFIG = "config.json"
METRICS = "metrics.jsonl"
TIMELINE = "horovod-timeline.json"  # with --timeline; open in chrome://tracing or ui.perfetto.dev
STRETCHES = "stretches.jsonl"
LOCK = "lock"
LOCK_SECONDS = 10.0  # ranks that lost one to a kill end within a few seconds, and so their lock


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The entries of a .jsonl file; a last line that a kill cut short is left out.

    Raises ValueError naming a line before it that is no JSON object: something else wrote there.
    """
    if not path.is_file():
        return []
    entries = []
    lines = path.read_text(errors="replace").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            break
        try:
            entries.append(json.loads(line))
        except ValueError:
            entries.append(None)
        if not isinstance(entries[-1], dict):
            raise ValueError(
                f"line {number} of {path} is no JSON object: {line.strip()[:60]!r}. Take the line "
                "out, or begin another run"
            )
    return entries


def require_same_settings(run_dir: Path, config: TrainConfig, settings: dict[str, Any]) -> None:
    """Nothing, if a run that was begun with these settings can go on with this configuration.

    Settings that do not change what is computed (where, how often saved) may differ. Raises
    ValueError naming the flags that must not.
    """
    begun = TrainConfig.from_dict(settings, str(run_dir)).fixed()
    changed = {name: value for name, value in config.fixed().items() if begun[name] != value}
    if changed:
        listed = ", ".join(f"{flag(n)} {v} (begun with {begun[n]})" for n, v in changed.items())
        raise ValueError(
            f"run {run_dir} cannot go on with {listed}. Use the same flags "
            f"(--config {run_dir / CONFIG}), or begin another run: --run OTHER --from {run_dir}"
        )


def write_config(run_dir: Path, config: TrainConfig) -> None:
    """Store the settings of a run, whose folder is made if need be."""
    run_dir.mkdir(parents=True, exist_ok=True)
    replace_file(run_dir / CONFIG, json.dumps(config.to_json(), indent=2) + "\n")


def replace_file(path: Path, content: str) -> None:
    """Write a file beside its place, then rename it: a kill leaves the old or the new one.

    Raises OSError naming the file where it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(content)
        partial.replace(path)
    except OSError as error:
        raise not_written(path, error) from error


def add_line(path: Path, entry: dict[str, Any]) -> None:
    """Add an entry to a .jsonl file, and close it: what was said is in the file.

    Raises OSError naming the file where it cannot be written.
    """
    try:
        with path.open("a") as stream:
            stream.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise not_written(path, error) from error


def not_written(path: Path, error: Exception) -> OSError:
    """The error, in words, of a file that could not be written."""
    reason = getattr(error, "strerror", None) or str(error)
    return OSError(
        f"{path} could not be written ({reason}); the checkpoints are untouched. Free some space "
        "and run the same command again"
    )


def lock_run(run_dir: Path) -> IO[str]:
    """The run folder's lock, held until it is closed or its process ends, however it ends.

    Without it a job that is started again while the old one still runs would write the same files.
    Raises ValueError where another process keeps it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    stream = (run_dir / LOCK).open("a")
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return stream
        except BlockingIOError:
            if time.monotonic() > deadline:
                stretches = read_lines(run_dir / STRETCHES)
                hosts = ", ".join(sorted(set(stretches[-1]["hosts"]))) if stretches else "its host"
                raise ValueError(
                    f"another process is training {run_dir} (look on {hosts}). End it with "
                    "SIGTERM, upon which it saves, or use another --run"
                ) from None
            time.sleep(0.2)
        except OSError as error:
            # Some network file systems cannot lock; that is no reason not to train on them.
            print(f"warning: {run_dir / LOCK} cannot be locked ({error.strerror})", file=sys.stderr)
            return stream
