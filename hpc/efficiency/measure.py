"""Start one training of a scaling measurement, and summarise what its workers report."""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from hpc.distributed.mpirun import (
    last_error,
    mpi_environment,
    mpirun_command,
    run_to_the_end,
)
from hpc.efficiency.plan import Cell

BEGIN, END = "<measured>", "</measured>"  # around the record that a worker prints
PARTS = ("input", "step", "save", "other")
BUSY_SECONDS = 0.5  # to look how busy this machine is
ATTEMPTS = 3  # to have independent processes train at the same time


@dataclass(frozen=True)
class Measurement:
    """One repetition of one cell."""

    cell: Cell
    repetition: int  # from 1
    rate: float  # tokens per second, all workers together
    worker_rates: tuple[float, ...]  # of independent processes; else of all workers together
    step_seconds: float  # median over the windows of the first record
    parts: dict[str, float]  # seconds of a step that each part takes, likewise
    link: dict[str, float] | None  # the allreduce timed outside a step, before step 1
    machines: tuple[str, ...]  # name and processor of each worker's host
    devices: tuple[str, ...]  # of each record
    sequence_length: int
    commit: str  # of the program; with '+' if files were changed since
    # The share of this machine's processors that other programs used just before; None in
    # measurements of older versions.
    busy: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The measurement for JSON; `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Measurement:
        """The measurement of an entry. Raises ValueError if the entry is not one."""
        try:
            cell = {**entry["cell"], "hosts": tuple(entry["cell"]["hosts"])}
            lists = {n: tuple(entry[n]) for n in ("worker_rates", "machines", "devices")}
            return cls(**{**entry, **lists, "cell": Cell(**cell)})
        except (KeyError, TypeError) as error:
            raise ValueError(f"the entry is not a measurement ({error})") from None


class NeverTogetherError(RuntimeError):
    """Independent processes that at no time trained all together."""


def measure_cell(
    cell: Cell, repetition: int, work_dir: Path, flags: Sequence[str], share: int
) -> Measurement:
    """The measurement of one training, started under mpirun.

    `share` is the number of workers among which the cores of a host are divided. Independent
    processes that did not train at the same time, as happens on a busy machine, train again with
    twice the steps. Raises RuntimeError with the last error line of the run if a training fails,
    and NeverTogetherError if the last attempt failed too.
    """
    busy = busy_share()
    for attempt in range(ATTEMPTS):
        longer = [doubled_steps(flag, attempt) for flag in flags]
        records = train_cell(cell, work_dir, longer, share)
        try:
            return replace(summarise(cell, repetition, records), busy=busy)
        except NeverTogetherError:
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def busy_share() -> float:
    """The share of this machine's processors that programs use now."""
    return psutil.cpu_percent(interval=BUSY_SECONDS) / 100


def doubled_steps(flag: str, times: int) -> str:
    """The flag; if it is --steps=N, with N doubled `times` times."""
    name, _, value = flag.partition("=")
    return f"{name}={int(value) * 2**times}" if name == "--steps" else flag


def train_cell(
    cell: Cell, work_dir: Path, flags: Sequence[str], share: int
) -> list[dict[str, Any]]:
    """The records that the workers of one training printed."""
    work_dir.mkdir(parents=True, exist_ok=True)
    worker = [sys.executable, str(Path(__file__).with_name("worker.py"))]
    worker += [f"--share={share}", f"--run={work_dir / 'run'}", *["--alone"] * cell.is_alone]
    batch = cell.batch if cell.is_alone else cell.batch * cell.workers
    worker += ["--", f"--strategy={cell.strategy}", f"--global-batch-size={batch}", *flags]
    launch = mpirun_command(worker, cell.workers, cell.slots)
    logs = [work_dir / "stdout.txt", work_dir / "stderr.txt"]
    with logs[0].open("wb") as stdout, logs[1].open("wb") as stderr:
        code = run_to_the_end(launch, mpi_environment(), stdout=stdout, stderr=stderr)
    output, errors = (log.read_text(errors="replace") for log in logs)
    if code:
        raise RuntimeError(f"{cell}: {last_error(errors) or f'mpirun ended with {code}'}")
    found = re.findall(rf"{BEGIN}(.*?){END}", output, re.DOTALL)
    return [json.loads(entry) for entry in found]


def summarise(cell: Cell, repetition: int, records: list[dict[str, Any]]) -> Measurement:
    """The measurement from the records of a cell's workers: medians over windows.

    Of independent processes only the windows count in which all of them trained, since the last
    one has the machine to itself. Raises NeverTogetherError if no window is left, and RuntimeError
    if a worker printed no record.
    """
    expected = cell.workers if cell.is_alone else 1
    records = sorted(records, key=lambda record: record["rank"])
    if len(records) != expected:
        raise RuntimeError(f"{cell}: {len(records)} of {expected} workers reported their speed")
    windows = common_windows(records)
    if not all(windows):
        raise NeverTogetherError(
            f"{cell}: at no time did all processes train (they start at different times, or the "
            "clocks of their hosts differ). Raise --steps"
        )
    rates = tuple(statistics.median(window[1] for window in own) for own in windows)
    parts = {
        name: statistics.median(window[2 + index] for window in windows[0])
        for index, name in enumerate(PARTS)
    }
    return Measurement(
        cell=cell,
        repetition=repetition,
        rate=sum(rates),
        worker_rates=rates,
        step_seconds=records[0]["tokens_per_step"] / rates[0],
        parts=parts,
        link=records[0]["link"],
        machines=tuple(name for record in records for name in record["machines"]),
        devices=tuple(record["devices"] for record in records),
        sequence_length=records[0]["sequence_length"],
        commit=records[0]["commit"],
    )


def common_windows(records: list[dict[str, Any]]) -> list[list[list[float]]]:
    """For each record, the windows that lie within the time in which all of them have windows.

    A window is [end, tokens per second, seconds of each part of a step].
    """
    if len(records) == 1:
        return [records[0]["windows"]]
    if not all(record["windows"] for record in records):
        return [[] for _ in records]
    spans = []
    for record in records:
        ends = [window[0] for window in record["windows"]]
        spans.append([2 * ends[0] - ends[1] if len(ends) > 1 else ends[0], *ends])
    first, last = max(span[0] for span in spans), min(span[-1] for span in spans)
    return [
        [
            window
            for window, begin in zip(record["windows"], span[:-1], strict=True)
            if first <= begin and window[0] <= last
        ]
        for record, span in zip(records, spans, strict=True)
    ]
