"""Command: train on several hosts, and start again on those that are left when one is lost.

    python hpc/launch.py -H dorchester,bath --restarts 5 -- --run runs/both --steps 20000

Run it on one of the hosts, where rank 0 then writes the run. It starts again after a loss and,
after a save, when a host is back. An error of the training ends it. Ctrl-C, SIGTERM and a
terminal that closes save first.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

if __package__ in (None, ""):  # run as a script: import from the root, not from hpc/
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from pipeline.runtime.interpreter import explain_missing_libraries

    explain_missing_libraries()

from hpc.config import train_config
from hpc.diagnostics.usable_hosts import UsableHosts
from hpc.distributed.mpirun import HOST_LOST, LOST_CODES, mpi_environment, mpirun_command, running
from hpc.run_folder.layout import STRETCHES
from hpc.training.checkpoints import newest_bundle
from hpc.training.continuing import settings_to_continue_with
from hpc.training.preemption import EXIT_PREEMPTED, SIGNALS
from pipeline.runtime.command import described_parser, heeded, outlive_terminal, run_command
from pipeline.runtime.provenance import REPOSITORY

say = partial(print, "launch:", file=sys.stderr, flush=True)  # of the training as a whole


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of the last start of hpc/train.py; 1 for wrong hosts or a wrong data set."""
    parser = described_parser(__doc__)
    parser.usage = "%(prog)s -H HOST[:SLOTS],... [flags] [-- flags of hpc/train.py]"
    add = parser.add_argument
    add("-H", "--hosts", required=True, metavar="HOST[:SLOTS],...", help="hosts as for mpirun")
    add("--restarts", type=int, default=5, metavar="N", help="starts after losses, at most [5]")
    add("--min-hosts", type=int, metavar="N", help="do not train on fewer [begin on all, then 1]")
    add(
        "--wait", type=float, default=600, metavar="S", help="seconds to wait for --min-hosts [600]"
    )
    add("--check-every", type=float, default=30, metavar="S", help="seconds between checks [30]")
    add("train_flags", nargs="*", metavar="FLAG", help=argparse.SUPPRESS)
    flags = parser.parse_args(argv)
    outlive_terminal()
    return run_command(lambda: Launch(flags).until_done())


