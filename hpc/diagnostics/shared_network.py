"""The network that hosts share: the subnet that joins them, and their addresses in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from typing import Any

from hpc.diagnostics.checks import Facts, Finding, by_host
from hpc.diagnostics.host_facts import LAUNCHER_FILE, OPEN_MPI_FILE
from hpc.distributed.mpirun import LAUNCHER_SETTINGS


@dataclass(frozen=True)
class SharedNetwork:
    """A subnet in which every host has an address of its own."""

    subnet: IPv4Network
    names: tuple[str, ...]  # of the interfaces, in the order of the hosts
    megabits: int | None  # of the slowest link; None if one is not known

    def mca_files(self, major: int) -> dict[str, dict[str, str]]:
        """The settings of Open MPI `major` for the bare mpirun command, by file and name."""
        subnet = str(self.subnet)
        messages = {
            "btl_tcp_if_include": subnet,
            "mca_base_env_list": "PATH",  # so that every host finds the same python
        }
        # Of the launcher: its own connections, and no binding. By default it binds each of two
        # processes to one core; train.py takes its share by itself, preprocess.py does not.
        if major < 5:
            launcher = {"oob_tcp_if_include": subnet, "hwloc_base_binding_policy": "none"}
            return {OPEN_MPI_FILE: messages | launcher | LAUNCHER_SETTINGS["OMPI"]}
        # The launcher of Open MPI 5 is PRRTE, which does not read Open MPI's file (5.0.11).
        launcher = {"prte_if_include": subnet, "hwloc_default_binding_policy": "none"}
        return {OPEN_MPI_FILE: messages, LAUNCHER_FILE: launcher | LAUNCHER_SETTINGS["PRTE"]}

    @property
    def mpirun_options(self) -> list[str]:
        """The same settings as flags of one mpirun command, of Open MPI 4 or 5."""
        subnet = str(self.subnet)
        settings = {"btl_tcp_if_include": subnet, "oob_tcp_if_include": subnet}
        settings |= LAUNCHER_SETTINGS["OMPI"]  # names that as flags mpirun of Open MPI 5 knows too
        flags = [word for setting in settings.items() for word in ("--mca", *setting)]
        return ["-x", "PATH", "--bind-to", "none", *flags]

    @property
    def nccl(self) -> str:
        """NCCL's setting for this network: its interfaces, which differ in name between hosts."""
        return "NCCL_SOCKET_IFNAME=" + ",".join(dict.fromkeys(self.names))


def shared_networks(facts: Facts) -> list[SharedNetwork]:
    """The subnets that join all hosts; first those of the hosts' names, then the faster ones.

    A subnet in which two hosts have the same address joins no hosts: each has its own, such as the
    bridge of a container engine.
    """
    named = {fact["names"].get(host) for fact in facts.values() for host in facts}
    found = []
    cards = [_by_subnet(fact["interfaces"]) for fact in facts.values()]
    for subnet in set.intersection(*(set(card) for card in cards)) if cards else ():
        here = [card[subnet] for card in cards]
        addresses = {card["address"].partition("/")[0] for card in here}
        if len(addresses) < len(here):
            continue
        speeds = [card["megabits"] for card in here]
        megabits = min(speeds) if all(speeds) else None
        network = SharedNetwork(subnet, tuple(card["name"] for card in here), megabits)
        found.append((not addresses & named, -(megabits or 0), str(subnet), network))
    return [network for *_, network in sorted(found, key=lambda entry: entry[:3])]


def _by_subnet(interfaces: Sequence[Mapping[str, Any]]) -> dict[IPv4Network, Mapping[str, Any]]:
    return {IPv4Interface(card["address"]).network: card for card in interfaces}


def network(facts: Facts) -> list[Finding]:
    """Whether the hosts share a network, and find each other in it by name."""
    if len(facts) < 2:
        return []
    findings = []
    for host, fact in facts.items():
        for name, address in fact["names"].items():
            if address is None:
                advice = f"is {name} misspelled? If not, add it to /etc/hosts on {host}"
                findings.append(Finding("names", "failed", f"{host} does not know {name}", advice))
            elif address.startswith("127."):
                found = f"{host} resolves {name} to {address}"
                advice = f"give {name} its real address in /etc/hosts on {host}"
                status = "warning" if name == host else "failed"
                findings.append(Finding("names", status, found, advice))
    if not findings:
        findings.append(Finding("names", "ok", "every host knows every host"))
    shared = shared_networks(facts)
    if not shared:
        subnets = {
            host: ", ".join(map(str, _by_subnet(fact["interfaces"]))) or "no network"
            for host, fact in facts.items()
        }
        advice = "put the hosts into one subnet, or give all their subnets, with commas between, "
        advice += "to --mca btl_tcp_if_include and --mca oob_tcp_if_include"
        return [*findings, Finding("network", "warning", by_host(subnets), advice)]
    best = shared[0]
    cards = by_host(dict(zip(facts, best.names, strict=True)))
    speed = f", {best.megabits / 1000:g} Gbit/s" if best.megabits else ""
    return [*findings, Finding("network", "ok", f"{best.subnet} on {cards}{speed}")]
