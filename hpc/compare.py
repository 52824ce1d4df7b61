"""Command: compare runs, their convergence and speed, per server and per strategy.

    python hpc/compare.py runs/dorchester runs/bath runs/both --out compared

Tables go to the terminal; with --out also into compared/comparison.md, with pictures beside it and
a view for TensorBoard. The command reads config.json, metrics.jsonl and stretches.jsonl of the run
folders, and music.json if model/evaluate.py --samples wrote one. It needs no TensorFlow: these
files can be copied to a laptop.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import from the root, not from hpc/
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from pipeline.runtime.interpreter import explain_missing_libraries

    explain_missing_libraries()

from hpc.comparison.events import write_events
from hpc.comparison.measures import best_common_loss, differences, losses_differ_in, speeds
from hpc.comparison.plots import write_plots
from hpc.comparison.tables import tables
from hpc.reports.event_files import FOLDER, tensorboard_is_installed
from hpc.reports.spread import spread
from hpc.run_folder.recorded import Point, RecordedRun, read_runs
from pipeline.runtime.command import Parser, run_command
from pipeline.runtime.files import write_json
from pipeline.runtime.tables import Table, print_line, print_tables


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of a comparison with the given flags."""
    return run_command(lambda: compare(parse_flags(argv)))


def parse_flags(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags of the command."""
    parser = Parser(description="Compare runs: convergence and speed, per server and per strategy.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder")
    parser.add_argument(
        "--loss",
        type=float,
        metavar="X",
        help="validation loss to reach, nats per token [the best that all runs reached]",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write tables, pictures and TensorBoard view here"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to this file")
    return parser.parse_args(argv)


def compare(flags: argparse.Namespace) -> None:
    """Read the runs, print the tables, and write what the flags ask for."""
    if flags.loss is not None and not (math.isfinite(flags.loss) and flags.loss > 0):
        raise ValueError(f"--loss is {flags.loss}; give nats per token, a number above 0")
    runs = read_runs(flags.runs)
    target = best_common_loss(runs) if flags.loss is None else flags.loss
    found = tables(runs, target)
    print_tables(found)
    if flags.json:
        write_json(flags.json, to_json(runs, target))
    if flags.out:
        write(runs, target, found, flags.out)


def write(
    runs: Sequence[RecordedRun], target: float | None, found: Sequence[Table], out_dir: Path
) -> None:
    """Write comparison.md, the pictures and the TensorBoard view, and print their paths."""
    out_dir.mkdir(parents=True, exist_ok=True)
    pictures = write_plots(runs, target, out_dir)
    names = ", ".join(run.name for run in runs)
    text = "\n".join([f"# Comparison of {names}\n", *(table.to_markdown() for table in found)])
    shown = "\n".join(f"![{picture.stem}]({picture.name})\n" for picture in pictures)
    (out_dir / "comparison.md").write_text(text + "\n" + shown)
    for path in [out_dir / "comparison.md", *pictures]:
        print_line(f"wrote {path}")
    if tensorboard_is_installed():
        write_events(runs, text, out_dir)
        print_line(f"wrote {out_dir / FOLDER}: tensorboard --logdir {out_dir / FOLDER}")
    else:
        print_line(
            "no TensorBoard view: tensorboard is not installed here (pip install tensorboard)"
        )


def to_json(runs: Sequence[RecordedRun], target: float | None) -> dict[str, Any]:
    """The comparison for JSON; seconds are training time, rates tokens per second."""
    return {
        "target_valid_loss": target,
        "losses_differ_in": losses_differ_in(runs),
        "runs": [_run_to_json(run, target) for run in runs],
        "speeds": [asdict(speed) for speed in speeds(runs)],
        "differences": [asdict(difference) for difference in differences(runs)],
    }


def _run_to_json(run: RecordedRun, target: float | None) -> dict[str, Any]:
    def point_to_json(point: Point | None) -> dict[str, Any] | None:
        return asdict(point) if point else None

    stretches = []
    for stretch in run.stretches:
        rate = spread(stretch.rates)
        stretches.append(
            {
                "name": stretch.name,
                "first_step": stretch.first_step,
                "last_step": stretch.last_step,
                "hosts": stretch.facts["hosts"],
                "strategy": stretch.strategy,
                "workers": stretch.workers,
                "tokens": stretch.num_tokens,
                "seconds": stretch.seconds,
                "tokens_per_second": asdict(rate) if rate else None,
            }
        )
    return {
        "name": run.name,
        "folder": str(run.folder),
        "best": point_to_json(run.best),
        "reached": point_to_json(run.reached(target)) if target is not None else None,
        "stretches": stretches,
        "music": run.music,
    }


if __name__ == "__main__":
    sys.exit(main())
