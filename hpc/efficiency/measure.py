"""Launching one training of a scaling measurement, and the numbers that come back."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpc.efficiency.plan import Cell

BEGIN, END = "<measured>", "</measured>"  # around what a worker prints of its run
PARTS = ("input", "step", "save", "other")
PR_SET_PDEATHSIG = 1  # linux/prctl.h
STOP_SECONDS = 15.0
ATTEMPTS = 3  # to have independent processes train at the same time


@dataclass(frozen=True)
class Measurement:
    """One repetition of one cell."""

    cell: Cell
    repetition: int  # from 1
    rate: float  # tokens per second, all workers together
    worker_rates: tuple[float, ...]  # of independent processes; else of all workers together
    step_seconds: float  # median over the windows of the first worker that tells
    parts: dict[str, float]  # seconds of a step, likewise
    link: dict[str, float] | None  # the allreduce timed by itself, before step 1
    machines: tuple[str, ...]  # name and processor of each worker's host
    devices: tuple[str, ...]  # of each worker that tells
    sequence_length: int
    commit: str  # of the program; with '+' if files were changed since

    def to_json(self) -> dict[str, Any]:
        """The measurement as JSON can hold it; `from_json` takes it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Measurement:
        """The measurement of an entry. Raises ValueError where it is none."""
        try:
            cell = {**entry["cell"], "hosts": tuple(entry["cell"]["hosts"])}
            lists = {n: tuple(entry[n]) for n in ("worker_rates", "machines", "devices")}
            return cls(**{**entry, **lists, "cell": Cell(**cell)})
        except (KeyError, TypeError) as error:
            raise ValueError(f"an entry is no measurement ({error})") from None


class NeverTogetherError(RuntimeError):
    """Independent processes of which one had ended before another began to be counted."""


def measure(
    cell: Cell, repetition: int, work_dir: Path, flags: Sequence[str], share: int
) -> Measurement:
    """The measurement of one training, started under mpirun.

    `share` is the number of workers between which the cores of a host are divided. Where processes
    were to train at the same time and did not, as may happen by chance on a busy machine, they
    train again, twice as long. Raises RuntimeError with the run's own last error line if a training
    fails, and NeverTogetherError if that did not help either.
    """
    for attempt in range(ATTEMPTS):
        longer = [twice(flag, attempt) for flag in flags]
        records = train_cell(cell, work_dir, longer, share)
        try:
            return summarise(cell, repetition, records)
        except NeverTogetherError:
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def twice(flag: str, times: int) -> str:
    """The flag; if it is --steps=N, with N doubled so many times."""
    name, _, value = flag.partition("=")
    return f"{name}={int(value) * 2**times}" if name == "--steps" else flag


def train_cell(
    cell: Cell, work_dir: Path, flags: Sequence[str], share: int
) -> list[dict[str, Any]]:
    """What the workers of one training told."""
    work_dir.mkdir(parents=True, exist_ok=True)
    worker = [sys.executable, str(Path(__file__).with_name("worker.py"))]
    worker += [f"--share={share}", f"--run={work_dir / 'run'}", *["--alone"] * cell.is_alone]
    batch = cell.batch if cell.is_alone else cell.batch * cell.workers
    worker += ["--", f"--strategy={cell.strategy}", f"--global-batch-size={batch}", *flags]
    launch = ["mpirun", "-np", str(cell.workers), "-H", cell.slots]
    launch += ["--map-by", "slot", "--bind-to", "none"]  # the workers share the cores out
    logs = [work_dir / "stdout.txt", work_dir / "stderr.txt"]
    with logs[0].open("wb") as stdout, logs[1].open("wb") as stderr:
        code = run_to_the_end([*launch, *worker], stdout=stdout, stderr=stderr)
    told, complaints = (log.read_text(errors="replace") for log in logs)
    if code:
        raise RuntimeError(f"{cell}: {last_error(complaints) or f'mpirun ended with {code}'}")
    found = re.findall(rf"{BEGIN}(.*?){END}", told, re.DOTALL)
    return [json.loads(entry) for entry in found]


def summarise(cell: Cell, repetition: int, records: list[dict[str, Any]]) -> Measurement:
    """The measurement that the records of a cell's workers make: medians over windows.

    Of independent processes only windows count in which all of them trained, since the last one
    has the machine to itself. Raises NeverTogetherError where nothing is left, RuntimeError where a
    worker told nothing.
    """
    expected = cell.workers if cell.is_alone else 1
    records = sorted(records, key=lambda record: record["rank"])
    if len(records) != expected:
        raise RuntimeError(f"{cell}: {len(records)} of {expected} workers told their speed")
    windows = common_windows(records)
    if not all(windows):
        raise NeverTogetherError(
            f"{cell}: there was no time at which all processes trained (they start apart, or their "
            "hosts' clocks differ). Raise --steps"
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


def last_error(complaints: str) -> str:
    """The last line that begins as our errors do, without that word; else the last line."""
    lines = [line.strip() for line in complaints.splitlines() if line.strip(" -\t")]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1]


def run_to_the_end(argv: Sequence[str], **streams: Any) -> int:
    """The exit code of a program; whatever happens here meanwhile, none of its processes stays."""
    process = subprocess.Popen(
        argv,
        env=mpi_environment(),
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C comes to us alone, and we end it in order
        preexec_fn=_end_with_parent,
        **streams,
    )
    try:
        return process.wait()
    finally:
        _stop(process)


def mpi_environment() -> dict[str, str]:
    """The environment for mpirun: that of make setup's MPI if there is no other; root may run it.

    Raises ValueError without an mpirun.
    """
    environ = dict(os.environ)
    if shutil.which("mpirun") is None:
        environ["PATH"] = f"{environ.get('PATH', '')}:{Path(sys.executable).parent}"
        if shutil.which("mpirun", path=environ["PATH"]) is None:
            raise ValueError("there is no mpirun on the PATH: run make setup, or load the MPI")
    if os.geteuid() == 0:
        environ |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return environ


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Meanwhile SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _end_with_parent() -> None:
    """Have the kernel send this process SIGTERM when its parent ends, even by SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End mpirun, which ends its workers on all hosts; what is left here after that is killed."""
    if process.poll() is not None:
        return
    import psutil  # comes with mpi4py, by the horovod extra

    # mpirun puts each worker into a process group of its own.
    workers = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for worker in psutil.wait_procs(workers, timeout=2)[1]:
        worker.kill()
