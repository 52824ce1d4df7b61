"""The testbed: its hosts, their network and configuration, and ways to reach into them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.testbed import jobs, network
from tests.testbed.hosts import NAMESPACES, Host
from tests.testbed.network import Switch, call
from tests.testbed.processes import Command, Process, poll, start_in_namespaces

HERE = Path(__file__).resolve().parent
ADDRESSES = {"dorchester": "10.83.77.1", "bath": "10.83.77.2", "ely": "10.83.77.3"}  # etc/hosts
HOSTS = ("dorchester", "bath")  # those that are up unless asked otherwise, and Slurm's nodes
HEAD = "dorchester"  # runs slurmctld, as in etc/slurm/slurm.conf
DEFAULT_STATE_DIR = Path("/tmp/chorale-testbed")
PATIENCE = 300.0  # seconds for what takes one or two on an idle machine
PROGRAMS = ("ip", "tc", "unshare", "nsenter", "setpriv", "taskset", "ssh-keygen", "sshd")
PROGRAMS += ("mpirun", "munged", "slurmctld", "slurmd")
SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def missing() -> str | None:
    """Why this machine cannot run the testbed; None when it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "the testbed needs root on Linux"
    absent = [name for name in PROGRAMS if shutil.which(name, path=SYSTEM_PATH) is None]
    if absent:
        return (
            f"the testbed needs {', '.join(absent)}. On Debian: apt-get install iproute2 "
            "openssh-server openmpi-bin slurm-wlm munge"
        )
    return None


