"""What a run folder holds, and how to read it without TensorFlow.

config.json       the settings, which can be given back as --config
metrics.jsonl     one object a line: step, split, loss (mean nats per token), ..., time
stretches.jsonl   one object a line: from which step on the run went on where, and how
checkpoints/      step-NNNNNNNN/ (model/bundle.py), best.json
tensorboard/      event files and profiles
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hpc.config import TrainConfig, flag

CONFIG = "config.json"
METRICS = "metrics.jsonl"
STRETCHES = "stretches.jsonl"


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


def require_same_settings(run_dir: Path, config: TrainConfig) -> None:
    """Nothing, if the run does not exist yet or can go on with this configuration.

    Settings that do not change what is computed (where, how often saved) may differ. Raises
    ValueError naming the flags that must not.
    """
    path = run_dir / CONFIG
    if not path.is_file():
        return
    begun = TrainConfig.from_dict(json.loads(path.read_text()), str(path)).fixed()
    changed = {name: value for name, value in config.fixed().items() if begun[name] != value}
    if changed:
        listed = ", ".join(f"{flag(n)} {v} (begun with {begun[n]})" for n, v in changed.items())
        raise ValueError(
            f"run {run_dir} cannot go on with {listed}. Use the same flags (--config {path}), "
            f"or begin another run: --run OTHER --from {run_dir}"
        )


def write_config(run_dir: Path, config: TrainConfig) -> None:
    """Store the settings of a run, whose folder is made if need be."""
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / CONFIG
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(config.to_json(), indent=2) + "\n")
    partial.replace(path)
