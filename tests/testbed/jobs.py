"""Slurm jobs in the testbed: submitted on the head, waited for, told how they ended."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

RunOnHead = Callable[..., "CompletedProcess[str]"]
ENDED = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY")


@dataclass(frozen=True)
class Job:
    """What slurmctld knows of a job, and what it has written."""

    number: int
    state: str  # COMPLETED, FAILED, TIMEOUT, CANCELLED, ... or one on the way there
    exit_code: int
    restarts: int
    hosts: str
    output: str

    @property
    def has_ended(self) -> bool:
        """Whether it will not run again by itself."""
        return self.state in ENDED


def submit(
    run: RunOnHead, script: Path, *flags: str, options: Sequence[str] = (), **where: object
) -> int:
    """Submit a script; returns the job's number, or raises RuntimeError with what sbatch said."""
    done = run(["sbatch", "--parsable", *options, str(script), *flags], **where)
    if done.returncode:
        raise RuntimeError(f"sbatch {script}: {done.stderr.strip()}")
    return int(done.stdout)


def look(run: RunOnHead, number: int) -> Job:
    """A job as it is now."""
    shown = run(["scontrol", "--oneliner", "show", "job", str(number)])
    if shown.returncode:
        raise RuntimeError(f"job {number}: {shown.stderr.strip()}")
    fields = dict(re.findall(r"(\w+)=(\S*)", shown.stdout))
    written = Path(fields["StdOut"])
    return Job(
        number,
        fields["JobState"],
        int(fields["ExitCode"].partition(":")[0]),
        int(fields["Restarts"]),
        fields.get("NodeList", ""),
        written.read_text(errors="replace") if written.exists() else "",
    )


def wait(run: RunOnHead, number: int, timeout: float) -> Job:
    """A job that has ended. Cancels it and raises TimeoutError, with its output, if it does not."""
    deadline = time.monotonic() + timeout
    while not (job := look(run, number)).has_ended:
        if time.monotonic() > deadline:
            run(["scancel", str(number)])
            raise TimeoutError(f"job {number} is {job.state} after {timeout:.0f} s:\n{job.output}")
        time.sleep(0.2)
    return job


def cancel_all(run: RunOnHead) -> None:
    """End every job, waiting or running."""
    for line in run(["squeue", "--noheader", "--format=%A"]).stdout.split():
        run(["scancel", "--signal=KILL", "--full", line])
        run(["scancel", line])
