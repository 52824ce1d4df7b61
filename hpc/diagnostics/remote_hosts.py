"""Reach other hosts before a run: their facts and clocks by ssh, a trial of mpirun."""

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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from hpc.distributed.mpirun import run_to_the_end
from pipeline.runtime.provenance import REPOSITORY

FACTS_MARK = "facts: "  # begins the line of facts, after what a login script may print
CLOCK_ROUNDS = 5
CONNECT_SECONDS = 5
# No prompt waits for an answer; a host that is off or cut off is noticed within seconds.
SSH = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"]
SSH += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=2"]
SET_UP = 'ssh {host} "cd {folder} && make setup"'
COPY = "rsync -a --mkpath --exclude .venv --exclude runs {folder}/ {host}:{folder}/, then " + SET_UP
# Words of an error message of ssh, the remote shell or its Python, and what to do about them.
SSH_ADVICE = {
    "Permission denied": "ssh-copy-id {host}, so that ssh {host} asks for no password",
    "Host key verification failed": "ssh {host} once by hand and accept its key",
    "Could not resolve hostname": "is the name {host} misspelled? If not, give it an address in "
    "/etc/hosts on every host",
    "Connection refused": "start sshd on {host}",
    "timed out": "{host} is off, cut off, or behind a firewall: see that ping {host} answers",
    "not responding": "{host} is off, cut off, or behind a firewall: see that ping {host} answers",
    "No route to host": "{host} is off or cut off: check its cable and address",
    "can't open file": COPY,
    " has no ": SET_UP,  # what a command of ours says of a Python without its libraries
    "{python}": SET_UP,  # the shell found no such program
    "cd: ": COPY,
}
# Every rank reports its host and cores to rank 0; a message from each proves the network.
TRIAL = """
import json, os, sys
try:
    from mpi4py import MPI
except ImportError as error:
    # Written at once: mpirun joins what the ranks write.
    sys.stderr.write(f"on {os.uname().nodename}, {sys.executable} has no mpi4py ({error}).\\n")
    sys.exit(1)
world = MPI.COMM_WORLD
mine = [os.uname().nodename, sys.executable, len(os.sched_getaffinity(0))]
ranks = world.gather(mine)
world.Barrier()
if world.rank == 0:
    print(json.dumps(ranks))
"""


class UnreachableError(RuntimeError):
    """Raised for a host that does not answer; `advice` says what to do."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


@dataclass(frozen=True)
class Answer:
    """The facts of a host, and the difference between its clock and ours."""

    facts: dict[str, Any]
    clock_offset: float = 0.0  # seconds that its clock is ahead
    clock_error: float = 0.0  # seconds at most: half of the round trip


def ask(host: str, flags: Sequence[str], timeout: float = 150.0) -> Answer:
    """The facts of another host, by ssh. Raises UnreachableError if they do not come."""
    doctor = [sys.executable, "hpc/doctor.py", "--facts", *flags]
    command = f"cd {shlex.quote(str(REPOSITORY))} && exec {shlex.join(doctor)}"
    with tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(
            [*SSH, host, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            bufsize=1,
        )
        with _killed_after(process, timeout):
            facts = _read_facts(process)
            offset, error = _compare_clocks(process) if facts is not None else (0.0, 0.0)
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
        stderr.seek(0)
        last_line = stderr.read().strip().splitlines()[-1:]
    if facts is None:
        reason = last_line[0] if last_line else f"no answer within {timeout:.0f} s"
        raise UnreachableError(reason, _advice(reason, host))
    return Answer(facts, offset, error)


def ask_all(
    hosts: Sequence[str], flags: Sequence[str], timeout: float = 150.0
) -> dict[str, Answer | UnreachableError]:
    """The answers of other hosts by name, asked all at once; an error for one without an answer."""

    def answer(host: str) -> Answer | UnreachableError:
        try:
            return ask(host, flags, timeout)
        except UnreachableError as error:
            return error

    with ThreadPoolExecutor(max_workers=max(len(hosts), 1)) as pool:
        return dict(zip(hosts, pool.map(answer, hosts), strict=True))


def _advice(message: str, host: str) -> str:
    for words, advice in SSH_ADVICE.items():
        if words.format(python=sys.executable) in message:
            return advice.format(host=host, folder=REPOSITORY)
    return f"see what ssh {host} {sys.executable} --version prints"


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
    """Seconds by which the other clock is ahead, and the error of that.

    The question with the shortest round trip has the smallest error, as in NTP (RFC 5905,
    section 10).
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
    except (OSError, ValueError):  # cut off meanwhile: the answers before that count
        pass
    error, offset = min(rounds, default=(float("inf"), 0.0))
    return offset, error


def answer_clock_questions(questions: IO[str]) -> None:
    """Print one time of day for every line: the other side of the comparison."""
    for _ in questions:
        print(repr(time.time()), flush=True)


@dataclass(frozen=True)
class Trial:
    """The result of a small program under mpirun."""

    command: str
    ranks: list[tuple[str, str, int]]  # host, python, cores it may use; empty: it failed
    complaint: str = ""


def try_mpirun(hosts: str, num_ranks: int, options: Sequence[str], timeout: float = 40.0) -> Trial:
    """Start `num_ranks` processes on the hosts, written as after -H, and exchange a message."""
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
    """The first sentence of a rank's error message, else of Open MPI's framed message."""
    before_frame, _, framed = text.partition("\n---")
    words = " ".join((before_frame.strip("-\n ") or framed.strip("-\n ")).split())
    return re.split(r"\.( |$)|:$", words, maxsplit=1)[0] or f"exit code {code}"
