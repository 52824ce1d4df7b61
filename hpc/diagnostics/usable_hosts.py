"""The hosts of a list on which a training can run now: this one, and those that answer."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hpc.diagnostics.host_facts import collect
from hpc.diagnostics.remote_hosts import UnreachableError, ask_all
from hpc.distributed.addresses import is_here
from hpc.distributed.hosts import parse_hosts
from pipeline.dataset.manifest import Manifest
from pipeline.dataset.schedule import check_sharing

ANSWER_SECONDS = 60.0
# Facts in which a host must not differ from this one, in words.
SAME = {"commit": "commit", "versions": "library versions", "data": "data set"}


class UsableHosts:
    """The hosts of `text`, written as for mpirun; `all` of them, this one first, and their `slots`.

    Raises ValueError where this host is not among them, or where their slots cannot share the lanes
    of the data set and the batch.
    """

    def __init__(self, text: str, data: Path, global_batch_size: int) -> None:
        self.slots = Counter(parse_hosts(text))
        self.all = sorted(self.slots, key=lambda host: not is_here(host))
        if not is_here(self.all[0]):
            raise ValueError(
                f"-H {text}: this host, {socket.gethostname()}, is not among them. Start on one of "
                "them: its run folder is used"
            )
        manifest = Manifest.load(data)
        check_sharing(manifest, size=self.slots.total(), global_batch_size=global_batch_size)
        self._num_lanes = manifest.num_lanes
        self._data = data.absolute()

    def unfit(self, hosts: Sequence[str]) -> dict[str, str]:
        """Those of other hosts that cannot take part now, each with the reason: doctor --quick."""
        reasons = {}
        here = collect(self._data, [], quick=True)
        question = ["--quick", "--data", str(self._data)]
        for host, reply in ask_all(hosts, question, ANSWER_SECONDS).items():
            if isinstance(reply, UnreachableError):
                reasons[host] = str(reply)
            elif reply.facts["data_error"]:
                reasons[host] = reply.facts["data_error"].partition(". ")[0]
            elif differing := [name for name in SAME if reply.facts[name] != here[name]]:
                several = len(differing) > 1 or differing == ["versions"]
                verb, whose = ("differ", "those") if several else ("differs", "that")
                named = " and ".join(f"its {SAME[name]}" for name in differing)
                reasons[host] = f"{named} {verb} from {whose} of this host"
        return reasons

    def now(self) -> tuple[list[str], dict[str, str]]:
        """The hosts that can take part now, this one first; and why each of the others cannot.

        The last ones stay out where the number of workers would not divide the lanes.
        """
        reasons = self.unfit(self.all[1:])
        found = [host for host in self.all if host not in reasons]
        while found and self._num_lanes % sum(self.slots[host] for host in found):
            reasons[found.pop()] = f"the workers would not divide {self._num_lanes} lanes"
        return found, reasons
