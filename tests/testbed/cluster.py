"""The testbed: the hosts, the switch between them, their configuration, and ways to reach into them."""

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

from testbed.hosts import NAMESPACES, Host
from testbed.processes import Command, Process, poll, start_in_namespaces

HERE = Path(__file__).resolve().parent
ADDRESSES = {"dorchester": "10.83.77.1", "bath": "10.83.77.2"}  # as in etc/hosts
HEAD = "dorchester"  # runs slurmctld, as in etc/slurm/slurm.conf
DEFAULT_STATE_DIR = Path("/tmp/chorale-testbed")
PROGRAMS = "ip tc unshare nsenter setpriv taskset sshd mpirun munged slurmctld slurmd".split()
SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
# The switch is the only place where both links meet, and it has no link to anywhere else.
SWITCH = "ip link add switch type bridge && ip link set switch up && echo booted && exec sleep inf"


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
    """Two hosts that are up, or can be.

    A testbed has its own folder and no other name anywhere, so several can be up at once.
    """

    __test__ = False  # not a class of tests, whatever its name says

    def __init__(self, state_dir: Path = DEFAULT_STATE_DIR, die_with_us: bool = False) -> None:
        """A testbed that is up in `state_dir`, or none yet. `die_with_us`: see processes.py."""
        self.state_dir = state_dir
        self.die_with_us = die_with_us
        self.hosts: dict[str, Host] = {}
        self._switch: Process | None = None
        self._parents: list[subprocess.Popen[bytes]] = []
        self._attach()

    # -- up and down

    def up(self, pin: bool = True, slurm: bool = True) -> None:
        """Bring both hosts up, after taking away what is left of a testbed in the same folder.

        With `pin` every host has one core of its own, as far as there are cores.
        """
        if reason := missing():
            raise RuntimeError(reason)
        self.down()
        try:
            self._write_etc()
            self._switch = self._start(["sh", "-c", SWITCH], ("--net", "--pid"))[1]
            cores = sorted(os.sched_getaffinity(0))
            for index, name in enumerate(ADDRESSES):
                self._boot(name, cores[index] if pin and index < len(cores) else None, slurm)
            self._wait_until_ready(slurm)
            for host in self.hosts.values():
                host.num_daemons = len(host.processes())
            self._record()
        except BaseException:
            for host in self.hosts.values():
                last = "\n".join(host.log.splitlines()[-20:])
                print(f"--- log of {host.name}\n{last}", file=sys.stderr)
            self.down()
            raise

    def down(self) -> None:
        """End every process of every host, and remove the testbed's folder."""
        started = [host.init for host in self.hosts.values()]
        started += [self._switch] if self._switch else []
        for process in started:
            process.send(signal.SIGKILL)
        poll(lambda: not any(process.is_alive for process in started), 20, "hosts did not end")
        for parent in self._parents:
            parent.communicate()
        self.hosts, self._switch, self._parents = {}, None, []
        shutil.rmtree(self.state_dir, ignore_errors=True)

    @property
    def is_up(self) -> bool:
        """Whether both hosts are up."""
        return bool(self.hosts) and all(host.init.is_alive for host in self.hosts.values())

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

    def _boot(self, name: str, core: int | None, slurm: bool) -> None:
        """Start a host and plug its cable into the switch."""
        services = ["sshd"]
        if slurm:
            services += ["munged", *(["slurmctld"] if name == HEAD else []), "slurmd"]
        pin = ["taskset", "--cpu-list", str(core)] if core is not None else []
        address = ADDRESSES[name]
        script = [str(HERE / "host.sh"), name, f"{address}/24", str(self.state_dir)]
        parent, init = self._start([*pin, *script, *services], NAMESPACES)
        self.hosts[name] = Host(name, address, init, core, self.state_dir / name)
        self._record()
        port = f"port-{name}"
        peer = ["type", "veth", "peer", "name", "eth0", "netns", str(init.pid)]
        self._in_switch("ip", "link", "add", port, *peer)
        self._in_switch("ip", "link", "set", port, "master", "switch", "up")
        assert parent.stdin is not None
        parent.stdin.write(b"plugged in\n")
        parent.stdin.flush()

    def _wait_until_ready(self, slurm: bool) -> None:
        for name in self.hosts:
            poll(lambda: self.run(HEAD, ["ssh", name, "true"]).returncode == 0, 15, f"ssh {name}")  # noqa: B023
        if slurm:
            sinfo = ["sinfo", "--noheader", "--Node", "--format=%T"]
            states = ["idle"] * len(self.hosts)
            poll(lambda: self.run(HEAD, sinfo).stdout.split() == states, 30, "Slurm did not start")

    # -- the network

    def cut(self, name: str) -> None:
        """Pull the host's cable: nothing arrives any more, and nobody is told."""
        self._in_switch("ip", "link", "set", f"port-{name}", "down")

    def mend(self, name: str) -> None:
        """Plug the host's cable in again."""
        self._in_switch("ip", "link", "set", f"port-{name}", "up")

    def set_rate(self, rate: str | None, name: str | None = None) -> None:
        """Limit a host's link (all unless named), each way, to e.g. `1gbit`; None lifts the limit."""
        for host in [self.hosts[name]] if name else self.hosts.values():
            ends = ((self._switch, f"port-{host.name}"), (host.init, "eth0"))
            for process, device in ends:
                assert process is not None
                tc = ["nsenter", f"--target={process.pid}", "--net", "tc", "qdisc"]
                if rate is None:
                    subprocess.run([*tc, "del", "dev", device, "root"], capture_output=True)
                    continue
                # 256 kB at once: what a network card sends while the kernel looks elsewhere.
                bucket = ["rate", rate, "burst", "256kb", "latency", "50ms"]
                _call([*tc, "replace", "dev", device, "root", "tbf", *bucket])

    def _in_switch(self, *argv: str) -> None:
        assert self._switch is not None, "the testbed is not up"
        _call(["nsenter", f"--target={self._switch.pid}", "--net", *argv])

    # -- inside

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a user's shell on a host has set: this one's, the python that runs us, and root."""
        path = os.pathsep.join((str(Path(sys.executable).parent), SYSTEM_PATH))
        root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return {**os.environ, "PATH": path, **root, **(extra or {})}

    def popen(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Command:
        """Start a command on a host; `env` adds to a user's environment."""
        return self.hosts[name].popen(argv, self.environment(env), cwd)

    def run(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host. Raises TimeoutExpired, after ending it, if it takes longer."""
        return self.popen(name, argv, env, cwd).wait(timeout)

    def processes(self, name: str) -> list[Process]:
        """What runs on a host beside its daemons: after a run has ended, nothing."""
        host = self.hosts[name]
        return host.processes()[host.num_daemons :]

    # -- what the next command needs to find us

    def _record(self) -> None:
        record = {"switch": asdict(self._switch) if self._switch else None, "hosts": []}
        for host in self.hosts.values():
            record["hosts"].append({**asdict(host), "folder": str(host.folder)})
        (self.state_dir / "hosts.json").write_text(json.dumps(record, indent=1))

    def _attach(self) -> None:
        try:
            record = json.loads((self.state_dir / "hosts.json").read_text())
        except FileNotFoundError:
            return
        self._switch = Process(**record["switch"])
        for fields in record["hosts"]:
            fields |= {"init": Process(**fields["init"]), "folder": Path(fields["folder"])}
            self.hosts[fields["name"]] = Host(**fields)


def _call(argv: Sequence[str]) -> None:
    """Run a command of the system; RuntimeError with what it said if it fails."""
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")


def _make_key(path: Path) -> None:
    _call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "testbed", "-f", str(path)])
