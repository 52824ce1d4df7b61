"""What a benchmark measures: its rows, its options, the machine it ran on, medians of pairs."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hpc.distributed.processor import processor

REPOSITORY = Path(__file__).resolve().parents[2]
KILOBYTE = 1024  # of ru_maxrss, on Linux


@dataclass(frozen=True)
class Options:
    """What the command's flags say about how to measure."""

    rounds: int = 9
    torch_python: str = "python3"
    data: Path = Path("data/bach")
    scores: Path | None = None  # a folder of MIDI files; None: music21's chorales


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    value: float | None  # None where this machine cannot measure it
    target: str  # a bound: '>= 1.7'
    met: bool | None  # None where there is no value
    note: str = ""  # spread, absolute numbers, or why there is no value

    @classmethod
    def judged(cls, name: str, value: float | None, target: str, note: str = "") -> Row:
        """The row, `met` by comparing the value with the target ('>= 1.7' or '<= 0.01')."""
        relation, bound = target.split()
        met = None
        if value is not None:
            met = value >= float(bound) if relation == ">=" else value <= float(bound)
        return cls(name, value, target, met, note)


def run_to_its_end(command: Sequence[str]) -> float:
    """Run a command; the peak of resident memory of its largest process, in bytes.

    Raises RuntimeError with its last line if it fails.
    """
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told.seek(0)
            lines = told.read().decode(errors="replace").splitlines()
            said = [line for line in lines if line.strip(" -")]  # mpirun ends with a rule
            raise RuntimeError(f"{' '.join(command)}: {said[-1] if said else 'no reason told'}")
    return float(usage.ru_maxrss * KILOBYTE)


def describe_machine() -> dict[str, str | int]:
    """Processor, cores, load and commit: without these a number is no result."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True
    )
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": f"{os.getloadavg()[0]:.1f}",
        "commit": found.stdout.strip() or "unknown",
    }


def pin_to_one_core() -> int:
    """The core that this process and its children run on from now on: the last it is allowed."""
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def alternate(parts: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each part, round by round: A B C A B C ..., after one round of warm-up.

    A part runs once and returns its seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for index in range(rounds + 1):
        for name, part in parts.items():
            taken = part()
            if index:
                seconds[name].append(taken)
    return seconds


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor seconds of this process for the work.

    On one pinned core with one thread they are its wall time, less what other programs on that
    core took from it.
    """
    started = time.process_time()
    work()
    return time.process_time() - started


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> tuple[float, str]:
    """Median and spread of the ratios of values that were measured next to each other."""
    ratios = sorted(a / b for a, b in zip(numerator, denominator, strict=True))
    return statistics.median(ratios), f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
