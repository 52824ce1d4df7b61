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
    for number, line in enumerate(path.read_text().splitlines(keepends=True), start=1):
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


def write_config(run_dir: Path, config: TrainConfig) -> None:
    """Store the settings of a run, or raise ValueError where it was begun with other ones.

    Settings that do not change what is computed (where, how often saved) may differ.
    """
    path = run_dir / CONFIG
    if path.is_file():
        settings = json.loads(path.read_text())
        begun = TrainConfig.from_dict(settings, str(path)).fixed()
        changed = {name: value for name, value in config.fixed().items() if begun[name] != value}
        if changed:
            listed = ", ".join(f"{flag(n)} {v} (begun with {begun[n]})" for n, v in changed.items())
            raise ValueError(
                f"run {run_dir} cannot go on with {listed}. Use the same flags (--config {path}), "
                f"or begin another run: --run OTHER --from {run_dir}"
            )
    run_dir.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(config.to_json(), indent=2) + "\n")
    partial.replace(path)
