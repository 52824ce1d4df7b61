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
from pipeline.runtime.provenance import commit
from pipeline.runtime.tensorflow_loading import load_tensorflow

KILOBYTE = 1024  # of ru_maxrss, on Linux


@dataclass(frozen=True)
class Options:
    """What the command's flags say about how to measure."""

    rounds: int = 9
    torch_python: str = "python3"
    data: Path = Path("data/bach")
    scores: Path | None = None  # a folder of MIDI files; None: music21's chorales


@dataclass(frozen=True)
class BenchmarkRow:
    """One value beside the target that it must reach."""

    name: str
    value: float | None  # None where this machine cannot measure it
    target: str  # a bound: '>= 1.7'
    met: bool | None  # None where there is no value
    note: str = ""  # spread, absolute numbers, or why there is no value

    @classmethod
    def judged(cls, name: str, value: float | None, target: str, note: str = "") -> BenchmarkRow:
        """The row, `met` by comparing the value with the target ('>= 1.7' or '<= 0.01')."""
        relation, bound = target.split()
        met = None
        if value is not None:
            met = value >= float(bound) if relation == ">=" else value <= float(bound)
        return cls(name, value, target, met, note)


def rows_without_value(
    names: Sequence[str], targets: Mapping[str, str], reason: str
) -> list[BenchmarkRow]:
    """A row for each name that says why this machine cannot measure it."""
    return [BenchmarkRow.judged(name, None, targets[name], reason) for name in names]


def describe_machine() -> dict[str, str | int]:
    """Processor, cores, load and commit: without these a number is no result."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": f"{os.getloadavg()[0]:.1f}",
        "commit": commit(),
    }


def use_one_core() -> None:
    """Keep this process and its children to one core: the last that it is allowed."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def load_tensorflow_on_one_core() -> None:
    """Load TensorFlow with one thread on one core. Call it before any other use of TensorFlow."""
    os.environ["OMP_NUM_THREADS"] = "1"
    use_one_core()
    load_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def alternate(parts: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each part returned, round by round: A B C A B C ..., after one round of warm-up."""
    found: dict[str, list[float]] = {name: [] for name in parts}
    for index in range(rounds + 1):
        for name, part in parts.items():
            value = part()
            if index:
                found[name].append(value)
    return found


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> tuple[float, str]:
    """Median and spread of the ratios of values that were measured next to each other."""
    ratios = sorted(a / b for a, b in zip(numerator, denominator, strict=True))
    return statistics.median(ratios), f"{ratios[0]:.2f} to {ratios[-1]:.2f}"


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor seconds of this process for the work.

    On one pinned core with one thread they are its wall time, less what other programs on that
    core took from it.
    """
    started = time.process_time()
    work()
    return time.process_time() - started


def peak_memory_of(command: Sequence[str], environ: Mapping[str, str] | None = None) -> float:
    """Run a command; the peak resident memory of its largest process, in bytes.

    Raises RuntimeError with the last line of its output if it fails.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=subprocess.STDOUT)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            lines = output.read().decode(errors="replace").splitlines()
            words = [line for line in lines if line.strip(" -")]  # mpirun ends with a rule
            raise RuntimeError(f"{' '.join(command)}: {words[-1] if words else 'no output'}")
    return float(usage.ru_maxrss * KILOBYTE)
