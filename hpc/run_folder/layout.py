"""The files of a run folder, its settings and its lock. No TensorFlow here.

config.json       the settings, which can be given back as --config
metrics.jsonl     one object a line: step, split, loss (mean nats per token), ..., time
stretches.jsonl   one object a line, for each start: the first step, where and how it ran
checkpoints/      step-NNNNNNNN/ (model/networks/checkpoint.py), best.json
music.json        composed pieces beside real ones, by model/evaluate.py --samples
lock              held by the process that trains the run
tensorboard/      event files and profiles
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from hpc.config.train_config import TrainConfig
from pipeline.runtime.files import read_lines, replace_file

CONFIG = "config.json"
METRICS = "metrics.jsonl"
TIMELINE = "horovod-timeline.json"  # with --timeline; open in chrome://tracing or ui.perfetto.dev
STRETCHES = "stretches.jsonl"
LOCK = "lock"
LOCK_SECONDS = 10.0  # a chief that lost a rank ends, and releases its lock, within seconds


def write_config(run_dir: Path, config: TrainConfig) -> None:
    """Write the settings of a run, and make its folder if it does not exist."""
    run_dir.mkdir(parents=True, exist_ok=True)
    replace_file(run_dir / CONFIG, json.dumps(config.to_json(), indent=2) + "\n")


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
        print(f"warning: {run_dir / LOCK} cannot be locked ({error.strerror})", file=sys.stderr)
        return nullcontext()