class Testbed:
    """Some hosts that are up, or can be.

    A testbed has its own folder and no other name anywhere, so several can be up at once.
    """

    __test__ = False  # not a class of tests, whatever its name says

    def __init__(self, state_dir: Path = DEFAULT_STATE_DIR, die_with_us: bool = False) -> None:
        """The testbed that is up in `state_dir`, or none yet. `die_with_us`: see processes.py."""
        self.state_dir = state_dir
        self.die_with_us = die_with_us
        self.hosts: dict[str, Host] = {}
        self._switch: Switch | None = None
        self._has_slurm = False
        self._parents: list[subprocess.Popen[bytes]] = []
        self._attach()

    @property
    def is_up(self) -> bool:
        """Whether its hosts are up."""
        return bool(self.hosts) and all(host.init.is_alive for host in self.hosts.values())

    # -- up and down

    def up(self, pin: bool = True, slurm: bool = True, hosts: Sequence[str] = HOSTS) -> None:
        """Bring the hosts up, after taking away what is left of a testbed in the same folder.

        With `pin` every host has one core of its own, as far as there are cores.
        """
        if reason := missing():
            raise RuntimeError(reason)
        self.down()
        self._has_slurm = slurm
        try:
            self._write_etc()
            self._switch = Switch(self._start(network.BOOT_COMMAND, network.NAMESPACES)[1])
            cores = sorted(os.sched_getaffinity(0))
            for index, name in enumerate(hosts):
                self._boot(name, cores[index] if pin and index < len(cores) else None)
            self.wait_until_ready()
            for host in self.hosts.values():
                host.daemons = host.processes()
            self._record()
        except BaseException:
            for host in self.hosts.values():
                print(f"--- log of {host.name}\n{host.last_of_log()}", file=sys.stderr)
            self.down()
            raise

    def down(self) -> None:
        """End every process of every host, and remove the testbed's folder."""
        started = [host.init for host in self.hosts.values()]
        started += [self._switch.process] if self._switch else []
        for process in started:
            process.send(signal.SIGKILL)
        poll(lambda: not any(process.is_alive for process in started), 300, "hosts did not end")
        for parent in self._parents:
            parent.communicate()
        self.hosts, self._switch, self._parents = {}, None, []
        shutil.rmtree(self.state_dir, ignore_errors=True)

    def restore(self) -> None:
        """Make the hosts as they were when they came up, whatever was done to them."""
        self.set_rate(None)
        self.hog(0)
        for name in self.hosts:
            self.mend(name)
        if self._has_slurm:
            jobs.cancel_all(self._run_on_head)
        for host in self.hosts.values():
            for process in host.processes():
                process.send(signal.SIGKILL)
        if self._has_slurm and not self._waits_for_jobs():
            # A host that was away is asked to register now, not in half a minute.
            self._run_on_head(["scontrol", "reconfigure"])
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return when every host answers on ssh and, with Slurm, waits for jobs."""
        for name in self.hosts:
            ssh = ["ssh", name, "true"]
            poll(lambda ssh=ssh: self._run_on_head(ssh).returncode == 0, PATIENCE, f"no ssh {name}")
        if self._has_slurm:
            poll(self._waits_for_jobs, PATIENCE, "Slurm did not become ready")

    def _waits_for_jobs(self) -> bool:
        states = self._run_on_head(["sinfo", "--noheader", "--Node", "--format=%T"]).stdout.split()
        return states == ["idle"] * len(HOSTS)

    def _write_etc(self) -> None:
        """What each host finds on top of the machine's /etc: ours, and keys made for this time."""
        etc = self.state_dir / "etc"
        shutil.copytree(HERE / "etc", etc)
        (etc / "munge").mkdir(mode=0o700)
        (etc / "munge/munge.key").write_bytes(os.urandom(128))
        (etc / "munge/munge.key").chmod(0o400)
        _make_key(etc / "ssh/cluster_key")
        known = []
        for name, address in ADDRESSES.items():
            key = self.state_dir / name / "etc/ssh/ssh_host_ed25519_key"
            key.parent.mkdir(parents=True)
            _make_key(key)
            known.append(f"{name},{address} {key.with_suffix('.pub').read_text()}")
        (etc / "ssh/ssh_known_hosts").write_text("".join(known))

    def _start(
        self, argv: Sequence[str], namespaces: Sequence[str]
    ) -> tuple[subprocess.Popen[bytes], Process]:
        parent, init = start_in_namespaces(argv, namespaces, self.die_with_us)
        self._parents.append(parent)
        return parent, init

    def _boot(self, name: str, core: int | None) -> None:
        """Start a host, plug its cable into the switch, and tell it so."""
        assert self._switch is not None
        services = ["sshd"]
        if self._has_slurm and name in HOSTS:
            services += ["munged", *(["slurmctld"] if name == HEAD else []), "slurmd"]
        pin = ["taskset", "--cpu-list", str(core)] if core is not None else []
        address = ADDRESSES[name]
        script = [str(HERE / "host.sh"), name, f"{address}/24", str(self.state_dir)]
        parent, init = self._start([*pin, *script, *services], NAMESPACES)
        self.hosts[name] = Host(name, address, init, core, self.state_dir / name)
        self._record()
        self._switch.connect(self.hosts[name])
        assert parent.stdin is not None
        parent.stdin.write(b"plugged in\n")
        parent.stdin.flush()

    def hog(self, num_hogs: int) -> None:
        """Keep every host's cores busy with so many endless loops, in place of those before."""
        for host in self.hosts.values():
            host.hog(num_hogs, environment())
        self._record()

    # -- the network

    def cut(self, name: str) -> None:
        """Pull the host's cable: nothing arrives any more, and nobody is told."""
        self._set_port(name, "down")

    def mend(self, name: str) -> None:
        """Plug the host's cable in again."""
        self._set_port(name, "up")

    def set_rate(self, rate: str | None, name: str | None = None) -> None:
        """Limit a host's link (all unless named), each way, to e.g. `1gbit`; None: no limit."""
        assert self._switch is not None, "the testbed is not up"
        for host in [self.hosts[name]] if name else self.hosts.values():
            self._switch.set_rate(host, rate)

    def _set_port(self, name: str, state: str) -> None:
        assert self._switch is not None, "the testbed is not up"
        self._switch.set_port(self.hosts[name], state)

    # -- inside

    def popen(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Command:
        """Start a command on a host; `env` adds to a user's environment."""
        return self.hosts[name].popen(argv, environment(env), cwd)

    def run(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = PATIENCE,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host. Raises TimeoutExpired, after ending it, if it takes longer."""
        return self.popen(name, argv, env, cwd).wait(timeout)

    def processes(self, name: str) -> list[Process]:
        """What runs on a host beside its daemons: after a run has ended, nothing."""
        return self.hosts[name].processes()

    def left_over(self, name: str) -> list[Process]:
        """The same without sessions of sshd, which notice a cut link only after hours."""
        return [p for p in self.processes(name) if not p.command.startswith("sshd")]

    def sbatch(
        self,
        script: Path,
        *flags: str,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> int:
        """Submit a job script on the head, sbatch's options before it, flags behind it.

        Returns the job's number.
        """
        return jobs.submit(self._run_on_head, script, *flags, options=options, env=env, cwd=cwd)

    def job(self, number: int) -> jobs.Job:
        """A job as it is now."""
        return jobs.look(self._run_on_head, number)

    def wait_job(self, number: int, timeout: float) -> jobs.Job:
        """A job that has ended. Cancels it and raises TimeoutError, with its output, otherwise."""
        return jobs.wait(self._run_on_head, number, timeout)

    def _run_on_head(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return self.run(HEAD, argv, env, cwd)

    # -- what the next command needs to find us

    def _record(self) -> None:
        hosts = [{**asdict(host), "folder": str(host.folder)} for host in self.hosts.values()]
        switch = asdict(self._switch.process) if self._switch else None
        record = {"switch": switch, "slurm": self._has_slurm, "hosts": hosts}
        (self.state_dir / "hosts.json").write_text(json.dumps(record, indent=1))

    def _attach(self) -> None:
        try:
            record = json.loads((self.state_dir / "hosts.json").read_text())
        except FileNotFoundError:
            return
        self._switch = Switch(Process(**record["switch"]))
        self._has_slurm = record["slurm"]
        for fields in record["hosts"]:
            fields["init"] = Process(**fields["init"])
            for kind in ("daemons", "hogs"):
                fields[kind] = [Process(**process) for process in fields.get(kind, [])]
            fields["folder"] = Path(fields["folder"])
            self.hosts[fields["name"]] = Host(**fields)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a user's shell on a host has set: this one's, the python that runs us, and root."""
    path = os.pathsep.join((str(Path(sys.executable).parent), SYSTEM_PATH))
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return {**os.environ, "PATH": path, **root, **(extra or {})}


def _make_key(path: Path) -> None:
    call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "testbed", "-f", str(path)])
