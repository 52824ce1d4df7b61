"""One host of the testbed: process 1 with a network, a name, mounts and process numbers of its own.

Nothing gets a name that outlives it: the namespaces belong to process 1, and when that is killed
the kernel ends every process in the host and takes its network, mounts and shared memory away.
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.testbed.processes import Command, Process

# slurmctld of Slurm 24.11 starts this child anew when it reads its configuration again.
DAEMON_OF_SLURM = "slurmctld: slurmscriptd"
NAMESPACES = ("--net", "--uts", "--mount", "--ipc", "--pid")


@dataclass
class Host:
    """A host that is up."""

    name: str
    address: str
    init: Process
    core: int | None  # the one core that all its processes share; None: all cores
    folder: Path  # its log, its part of /etc, and what commands wrote
    daemons: list[Process] = field(default_factory=list)  # what ran before anybody asked for more
    hogs: list[Process] = field(default_factory=list)  # loops that only take processor time

    def entrance(self, cwd: Path | None = None) -> list[str]:
        """The command line to put before a command, so that it runs in the host."""
        pin = ["taskset", "--cpu-list", str(self.core)] if self.core is not None else []
        nsenter = ["nsenter", f"--target={self.init.pid}", *NAMESPACES]
        # nsenter hands on no signal: without the last part, killing it would orphan the command.
        return [*pin, *nsenter, f"--wdns={cwd or Path.cwd()}", "setpriv", "--pdeathsig", "KILL"]

    def popen(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path | None = None
    ) -> Command:
        """Start a command in the host."""
        with (
            tempfile.NamedTemporaryFile(dir=self.folder, suffix=".out", delete=False) as stdout,
            tempfile.NamedTemporaryFile(dir=self.folder, suffix=".err", delete=False) as stderr,
        ):
            entrance = subprocess.Popen(
                [*self.entrance(cwd), *argv],
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
            return Command(entrance, stdout, stderr)

    def hog(self, num_hogs: int, env: Mapping[str, str]) -> None:
        """Run so many endless loops, in place of those that ran."""
        for hog in self.hogs:
            hog.send(signal.SIGKILL)
        loops = [self.popen(["sh", "-c", "while :; do :; done"], env) for _ in range(num_hogs)]
        self.hogs = [loop.process for loop in loops if loop.process is not None]

    def processes(self) -> list[Process]:
        """What runs in the host, daemons and hogs left out, in the order in which it started."""
        namespace = Path(f"/proc/{self.init.pid}/ns/pid").readlink()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "ns/pid").readlink() == namespace:
                    found.append(Process.of(int(folder.name)))
            except OSError:  # it ended while we looked
                continue
        return sorted(
            (p for p in found if p.is_alive and not self._is_own(p)),
            key=lambda p: (p.started, p.pid),
        )

    def _is_own(self, process: Process) -> bool:
        is_known = process in self.daemons or process in self.hogs
        return is_known or process.command.startswith(DAEMON_OF_SLURM)

    def last_of_log(self, num_lines: int = 20) -> str:
        """The last lines that its daemons wrote."""
        path = self.folder / "log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join(lines[-num_lines:])
