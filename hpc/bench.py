"""Command: how fast the program is, as ratios measured side by side in one run.

    python hpc/bench.py
    python hpc/bench.py --rows lstm-keras,lstm-torch --json bench.json

Every row is a value and the target it must reach. A target that is missed, or that this machine
cannot measure, is said so in the row's note. Exit code 0 when every row was looked at.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

if __package__ in (None, ""):  # run as a script: import from the root, not from hpc/
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from hpc.benchmarks import generation as bench_generation
from hpc.benchmarks import input as bench_input
from hpc.benchmarks import large_data as bench_large
from hpc.benchmarks import live as bench_live
from hpc.benchmarks import lstm as bench_lstm
from hpc.benchmarks import preprocessing as bench_preprocess
from hpc.benchmarks import training as bench_training
from hpc.benchmarks.rows import Options, Row, describe_machine
from pipeline.runtime.command import run_command
from pipeline.runtime.tables import NOTHING, markdown_table

# Each has ROWS, the names and targets, and measure(names, options), the rows.
GROUPS = [
    bench_lstm,
    bench_input,
    bench_generation,
    bench_live,
    bench_training,
    bench_preprocess,
    bench_large,
]


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of a benchmark with the given flags."""
    flags = parse_flags(argv)
    return run_command(lambda: bench(flags))


def parse_flags(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags, the rows checked and in the order of the table."""
    known = [name for group in GROUPS for name in group.ROWS]
    parser = argparse.ArgumentParser(
        description="How fast the program is, as ratios measured side by side in one run."
    )
    parser.add_argument(
        "--rows",
        default=",".join(name for name in known if name not in bench_large.ROWS),
        metavar="NAME,...",
        help=f"rows to measure, of {', '.join(known)} (all but {', '.join(bench_large.ROWS)}, "
        "which write 10 GB)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    parser.add_argument(
        "--rounds", type=int, default=9, help="alternations A B A B to take the median of (9)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data/bach"),
        metavar="DIR",
        help="data set, for the rows that need one (data/bach)",
    )
    parser.add_argument(
        "--scores",
        type=Path,
        metavar="DIR",
        help="MIDI files, for the rows of preprocessing (music21's chorales)",
    )
    parser.add_argument(
        "--torch-python",
        default=sys.executable,
        metavar="PROGRAM",
        help="a Python that has PyTorch, for the rows against it (this one)",
    )
    flags = parser.parse_args(argv)
    asked = flags.rows.split(",")
    if unknown := [name for name in asked if name not in known]:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(known)}")
    if flags.rounds < 1:
        parser.error(f"--rounds is {flags.rounds}; it must be at least 1")
    flags.rows = [name for name in known if name in asked]
    return flags


def bench(flags: argparse.Namespace) -> None:
    """Measure the rows, print them as a table, write them as JSON."""
    machine = describe_machine()
    print(f"{machine['processor']}, commit {machine['commit']}\n")
    options = Options(flags.rounds, flags.torch_python, flags.data.resolve(), flags.scores)
    rows = []
    for group in GROUPS:
        if names := [name for name in flags.rows if name in group.ROWS]:
            rows += in_own_process(group.measure, names, options)
    print(table(rows))
    if flags.json:
        contents = {"machine": machine, "rows": [asdict(row) for row in rows]}
        flags.json.write_text(json.dumps(contents, indent=2) + "\n")


def in_own_process(measure: bench_lstm.Measure, names: list[str], options: Options) -> list[Row]:
    """The rows of a group, measured where no other group has set threads or warmed caches."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(measure, (names, options))


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = []
    for row in rows:
        value = NOTHING if row.value is None else f"{row.value:.3g}"
        met = {True: "yes", False: "no", None: NOTHING}[row.met]
        lines.append((row.name, value, row.target, met, row.note))
    return markdown_table(("row", ">value", "target", "met", ""), lines)


if __name__ == "__main__":
    sys.exit(main())
