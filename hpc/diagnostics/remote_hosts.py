"""How one host reaches others before a run: their facts and clocks by ssh, a trial of mpirun."""

from __future__ import annotations

import json
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from hpc.distributed.mpirun import run_to_the_end
from pipeline.runtime.provenance import REPOSITORY

FACTS_MARK = "facts: "  # begins the line; a login script may have printed others before it
CLOCK_ROUNDS = 5
CONNECT_SECONDS = 5
# No prompt may wait for an answer; a host that is off or cut off is told within seconds.
SSH = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"]
SSH += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=2"]
# What ssh or the remote shell says, and what to do about it. {host}, {folder}: of the question.
SSH_ADVICE = {
    "Permission denied": "ssh-copy-id {host}, so that ssh {host} asks for no password",
    "Host key verification failed": "ssh {host} once by hand and accept its key",
    "Could not resolve hostname": "give {host} an address in /etc/hosts on every host",
    "Connection refused": "start sshd on {host}",
    "timed out": "{host} is off, cut off, or behind a firewall: see that ping {host} answers",
    "not responding": "{host} is off, cut off, or behind a firewall: see that ping {host} answers",
    "No route to host": "{host} is off or cut off: check its cable and address",
    "No such file or directory": "put the program at the same path on {host}: rsync -a "
    "{folder}/ {host}:{folder}/, and run make setup there",
    "not found": "run make setup in {folder} on {host}",
    "No module named": "run make setup in {folder} on {host}",
}
# Every rank tells where it is and which cores it may use; a message to each proves the network.
TRIAL = """
import json, os, sys
try:
    from mpi4py import MPI
except ImportError as error:
    sys.exit(f"on {os.uname().nodename}, {sys.executable} has no mpi4py ({error})")
world = MPI.COMM_WORLD
mine = [os.uname().nodename, sys.executable, len(os.sched_getaffinity(0))]
ranks = world.gather(mine)
world.Barrier()
if world.rank == 0:
    print(json.dumps(ranks))
"""


class UnreachableError(RuntimeError):
    """A host does not answer; `advice` says what to do."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


@dataclass(frozen=True)
class Answer:
    """What a host said of itself, and how far its clock is from ours."""

    facts: dict[str, Any]
    clock_offset: float = 0.0  # seconds that its clock is ahead
    clock_error: float = 0.0  # at most this far from the truth: half of the round trip


def ask(host: str, flags: Sequence[str], timeout: float = 150.0) -> Answer:
    """The facts of another host, by ssh; UnreachableError if they do not come."""
    doctor = [sys.executable, "hpc/doctor.py", "--facts", *flags]
    command = f"cd {shlex.quote(str(REPOSITORY))} && exec {shlex.join(doctor)}"
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            [*SSH, host, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            bufsize=1,
        )
        with _killed_after(process, timeout):
            facts = _read_facts(process)
            offset, error = _compare_clocks(process) if facts is not None else (0.0, 0.0)
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
        complaints.seek(0)
        said = complaints.read().strip().splitlines()[-1:]
    if facts is None:
        reason = said[0] if said else f"nothing came within {timeout:.0f} s"
        raise UnreachableError(reason, _advice(reason, host))
    return Answer(facts, offset, error)


def _advice(said: str, host: str) -> str:
    for sign, advice in SSH_ADVICE.items():
        if sign in said:
            return advice.format(host=host, folder=REPOSITORY)
    return f"see what ssh {host} {sys.executable} --version says"


@contextmanager
def _killed_after(process: subprocess.Popen[str], seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _read_facts(process: subprocess.Popen[str]) -> dict[str, Any] | None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(FACTS_MARK):
            return dict(json.loads(line.removeprefix(FACTS_MARK)))
    return None


def _compare_clocks(process: subprocess.Popen[str]) -> tuple[float, float]:
    """Seconds by which the other clock is ahead, and how far off that may be.

    Of several questions for the time, the one with the shortest round trip tells most, as in NTP
    (RFC 5905, section 10).
    """
    assert process.stdin is not None and process.stdout is not None
    rounds = []
    try:
        for _ in range(CLOCK_ROUNDS):
            asked = time.time()
            process.stdin.write("\n")
            process.stdin.flush()
            other = float(process.stdout.readline())
            answered = time.time()
            rounds.append(((answered - asked) / 2, other - statistics.mean((asked, answered))))
    except (OSError, ValueError):  # cut off meanwhile: what was heard before counts
        pass
    error, offset = min(rounds, default=(float("inf"), 0.0))
    return offset, error


def answer_clock_questions(questions: IO[str]) -> None:
    """The other side of the comparison: one time of day for every line."""
    for _ in questions:
        print(repr(time.time()), flush=True)


@dataclass(frozen=True)
class Trial:
    """What came of a small program under mpirun."""

    command: str
    ranks: list[tuple[str, str, int]]  # host, python, cores it may use; empty: it failed
    complaint: str = ""


def try_mpirun(hosts: str, num_ranks: int, options: Sequence[str], timeout: float = 40.0) -> Trial:
    """Start `num_ranks` processes on the hosts (as after -H) and let them exchange a message."""
    launch = ["mpirun", "-np", str(num_ranks), "-H", hosts, *options]
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        try:
            code = run_to_the_end(
                [*launch, "python", "-c", TRIAL], timeout=timeout, stdout=stdout, stderr=stderr
            )
        except subprocess.TimeoutExpired:
            return Trial(shlex.join(launch), [], f"no answer within {timeout:.0f} s")
        stdout.seek(0)
        stderr.seek(0)
        try:
            ranks = json.loads(stdout.read().strip().splitlines()[-1])
        except (IndexError, ValueError):
            complaint = _first_complaint(stderr.read(), code)
            return Trial(shlex.join(launch), [], complaint)
    return Trial(shlex.join(launch), [(host, path, cores) for host, path, cores in ranks])


def _first_complaint(text: str, code: int) -> str:
    """The first sentence of what a rank complained of, else of Open MPI's framed message."""
    before_frame, _, framed = text.partition("\n---")
    said = " ".join((before_frame.strip("-\n ") or framed.strip("-\n ")).split())
    return re.split(r"\. |:$", said, maxsplit=1)[0] or f"exit code {code}"
