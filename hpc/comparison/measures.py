"""Runs side by side in numbers: the loss that all reached, speed of servers, differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hpc.config.fields import flag
from hpc.reports.spread import Spread, counted, spread
from hpc.run_folder.recorded import RecordedRun, Stretch

# Settings that a stretch records more exactly ('auto' became a number), or that do not matter.
NOT_COMPARED = {"strategy", "global_batch_size", "sequence_length", "run"}


@dataclass(frozen=True)
class Speed:
    """Tokens per second of all stretches with the same hosts, strategy and workload."""

    hosts: str
    devices: str
    strategy: str
    workers: int
    workload: str
    stretches: tuple[str, ...]
    total: Spread

    def relative_to(self, others: Iterable[Speed]) -> float:
        """Speed as a share of the fastest of the same workload: 1.0 for the fastest itself."""
        return self.total.median / max(
            other.total.median for other in others if other.workload == self.workload
        )


@dataclass(frozen=True)
class Difference:
    """A setting or fact that was not the same in all stretches of all runs."""

    kind: str  # setting, data, hardware, software
    what: str
    values: tuple[str, ...]  # one for each run, in order; 'a -> b' if it changed within a run


def best_common_loss(runs: Sequence[RecordedRun]) -> float | None:
    """The lowest validation loss that all runs reached; None if one has no evaluation."""
    best = [run.best for run in runs]
    return None if None in best else max(point.loss for point in best if point)


def speeds(runs: Sequence[RecordedRun]) -> list[Speed]:
    """Tokens per second by servers, devices, strategy and workers; the fastest first.

    Intervals (between log lines) of stretches with the same of all these are pooled. A stretch
    without intervals is left out.
    """
    alike: dict[tuple[str, str, str, int, str], list[Stretch]] = {}
    for run in runs:
        for stretch in run.stretches:
            where = (stretch.hosts, str(stretch.facts["devices"]), stretch.strategy)
            workload = _workload(run.config, stretch.facts)
            alike.setdefault((*where, stretch.workers, workload), []).append(stretch)
    found = []
    for key, stretches in alike.items():
        total = spread([rate for stretch in stretches for rate in stretch.rates])
        if total:
            found.append(Speed(*key, tuple(stretch.name for stretch in stretches), total))
    return sorted(found, key=lambda speed: -speed.total.median)


def differences(runs: Sequence[RecordedRun]) -> list[Difference]:
    """The differences between runs or within one: settings, data, hardware, software."""
    facts = [[_compared(run.config, stretch.facts) for stretch in run.stretches] for run in runs]
    names = dict.fromkeys(name for run in facts for stretch in run for name in stretch)
    found = []
    for kind, what in names:
        values = [
            [stretch.get((kind, what), "not set") for stretch in stretches] for stretches in facts
        ]
        if len({value for run_values in values for value in run_values}) > 1:
            joined = tuple(" -> ".join(_changes(run_values)) for run_values in values)
            found.append(Difference(kind, what, joined))
    order = ("setting", "data", "hardware", "software")
    return sorted(found, key=lambda difference: order.index(difference.kind))


def losses_differ_in(runs: Sequence[RecordedRun]) -> list[str]:
    """The reasons why losses of these runs do not compare; empty if they do."""
    facts = [stretch.facts for run in runs for stretch in run.stretches]
    reasons = {"data": "data set", "sequence_length": "sequence length"}
    return [
        words
        for name, words in reasons.items()
        if len({str(stretch[name]) for stretch in facts if name in stretch}) > 1
    ]


def _workload(config: dict[str, Any], facts: dict[str, Any]) -> str:
    """The work of a step: model, precision, batch and sequence length."""
    model = f"{config.get('preset', '?')}, {config.get('precision', '?')}"
    return f"{model}, {facts['global_batch_size']} x {facts['sequence_length']} tokens"


def _compared(config: dict[str, Any], facts: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Every setting and fact that may differ, as text, by kind and name."""
    settings = {name: value for name, value in config.items() if name not in NOT_COMPARED}
    settings |= {name: facts[name] for name in ("global_batch_size", "sequence_length")}
    hardware = {
        "hosts": counted(facts["hosts"]),
        "devices of rank 0": facts["devices"],
        "workers": facts["workers"],
        "processors": " + ".join(dict.fromkeys(facts.get("processors", ["not recorded"]))),
    }
    software = {
        "strategy": facts["strategy"],
        **facts["versions"],
        "commit": facts.get("commit"),
        **(facts.get("communication") or {}),
    }
    parts = {
        "setting": {flag(name): value for name, value in settings.items()},
        "data": {"digest": facts.get("data", "not recorded")},
        "hardware": hardware,
        "software": software,
    }
    return {
        (kind, what): str(value) for kind, part in parts.items() for what, value in part.items()
    }


def _changes(values: Iterable[str]) -> list[str]:
    """The values without repetitions in a row."""
    changes: list[str] = []
    for value in values:
        if changes[-1:] != [value]:
            changes.append(value)
    return changes
