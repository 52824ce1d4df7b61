"""Host lists as mpirun and Slurm write them: bath,dorchester:2 and 2(x3),1."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence

LOCAL = "localhost"


def find_slots(asked: str | None, environ: Mapping[str, str], local_slots: int) -> list[str]:
    """The host of each slot: from -H, else the Slurm allocation's, else this machine's."""
    if asked:
        return parse_hosts(asked)
    if "SLURM_JOB_NODELIST" in environ:
        nodes = nodes_of(environ["SLURM_JOB_NODELIST"])
        return expand_tasks(nodes, environ.get("SLURM_TASKS_PER_NODE", "1"))
    return [LOCAL] * local_slots


def nodes_of(node_list: str) -> list[str]:
    """The nodes of Slurm's 'node[1-3],login', by its own program."""
    command = ["scontrol", "show", "hostnames", node_list]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def parse_hosts(text: str) -> list[str]:
    """The host of each slot, from mpirun's `-H a:2,b`: a, a, b.

    Raises ValueError for an entry that is not a host with a number of slots above 0.
    """
    hosts: list[str] = []
    for entry in text.split(","):
        host, colon, slots = entry.partition(":")
        if not host or host.startswith("-") or (colon and not (slots.isdecimal() and int(slots))):
            raise ValueError(
                f"-H {text}: {entry!r} is not HOST or HOST:SLOTS; give hosts as mpirun takes them, "
                "for example -H bath,dorchester:2"
            )
        hosts += [host] * int(slots or 1)
    return hosts


def expand_tasks(nodes: Sequence[str], tasks_per_node: str) -> list[str]:
    """The node of each task, from the nodes and Slurm's '2(x3),1'.

    Raises ValueError unless there is one count for each node.
    """
    counts = parse_tasks_per_node(tasks_per_node)
    if len(counts) != len(nodes):
        raise ValueError(
            f"SLURM_TASKS_PER_NODE is {tasks_per_node!r} for {len(nodes)} nodes: {len(counts)} "
            "counts where each node needs one. Name the hosts with -H"
        )
    return [node for node, count in zip(nodes, counts, strict=True) for _ in range(count)]


def parse_tasks_per_node(text: str) -> list[int]:
    """The tasks of each node, from Slurm's '2(x3),1': two on each of three, one on a fourth.

    A part that has another form counts no node.
    """
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        counts += [int(match[1])] * int(match[2] or 1) if match else []
    return counts
