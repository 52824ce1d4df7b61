"""Command: make a run's best checkpoint a small one to compose from and to give away.

python model/release.py runs/chorales --out model/pretrained/chorales

It holds the weights in half precision, and neither the state of the optimizer nor any paths.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import from the root, not from model/
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from pipeline.runtime.interpreter import explain_missing_libraries

    explain_missing_libraries()

from pipeline.runtime.command import described_parser, run_command
from pipeline.runtime.tables import print_line


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    parser = described_parser(__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder or a checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="folder of the small checkpoint")
    flags = parser.parse_args(argv)
    return run_command(lambda: release(flags.run, flags.out))


def release(run: Path, out: Path) -> None:
    """Write the small checkpoint; other files of its folder, such as a model card, stay.

    Raises ValueError if there is no whole checkpoint, or a weight exceeds half precision.
    """
    import numpy as np

    from model.networks.checkpoint import open_checkpoint, write_bundle

    checkpoint, bundle = open_checkpoint(run, optimizer=False)
    weights = {path: values.astype(np.float16) for path, values in bundle.weights.items()}
    for path, values in weights.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{checkpoint}: {path} holds values beyond half precision")
    fresh = out.with_name(out.name + ".fresh")
    about = {**bundle.run, "config": _without_folders(bundle.run.get("config", {}))}
    write_bundle(fresh, replace(bundle, weights=weights, run=about))
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(fresh.iterdir()):
        file.replace(out / file.name)
    fresh.rmdir()
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    print_line(f"{out}: {size:.1f} MB, from {checkpoint}")


def _without_folders(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the data set and runs by name, without their folders."""
    paths = {name: config.get(name) for name in ("data", "run", "from_run")}
    return {**config, **{name: Path(path).name for name, path in paths.items() if path}}


if __name__ == "__main__":
    sys.exit(main())
