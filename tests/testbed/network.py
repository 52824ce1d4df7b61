"""The network between the hosts: one switch, a cable to each host, and no way out."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tests.testbed.hosts import Host
from tests.testbed.processes import Process

# The bridge is a namespace's own too: nothing of the testbed is seen on the machine's network.
BOOT = "ip link add switch type bridge && ip link set switch up && echo booted && exec sleep inf"
BOOT_COMMAND = ("sh", "-c", BOOT)
NAMESPACES = ("--net", "--pid")


@dataclass(frozen=True)
class Switch:
    """A switch that is on; its port to a host is called `port-NAME`."""

    process: Process

    def connect(self, host: Host) -> None:
        """Lay a cable to the host, which finds its end as eth0."""
        port = f"port-{host.name}"
        peer = ["type", "veth", "peer", "name", "eth0", "netns", str(host.init.pid)]
        call(self._inside("ip", "link", "add", port, *peer))
        call(self._inside("ip", "link", "set", port, "master", "switch", "up"))

    def set_port(self, host: Host, state: str) -> None:
        """Set the port to the host `up` or `down`. Down, nothing arrives, and nobody is told."""
        call(self._inside("ip", "link", "set", f"port-{host.name}", state))

    def set_rate(self, host: Host, rate: str | None) -> None:
        """Limit the cable to the host, each way, to e.g. `1gbit`; None lifts the limit."""
        at_host = ["nsenter", f"--target={host.init.pid}", "--net", "tc"]
        for tc, device in ((self._inside("tc"), f"port-{host.name}"), (at_host, "eth0")):
            if rate is None:
                # Fails where there was no limit, which is as well.
                subprocess.run([*tc, "qdisc", "del", "dev", device, "root"], capture_output=True)
            else:
                bucket = ["tbf", "rate", rate, "burst", str(bucket_bytes(rate)), "latency", "50ms"]
                call([*tc, "qdisc", "replace", "dev", device, "root", *bucket])

    def _inside(self, *argv: str) -> list[str]:
        return ["nsenter", f"--target={self.process.pid}", "--net", *argv]


def bucket_bytes(rate: str) -> int:
    """What may pass at once at a rate such as `1gbit`: what 2 ms of it carry, or 10 packets.

    Less, and a busy machine does not look often enough to keep the link at 1 Gbit/s; more, and a
    message of the size of a small model's gradient passes unlimited. Raises ValueError for what is
    no rate.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg])bit", rate)
    if match is None:
        raise ValueError(f"{rate!r} is no rate such as 100mbit or 1gbit")
    bits = float(match[1]) * {"k": 1e3, "m": 1e6, "g": 1e9}[match[2]]
    return max(int(bits / 8 * 0.002), 10 * 1500)


def call(argv: Sequence[str]) -> None:
    """Run a command of the system; RuntimeError with what it said if it fails."""
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