class Launch:
    """A training that starts again after losses."""

    def __init__(self, flags: argparse.Namespace) -> None:
        """Raises ValueError where the hosts or the flags of hpc/train.py cannot be used."""
        self.flags = flags
        config, extra = train_config.parse_flags(flags.train_flags, "hpc/train.py")
        if config.run and (bundle := newest_bundle(config.run, say)):
            config = settings_to_continue_with(config, extra.given, config.run, bundle)
        self.hosts = UsableHosts(flags.hosts, config.data, config.global_batch_size)
        data = shlex.quote(str(config.data))
        self.doctor = f"python hpc/doctor.py -H {flags.hosts} --data {data}"
        self.needs_all = flags.min_hosts is None  # until its first start
        self.min_hosts = 1 if self.needs_all else flags.min_hosts
        if not 1 <= self.min_hosts <= len(self.hosts.all):
            raise ValueError(f"--min-hosts is {self.min_hosts}; give 1 to {len(self.hosts.all)}")
        if config.local_batch_size:
            raise ValueError("--local-batch-size: workers may change. Use --global-batch-size")
        self.run_dir = config.run or Path("runs") / time.strftime("train-%Y%m%d-%H%M%S")
        self.temporary = tempfile.TemporaryDirectory()
        self.result = extra.json or Path(self.temporary.name) / "result.json"
        own = [f"--run={self.run_dir}", f"--data={config.data}", f"--json={self.result}"]
        self.train_flags = [*flags.train_flags, *own]
        self.told: dict[str, str] = {}  # why hosts are left out
        self.is_named, self.is_dry = config.run is not None, extra.dry_run
        self.asked = False  # to save and end
        self.mpirun: subprocess.Popen[bytes] | None = None
        for number in heeded(SIGNALS):
            signal.signal(number, self._ask)

    def until_done(self) -> int:
        """The exit code of the last start: 0, that of an error, or of one loss too many."""
        restarts = 0
        while (hosts := self.wait_for_hosts()) and not self.asked:
            code, is_growing = self.train(hosts)
            if code == 0 and not (self.is_dry or self.result.exists()):
                code = HOST_LOST  # mpirun of Open MPI 5.0.11 ends with 0 if a host is gone
            if self.asked and code == EXIT_PREEMPTED:  # mpirun's last words are of a failure
                named = "" if self.is_named else f" with --run={self.run_dir} behind --"
                say(f"saved: the same command{named} continues")
            if code == 0 or self.asked:
                return code
            if is_growing and code == EXIT_PREEMPTED:
                continue
            if code not in (EXIT_PREEMPTED, *LOST_CODES) and not self.hosts.unfit(hosts[1:]):
                return code
            allowed = self.flags.restarts
            if restarts >= allowed:
                say(f"code {code} after {restarts} of {allowed} restarts (--restarts): no more")
                return code
            restarts += 1
            say(f"code {code}: restart {restarts} of {allowed} (--restarts)")
        return EXIT_PREEMPTED

    def wait_for_hosts(self) -> list[str]:
        """The hosts to start on, at least --min-hosts. RuntimeError if they do not come in time."""
        deadline = time.monotonic() + self.flags.wait
        while True:
            if len(found := self.look()) >= self.min_hosts or self.asked:
                return found
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"{len(found)} hosts after {self.flags.wait:g} s, and {self.min_hosts} "
                    f"are needed (--min-hosts, --wait): {self.doctor}"
                )
            time.sleep(self.flags.check_every)

    def look(self) -> list[str]:
        """The hosts that can take part now; why others cannot is said where it has changed.

        Before the first start of all hosts (--min-hosts was not given) RuntimeError names them.
        """
        found, reasons = self.hosts.now()
        if reasons and self.needs_all:
            missing = "; ".join(f"{host}: {reason}" for host, reason in reasons.items())
            raise RuntimeError(
                f"a run begins on all of its hosts, and cannot on {missing}. See {self.doctor}; "
                f"--min-hosts {len(found)} begins without"
            )
        for host, reason in reasons.items() - self.told.items():
            say(f"without {host}: {reason}")
        self.told = reasons
        return found

    def train(self, hosts: list[str]) -> tuple[int, bool]:
        """One start of hpc/train.py: its exit code, and whether it was ended to take in a host."""
        num_workers = sum(self.hosts.slots[host] for host in hosts)
        listed = ",".join(f"{host}:{self.hosts.slots[host]}" for host in hosts)
        program = [sys.executable, str(REPOSITORY / "hpc/train.py"), *self.train_flags]
        launch = mpirun_command(program, num_workers, listed)
        say(f"-H {listed}, run {self.run_dir}")
        self.needs_all, is_growing, started = False, False, time.time()
        self.result.unlink(missing_ok=True)
        with running(launch, mpi_environment()) as self.mpirun:
            while True:
                try:
                    return self.mpirun.wait(self.flags.check_every), is_growing
                except subprocess.TimeoutExpired:
                    # Before its stretch is recorded, a signal would end the run without a save.
                    record = self.run_dir / STRETCHES
                    if record.exists() and record.stat().st_mtime > started and not is_growing:
                        is_growing = self.grow(hosts, self.mpirun)

    def grow(self, hosts: list[str], mpirun: subprocess.Popen[bytes]) -> bool:
        """Let the run save and end if it can continue on more hosts; whether it can."""
        if len(hosts) == len(self.hosts.all) or len(more := self.look()) <= len(hosts):
            return False
        say(f"{', '.join(host for host in more if host not in hosts)} answers: saving to grow")
        mpirun.send_signal(signal.SIGUSR2)
        return True

    def _ask(self, number: int, *_: object) -> None:
        """Let the run save and end. A second Ctrl-C raises KeyboardInterrupt."""
        self.asked = True
        if self.mpirun is not None:
            self.mpirun.send_signal(signal.SIGUSR2)  # does nothing once it has ended
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    sys.exit(main())
