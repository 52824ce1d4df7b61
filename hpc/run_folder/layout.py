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
from typing import IO

from hpc.config.train_config import TrainConfig
from pipeline.runtime.files import read_lines, replace_file

CONFIG = "config.json"
METRICS = "metrics.jsonl"
TIMELINE = "horovod-timeline.json"  # with --timeline; open in chrome://tracing or ui.perfetto.dev
STRETCHES = "stretches.jsonl"
LOCK = "lock"
LOCK_SECONDS = 10.0  # ranks that lost one to a kill end within a few seconds, and so their lock


def write_config(run_dir: Path, config: TrainConfig) -> None:
    """Store the settings of a run, whose folder is made if need be."""
    run_dir.mkdir(parents=True, exist_ok=True)
    replace_file(run_dir / CONFIG, json.dumps(config.to_json(), indent=2) + "\n")


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
