"""Host lists as mpirun and Slurm write them: bath,dorchester:2 and 2(x3),1."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence

LOCAL = "localhost"


def find_slots(asked: str | None, environ: Mapping[str, str], local_slots: int) -> list[str]:
    """The host of each slot: from -H, else the Slurm allocation's, else this machine's."""
    if asked:
        return _parse_hosts(asked)
    if "SLURM_JOB_NODELIST" in environ:
        nodes = environ["SLURM_JOB_NODELIST"]
        listed = subprocess.run(
            ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True
        )
        return expand_tasks(listed.stdout.split(), environ.get("SLURM_TASKS_PER_NODE", "1"))
    return [LOCAL] * local_slots


def expand_tasks(nodes: Sequence[str], tasks_per_node: str) -> list[str]:
    """The node of each task, from Slurm's '2(x3),1': two on each of three nodes, one on a fourth.

    Raises ValueError where the two do not belong together.
    """
    counts: list[int] = []
    for part in tasks_per_node.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        counts += [int(match[1])] * int(match[2] or 1) if match else []
    if len(counts) != len(nodes):
        raise ValueError(
            f"SLURM_TASKS_PER_NODE is {tasks_per_node!r} for {len(nodes)} nodes; name the hosts "
            "with -H"
        )
    return [node for node, count in zip(nodes, counts, strict=True) for _ in range(count)]


def local_places() -> int:
    """Workers that fit this machine: one a GPU, else one a core."""
    from hpc.distributed.processor import gpus

    return len(gpus()) or len(os.sched_getaffinity(0))


def _parse_hosts(asked: str) -> list[str]:
    hosts: list[str] = []
    for part in asked.split(","):
        host, colon, slots = part.partition(":")
        if not host or (colon and not (slots.isdecimal() and int(slots))):
            raise ValueError(f"-H {asked!r}: give hosts as mpirun takes them: bath,dorchester:2")
        hosts += [host] * int(slots or 1)
    return hosts


def parse_hosts(text: str) -> dict[str, int]:
    """Host -> processes, from mpirun's `-H a:4,b`. Raises ValueError where it is none."""
    slots: dict[str, int] = {}
    for entry in filter(None, text.split(",")):
        host, _, number = entry.partition(":")
        if not host or host.startswith("-") or (number and not number.isdigit()):
            raise ValueError(f"-H {text}: {entry!r} is not HOST or HOST:SLOTS")
        slots[host] = slots.get(host, 0) + int(number or 1)
    return slots
