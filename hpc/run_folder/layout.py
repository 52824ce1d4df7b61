"""The files of a run folder, its settings and its lock. No TensorFlow here.

config.json       the settings, which can be given back as --config
metrics.jsonl     one object a line: step, split, loss (mean nats per token), ..., time, crc32
stretches.jsonl   one object a line, for each start: the first step, where and how it ran, crc32
checkpoints/      step-NNNNNNNN/ (model/networks/checkpoint.py), best.json
music.json        composed pieces beside real ones, by model/evaluate.py --samples
lock              held by the process that trains the run
events.out.tfevents...  for TensorBoard, which names a run by the folder of these files
samples/, real/   event files of composed music, and of a real piece
rank-N/           event files and profiles, with --profile
logs/             rank-N.log: what each rank printed (rank_log.py)
listening.log     what the sampler for TensorBoard printed (hpc/training/compose_samples.py)
horovod-timeline.json   with --timeline
mlflow.json       with --tracker mlflow: which MLflow run this is

Each file is refused where its contents are not what was written: config.json, best.json and the
lines carry a CRC-32 (pipeline/runtime/files.py), checkpoints a sha256 of every file. Lines that are
missing at the end of the .jsonl files look like a kill; only reports read them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from hpc.config.train_config import TrainConfig
from pipeline.runtime.files import read_lines, replace_file, with_checksum
from pipeline.runtime.tables import print_line

CONFIG = "config.json"
METRICS = "metrics.jsonl"
TIMELINE = "horovod-timeline.json"  # with --timeline; open in chrome://tracing or ui.perfetto.dev
STRETCHES = "stretches.jsonl"
# The entries that every line must have, and their types.
METRICS_TYPES = {"step": int, "split": str, "time": (int, float)}
STRETCHES_TYPES = {
    "first_step": int,
    "time": (int, float),
    "strategy": str,
    "workers": int,
    "hosts": list,
    "devices": str,
    "versions": dict,
    "global_batch_size": int,
    "sequence_length": int,
}
SAMPLES, REAL = "samples", "real"
LOGS = "logs"
LOCK = "lock"
LOCK_SECONDS = 10.0  # a chief that lost a rank ends, and releases its lock, within seconds


def write_config(run_dir: Path, config: TrainConfig) -> None:
    """Write the settings of a run, and make its folder if it does not exist."""
    run_dir.mkdir(parents=True, exist_ok=True)
    contents = with_checksum(config.to_json())
    replace_file(run_dir / CONFIG, json.dumps(contents, indent=2) + "\n")


def read_entries(path: Path, types: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of a .jsonl file.

    Raises ValueError naming the line that is damaged, or lacks an entry that is in `types`.
    """
    entries = read_lines(path, types)
    for number, entry in enumerate(entries, start=1):
        if missing := sorted(types.keys() - entry.keys()):
            raise ValueError(
                f"line {number} of {path} lacks {', '.join(missing)}: it was not written by this "
                "version of hpc/train.py"
            )
    return entries


def lock_run(run_dir: Path) -> AbstractContextManager[object]:
    """The run folder's lock, held until it is closed or its process ends, even by SIGKILL.

    It prevents that a restarted job writes the files of one that still runs. Raises ValueError
    where another process holds it.
    """
    from filelock import FileLock, Timeout

    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        # No fallback to a marker file: that would outlive a killed process.
        lock = FileLock(run_dir / LOCK, fallback_to_soft=False)
        return lock.acquire(timeout=LOCK_SECONDS, poll_interval=0.2)
    except Timeout:
        stretches = read_lines(run_dir / STRETCHES)
        hosts = ", ".join(sorted(set(stretches[-1]["hosts"]))) if stretches else "its host"
        raise ValueError(
            f"another process is training {run_dir} (look on {hosts}). End it with SIGTERM, upon "
            "which it saves, or use another --run"
        ) from None
    except OSError as error:
        # Some network file systems cannot lock; that is no reason not to train on them.
        print_line(f"warning: {run_dir / LOCK} cannot be locked ({error.strerror})", sys.stderr)
        return nullcontext()
