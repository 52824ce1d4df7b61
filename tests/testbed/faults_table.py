"""The published table of faults: hpc/results/faults.md."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpc.distributed.processor import processor

HEAD = """# Faults of two servers

    python tests/testbed/measure_faults.py                          # --hogs 0 4: also under load
    python tests/testbed/measure_faults.py --starts 50 --at-once 10 # of each strategy

Two network namespaces on one machine, dorchester and bath, each with one core of it
(tests/testbed), with the kernel's default settings, the default limits of hpc/train.py and the
settings that hpc/doctor.py prints for Open MPI. A run of 600 steps (tiny preset) over both; the
fault comes in its middle, or where it starts. Seconds are from the fault to the end of the last
rank, and of mpirun; `code` is mpirun's. The same command then ended the run: `rerun` says whether
weights, optimizer and record equal those of a run without a fault, bit for bit. Hogs are endless
loops on the same cores; `load` is the machine's load average when the fault came, since other
programs ran too.
"""
STARTS = """
## Starts under load

Runs of 2 steps over both hosts, several at a time, the strategies by turns: they load the machine
themselves, and hogs where there are some. Default limits; `load` is the machine's load average when
a start had ended, the lowest and the highest. `failed`: the exit code was not 0.

| strategy | commit | at once | hogs | load | starts | failed | median | longest |
|---|---|---:|---:|---:|---:|---:|---:|---:|
"""
TABLE = """
| fault | strategy | hogs | load | last rank | mpirun | code | named | rerun |
|---|---|---:|---:|---:|---:|---:|---|---|
"""


def publish(rows: Sequence[Mapping[str, Any]], texts: Mapping[str, str], out_dir: Path) -> None:
    """Write faults.md: a line for each row, in the order of `texts`, and the starts under load."""
    faults = [row for row in rows if "fault" in row]
    order = list(texts)
    faults.sort(key=lambda row: (order.index(row["fault"]), row["hogs"], row["strategy"]))
    text = HEAD + TABLE + "".join(line(row, texts[row["fault"]]) for row in faults)
    if starts := [row for row in rows if "starts" in row]:
        text += STARTS + "".join(map(starts_line, starts))
        failures = Counter(
            f"{row['strategy']}, code {failed['code']}: {failed['line']}"
            for row in starts
            for failed in row["failed"]
        )
        text += "".join(f"\n- {number} x {line}" for line, number in failures.items())
        text += "\n"
    text += f"\nMeasured on {processor()}, {os.cpu_count()} virtual cores; rows by commit: "
    commits = Counter(row["commit"] for row in rows)
    text += ", ".join(f"{number} at {short(commit)}" for commit, number in commits.items()) + ".\n"
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "faults.md").write_text(text)


def line(row: Mapping[str, Any], text: str) -> str:
    """A row of the table."""
    seconds = [row.get(name) for name in ("ranks_seconds", "mpirun_seconds")]
    survived = row["code"] == 0
    cells = [
        text,
        row["strategy"],
        row["hogs"],
        row["load"],
        *(("-", "-") if survived else ("none" if s is None else f"{s:.1f} s" for s in seconds)),
        "none" if row["code"] is None else row["code"],
        "survived" if survived else "yes" if row["named"] else "no",
        "identical" if row["identical"] else "differs",
    ]
    return f"| {' | '.join(map(str, cells))} |\n"


def starts_line(row: Mapping[str, Any]) -> str:
    """A row of the table of starts."""
    seconds = row["seconds"]
    low, high = row["load"]
    cells = [row["strategy"], short(row["commit"]), row["at_once"], row["hogs"], f"{low} to {high}"]
    cells += [row["starts"], len(row["failed"])]
    cells += [f"{statistics.median(seconds):.0f} s", f"{max(seconds):.0f} s"]
    return f"| {' | '.join(map(str, cells))} |\n"


def short(commit: str) -> str:
    """Seven of a commit's digits, and the '+' behind them where files differed from it."""
    return commit[:7] + "+" * commit.endswith("+")
