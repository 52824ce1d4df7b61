"""What can be done to a run over two hosts, and when."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.hpc.training.lives import last_step
from tests.testbed.cluster import HEAD, HOSTS, Testbed
from tests.testbed.processes import SSH_SESSIONS, Command, Process

REPOSITORY = Path(__file__).resolve().parents[2]
STRIKE_AT = 120  # the step that a run has passed when the fault comes


class Case:
    """A run over both hosts, and what can be done to it."""

    def __init__(self, testbed: Testbed, argv: list[str], run_dir: Path) -> None:
        self.testbed, self.argv, self.run_dir = testbed, argv, run_dir
        # The folder as dorchester sees it, whatever is mounted there.
        root = Path(f"/proc/{testbed.hosts[HEAD].init.pid}/root")
        self.seen = root / run_dir.relative_to("/")

    def start(self) -> Command:
        """Begin the run, or go on with it."""
        return self.testbed.popen(HEAD, self.argv, cwd=REPOSITORY)

    def is_in_its_middle(self) -> bool:
        """Whether the run has taken so many steps that a fault may come."""
        return last_step(self.seen) >= STRIKE_AT

    def is_launching(self) -> bool:
        """Whether mpirun's ssh is on bath, to start its daemon."""
        return any(p.command.startswith(SSH_SESSIONS) for p in self.testbed.processes("bath"))

    def has_begun(self) -> bool:
        """Whether both ranks start."""
        return len(self.ranks()) == len(HOSTS)

    def ranks(self) -> list[Process]:
        """The living processes of both ranks; that of rank 1 on bath last."""
        return [
            process
            for host in HOSTS
            for process in self.testbed.processes(host)
            if "hpc/train.py" in process.command and not process.command.startswith("mpirun")
        ]

    def kill(self) -> None:
        """Kill rank 1."""
        self.ranks()[-1].send(signal.SIGKILL)

    def stop(self, seconds: float | None = None) -> None:
        """Stop rank 1; for good, or for some seconds."""
        rank = self.ranks()[-1]
        rank.send(signal.SIGSTOP)
        if seconds is not None:
            time.sleep(seconds)
            rank.send(signal.SIGCONT)

    def cut(self, seconds: float | None = None) -> None:
        """Cut the link of bath; for good, or for some seconds."""
        self.testbed.cut("bath")
        if seconds is not None:
            time.sleep(seconds)
            self.testbed.mend("bath")

    def kill_host(self) -> None:
        """Kill everything that mpirun has started on bath."""
        for process in self.testbed.processes("bath"):
            process.send(signal.SIGKILL)

    def fill_disk(self) -> None:
        """Leave no space on the disk of the run folder."""
        self.testbed.run(HEAD, ["dd", "if=/dev/zero", f"of={self.run_dir}/filler", "bs=4k"])


@dataclass(frozen=True)
class Fault:
    """What is done to a run, and when, and which words of its output name the cause."""

    text: str
    strike: Callable[[Case], None]
    culprit: str = "bath"
    when: Callable[[Case], bool] = Case.is_in_its_middle


FAULTS = {
    "kill": Fault("rank 1 killed (SIGKILL)", Case.kill),
    "stop": Fault("rank 1 stopped (SIGSTOP)", Case.stop),
    "cut": Fault("link of bath cut", Case.cut),
    "launch": Fault("link cut while mpirun's ssh starts", Case.cut, when=Case.is_launching),
    "start": Fault("link cut while both ranks start", Case.cut, when=Case.has_begun),
    "host": Fault("all processes on bath killed", Case.kill_host),
    "disk": Fault("disk of the run folder full", Case.fill_disk, "No space left"),
    "stall-5": Fault("rank 1 stopped for 5 s", lambda case: case.stop(5.0)),
    "stall-20": Fault("rank 1 stopped for 20 s", lambda case: case.stop(20.0)),
    "link-5": Fault("link of bath cut for 5 s", lambda case: case.cut(5.0)),
    "link-20": Fault("link of bath cut for 20 s", lambda case: case.cut(20.0)),
}
