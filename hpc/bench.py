"""Command: how fast the program is, as ratios measured side by side in one run.

    python hpc/bench.py
    python hpc/bench.py --rows lstm-keras,lstm-torch --json bench.json

Every row is a value and the target that it must reach. The note of a row says why this machine
cannot measure it. Exit code 0 when all rows were tried, whether or not they reach their targets.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

if __package__ in (None, ""):  # run as a script: import from the root, not from hpc/
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from pipeline.runtime.interpreter import explain_missing_libraries

    explain_missing_libraries()

from hpc.benchmarks import (
    generation,
    input,
    large_data,
    live,
    lstm,
    preprocessing,
    training,
)
from hpc.benchmarks.rows import BenchmarkRow, Options, describe_machine
from pipeline.runtime.command import Parser, run_command
from pipeline.runtime.files import write_json
from pipeline.runtime.tables import NOTHING, Table, markdown_table, print_tables

# Each has ROWS, the names and targets, and measure(names, options), the rows.
GROUPS = [lstm, input, generation, live, training, preprocessing, large_data]
Measure = Callable[[list[str], Options], list[BenchmarkRow]]


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of a benchmark with the given flags."""
    flags = parse_flags(argv)
    return run_command(lambda: bench(flags))


def parse_flags(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags; `rows` holds known names only, in the order of the table."""
    known = [name for group in GROUPS for name in group.ROWS]
    parser = Parser(
        description="How fast the program is, as ratios measured side by side in one run."
    )
    parser.add_argument(
        "--rows",
        default=",".join(name for name in known if name not in large_data.ROWS),
        metavar="NAME,...",
        help=f"rows to measure, of {', '.join(known)} (all but {', '.join(large_data.ROWS)}, "
        "which write 10 GB)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the rows to this file"
    )
    parser.add_argument(
        "--rounds", type=int, default=9, help="rounds A B A B ... to take the median of (9)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data/bach"),
        metavar="DIR",
        help="data set for the rows that need one (data/bach)",
    )
    parser.add_argument(
        "--scores",
        type=Path,
        metavar="DIR",
        help="MIDI files for the rows of preprocessing (music21's chorales)",
    )
    parser.add_argument(
        "--torch-python",
        default=sys.executable,
        metavar="PROGRAM",
        help="a Python that has PyTorch, for the rows that compare with it (this one)",
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
    show(rows)
    if flags.json:
        contents = {"machine": machine, "rows": [asdict(row) for row in rows]}
        write_json(flags.json, contents)


def in_own_process(measure: Measure, names: list[str], options: Options) -> list[BenchmarkRow]:
    """The rows of a group, measured in a process where no other group has set threads."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(measure, (names, options))


def show(rows: Sequence[BenchmarkRow]) -> None:
    """Print the rows as a table: in Markdown, for a file, unless a terminal shows it."""
    lines = []
    for row in rows:
        value = NOTHING if row.value is None else f"{row.value:.3g}"
        met = {True: "yes", False: "no", None: NOTHING}[row.met]
        lines.append((row.name, value, row.target, met, row.note))
    columns = ("row", ">value", "target", "met", "note")
    if sys.stdout.isatty():
        print_tables([Table("Values and their targets", columns, tuple(lines))])
    else:
        print(markdown_table(columns, lines))


if __name__ == "__main__":
    sys.exit(main())
