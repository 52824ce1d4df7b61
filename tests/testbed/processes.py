"""Processes of the testbed: told apart for certain, started in namespaces, waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# A session of a host's sshd that waits for its first command, or runs it; from OpenSSH 9.8 on the
# second.
SSH_SESSIONS = ("sshd: root", "sshd-session: root")


@dataclass(frozen=True)
class Process:
    """A process, told from a later one with the same number by when it started."""

    pid: int
    started: int  # clock ticks since the machine started

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this number now; ProcessLookupError where there is none."""
        return cls(pid, int(_stat(pid)[19]))

    @property
    def is_alive(self) -> bool:
        """Whether it still runs: neither gone, nor a zombie, nor another with its number."""
        try:
            stat = _stat(self.pid)
        except ProcessLookupError:
            return False
        return int(stat[19]) == self.started and stat[0] not in ("Z", "X")

    @property
    def command(self) -> str:
        """The command line; empty for one that has ended."""
        try:
            return Path(f"/proc/{self.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            return ""

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended meanwhile."""
        if self.is_alive:
            with suppress(ProcessLookupError):  # it may end between the question and the signal
                os.kill(self.pid, number)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (the state) on; see proc(5)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(pid) from None


def tells_of_a_loss(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether mpirun tells of a lost host, by its code or in words.

    That of Open MPI 5 ends with code 0 there: findings/open-mpi-5-lost-host-code.sh.
    """
    return done.returncode != 0 or "lost communication" in done.stderr


def poll(condition: Callable[[], bool], seconds: float, failure: str) -> None:
    """Return as soon as the condition holds; TimeoutError with the failure after the seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{failure} within {seconds:.0f} s")
        time.sleep(0.02)


def only_child(parent: subprocess.Popen[bytes]) -> Process | None:
    """The one child of a process; None if the process ended before we saw it."""
    path = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    while parent.poll() is None:
        with suppress(OSError):  # either may end between the question and the answer
            if children := path.read_text().split():
                return Process.of(int(children[0]))
        time.sleep(0.005)
    return None


def start_in_namespaces(
    argv: Sequence[str], namespaces: Sequence[str], die_with_us: bool
) -> tuple[subprocess.Popen[bytes], Process]:
    """A command as process 1 of new namespaces: (its parent, which waits for it; itself).

    It has said "booted" on its stdout when this returns, and may read its stdin. With
    `die_with_us` the kernel kills it when the calling thread ends, in whatever way.
    """
    tether = ["setpriv", "--pdeathsig", "KILL"] if die_with_us else []
    mount_proc = ["--mount-proc"] if "--mount" in namespaces else []
    parent = subprocess.Popen(
        [*tether, "unshare", *namespaces, "--fork", "--kill-child", *mount_proc, *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert parent.stdout is not None and parent.stderr is not None
    try:
        greeting = parent.stdout.readline()
        init = only_child(parent)
        if greeting != b"booted\n" or init is None:
            parent.kill()
            reason = parent.stderr.read().decode(errors="replace").strip()
            raise RuntimeError(f"{' '.join(argv)} did not start: {reason}")
    except BaseException:
        parent.kill()
        raise
    return parent, init


class Command:
    """A command that runs in a host; its output collects in files and can be read meanwhile."""

    def __init__(
        self, entrance: subprocess.Popen[bytes], stdout: IO[bytes], stderr: IO[bytes]
    ) -> None:
        self._entrance = entrance
        self._stdout, self._stderr = Path(stdout.name), Path(stderr.name)
        self.process = only_child(entrance)  # under the number that this machine knows it by

    def wait(self, timeout: float) -> subprocess.CompletedProcess[str]:
        """Its exit code and output. Raises TimeoutExpired, after ending it, if it takes longer."""
        argv = self._entrance.args
        try:
            code = self._entrance.wait(timeout)
        except subprocess.TimeoutExpired:
            self.stop()
            raise subprocess.TimeoutExpired(argv, timeout, self.stdout, self.stderr) from None
        return subprocess.CompletedProcess(argv, code, self.stdout, self.stderr)

    def send(self, number: signal.Signals) -> None:
        """Send the command a signal, unless it has ended."""
        if self.process is not None and self.is_running:
            self.process.send(number)

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Ask it to end by SIGTERM, on which mpirun ends its ranks; SIGKILL after the grace."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            self._entrance.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self._entrance.wait()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._entrance.poll() is None

    @property
    def stdout(self) -> str:
        """What it has written to stdout so far."""
        return self._stdout.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it has written to stderr so far."""
        return self._stderr.read_text(errors="replace")
