#!/usr/bin/env python3
"""Measure what faults of two servers do to a run, with default limits: hpc/results/faults.md.

Brings the testbed up, and for every fault and strategy trains over dorchester and bath, does it
to the run in the middle, takes the time until all is over, and runs the same command again.
--starts counts starts that fail under load instead, several at a time with --at-once. What was
measured stays in the work folder, and later calls add to it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import from tests/, not from tests/testbed/
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from pipeline.runtime.provenance import commit
from tests.hpc.training.lives import final_state, last_step
from tests.testbed.cluster import DEFAULT_STATE_DIR, HEAD, HOSTS, Testbed
from tests.testbed.faults import FAULTS, REPOSITORY, Case
from tests.testbed.faults_table import publish
from tests.testbed.processes import Command, poll
from tests.testbed.starts import Start, count_starts

STRATEGIES = ("horovod", "multiworker")
MPIRUN = ("mpirun", "-np", "2", "-H", ",".join(HOSTS), "python", "hpc/train.py")
TINY = ("--preset=tiny", "--sequence-length=32", "--global-batch-size=16", "--samples-after=-1")
NUM_STEPS = 600
STEPS = (f"--steps={NUM_STEPS}", "--save-every=50", "--log-every=10", "--eval-every=300")
LONGEST = 300.0  # seconds for all that should end
DISK = "small-disk"  # the folder of runs whose disk is filled


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 when all that was asked for is measured and written."""
    flags = parse_flags(argv)
    flags.work.mkdir(parents=True, exist_ok=True)
    testbed = Testbed(flags.state, die_with_us=True)
    try:
        testbed.up(slurm=False)
        for hogs in flags.hogs:
            if flags.starts:
                begin_starts(testbed, hogs, flags)
                continue
            for name in flags.faults:
                for strategy in flags.strategies:
                    record(flags, measure(testbed, name, strategy, hogs, flags))
    except (RuntimeError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        testbed.down()
    publish(recorded(flags), {name: fault.text for name, fault in FAULTS.items()}, flags.out)
    print(f"wrote {flags.out / 'faults.md'}")
    return 0


def parse_flags(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags of the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--faults", nargs="*", choices=FAULTS, default=list(FAULTS), help="[all]")
    add("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES, help="[both]")
    add("--hogs", nargs="+", type=int, default=[0], help="endless loops beside it, in all [0]")
    add("--starts", type=int, default=0, help="count this many starts of each strategy instead")
    add("--at-once", type=int, default=1, help="starts at a time, which load the machine [1]")
    add("--data", type=Path, default=REPOSITORY / "data/bach", help="data set [data/bach]")
    add("--work", type=Path, default=REPOSITORY / "runs/faults-testbed", help="measurements")
    add("--out", type=Path, default=REPOSITORY / "hpc/results", help="folder [hpc/results]")
    add("--state", type=Path, default=DEFAULT_STATE_DIR, help="folder of the testbed")
    return parser.parse_args(argv)


def measure(
    testbed: Testbed, name: str, strategy: str, hogs: int, flags: argparse.Namespace
) -> dict[str, Any]:
    """One row: a run, the fault in its middle, and the same command again."""
    fault = FAULTS[name]
    expected = reference(testbed, strategy, flags)
    case = new_case(testbed, DISK if name == "disk" else f"{strategy}-{name}", strategy, flags)
    testbed.hog(hogs // len(HOSTS))
    if name == "disk":
        testbed.run(HEAD, ["mount", "-t", "tmpfs", "-o", "size=32m", "small", str(case.run_dir)])
    try:
        command = case.start()
        poll(lambda: fault.when(case) or not command.is_running, LONGEST, "the run does not begin")
        load = os.getloadavg()[0]
        struck = time.monotonic()
        fault.strike(case)
        row = {"fault": name, "strategy": strategy, "hogs": hogs, "load": round(load, 1)}
        row |= seconds_to_the_end(case, command, struck)
        row |= {"named": culprit_line(command, fault.culprit), "said": command.stderr}
        testbed.restore()
        if row["code"] != 0:
            (case.seen / "filler").unlink(missing_ok=True)
            again = case.start().wait(LONGEST)
            row["again"] = again.returncode
        row["identical"] = final_state(case.seen) == expected
    finally:
        testbed.restore()
        testbed.run(HEAD, ["umount", str(case.run_dir)])
    print({key: value for key, value in row.items() if key != "said"}, flush=True)
    return row


def reference(testbed: Testbed, strategy: str, flags: argparse.Namespace) -> dict[str, Any]:
    """The final state of a run to which nothing is done."""
    case = new_case(testbed, f"{strategy}-alone", strategy, flags, keep=True)
    if last_step(case.run_dir) < NUM_STEPS:
        done = case.start().wait(LONGEST)
        if done.returncode:
            raise RuntimeError(f"the run without a fault failed:\n{done.stderr}")
    return final_state(case.seen)


def new_case(
    testbed: Testbed, name: str, strategy: str, flags: argparse.Namespace, keep: bool = False
) -> Case:
    """A run that has an empty folder, unless a former one is kept."""
    run_dir = flags.work.absolute() / name
    if not keep:
        shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(exist_ok=True)
    argv = [*MPIRUN, f"--data={flags.data}", f"--run={run_dir}", f"--strategy={strategy}"]
    return Case(testbed, [*argv, *TINY, *STEPS], run_dir)


def seconds_to_the_end(case: Case, command: Command, struck: float) -> dict[str, Any]:
    """Seconds from the fault to the end of the last rank and of mpirun, and its exit code."""
    ended: dict[str, float] = {}
    while len(ended) < 2 and (now := time.monotonic() - struck) < LONGEST:
        if not case.ranks():
            ended.setdefault("ranks_seconds", round(now, 1))
        if not command.is_running:
            ended.setdefault("mpirun_seconds", round(now, 1))
        time.sleep(0.1)
    return {**ended, "code": command.wait(1.0).returncode if "mpirun_seconds" in ended else None}


def culprit_line(command: Command, culprit: str) -> str:
    """The first line of the output that names the culprit."""
    lines = (command.stderr + command.stdout).splitlines()
    own = [line for line in lines if line.startswith(("error: ", "warning: "))]
    return next((line for line in own + lines if culprit in line), "")


def begin_starts(testbed: Testbed, hogs: int, flags: argparse.Namespace) -> None:
    """Start runs of 2 steps under load, the strategies by turns, and record how many fail."""
    starts = []
    for number in range(flags.starts * len(flags.strategies)):
        strategy = flags.strategies[number % len(flags.strategies)]
        case = new_case(testbed, f"start-{number}", strategy, flags)
        starts.append(Start(strategy, [*case.argv, "--steps=2"], case.run_dir))
    testbed.hog(hogs // len(HOSTS))
    try:
        count_starts(
            testbed,
            starts,
            flags.at_once,
            REPOSITORY,
            record=lambda row: record(flags, {"hogs": hogs, **row}),
        )
    finally:
        testbed.restore()


def recorded(flags: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows so far."""
    path = flags.work / "rows.json"
    return json.loads(path.read_text()) if path.exists() else []


def record(flags: argparse.Namespace, row: dict[str, Any]) -> None:
    """Add a row, in place of an earlier one of the same fault, strategy and load."""

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in ("fault", "strategy", "hogs", "at_once"))

    row = {**row, "commit": commit()}
    rows = [former for former in recorded(flags) if key(former) != key(row)]
    (flags.work / "rows.json").write_text(json.dumps([*rows, row], indent=1))


if __name__ == "__main__":
    sys.exit(main())
