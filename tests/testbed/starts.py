"""Starts of runs on the hosts, several at a time: how many fail on a machine that is loaded."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.testbed.cluster import HEAD, Testbed

LONGEST = 1200.0  # seconds; no part of a start may take more than 120 s by default


@dataclass(frozen=True)
class Start:
    """A run to start: its strategy, its command and the folder that this makes."""

    strategy: str
    argv: Sequence[str]
    run_dir: Path

    def run(self, testbed: Testbed, cwd: Path) -> dict[str, Any]:
        """Its seconds and exit code, and of a failure the first line that says why."""
        started = time.monotonic()
        try:
            done = testbed.run(HEAD, self.argv, cwd=cwd, timeout=LONGEST)
            code, said = done.returncode, done.stderr
        except subprocess.TimeoutExpired as error:
            code, said = None, f"error: no end within {LONGEST:.0f} s\n{error.stderr}"
        found = {"seconds": round(time.monotonic() - started, 1), "code": code}
        if code == 0:
            shutil.rmtree(self.run_dir)
            return found
        lines = [line for line in said.splitlines() if line.strip()] or ["(nothing)"]
        first = next((line for line in lines if line.startswith("error: ")), lines[-1])
        return {**found, "line": first, "said": said}


def count_starts(
    testbed: Testbed,
    starts: Sequence[Start],
    at_once: int,
    cwd: Path,
    record: Callable[[dict[str, Any]], None],
) -> None:
    """Run all of the starts, at most `at_once` at a time, and record a row for each strategy.

    The rows are recorded again whenever one has ended, so that a measurement that is cut short
    leaves what it has. `load` is the machine's load average then: the lowest and the highest.
    """
    rows: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(at_once) as pool:
        pending = {pool.submit(start.run, testbed, cwd): start for start in starts}
        for future in as_completed(pending):
            start, found = pending[future], future.result()
            load = round(os.getloadavg()[0], 1)
            empty = {"starts": 0, "at_once": at_once, "seconds": [], "load": [load], "failed": []}
            row = rows.setdefault(start.strategy, {"strategy": start.strategy, **empty})
            row["starts"] += 1
            row["seconds"].append(found["seconds"])
            row["load"] = [min(*row["load"], load), max(*row["load"], load)]
            if found["code"] != 0:
                row["failed"].append(found)
            record(row)
            said = {key: value for key, value in found.items() if key != "said"}
            print(f"{start.strategy}: {said}, load {load}", flush=True)
