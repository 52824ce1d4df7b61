"""Efficiency on faster and slower networks, predicted from the time of a step alone.

For those who have one machine and think about a second one: nothing is measured here. The cost
model is that of hpc/efficiency/cost_model.py, with nothing hidden (e = 1).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpc.config.train_config import TrainConfig
from hpc.distributed.exchange import ADVISED, Exchange
from hpc.efficiency.cost_model import Ring, wire_seconds
from hpc.efficiency.forecast import LINKS
from hpc.run_folder.recorded import read_run, tokens_per_step
from model.networks.checkpoint import open_checkpoint
from pipeline.dataset.manifest import Manifest
from pipeline.runtime.tables import Table
from pipeline.runtime.tensorflow_loading import load_tensorflow

WORKERS = tuple(2**power for power in range(1, 10))  # 2 to 512
# Seconds to start a message over TCP: two hosts of hpc/results/scaling.md had 26 to 83 us.
LATENCY = 30e-6


@dataclass(frozen=True)
class StepForecast:
    """A step without communication, and what its workers would send."""

    step_seconds: float
    origin: str  # where that time comes from
    sent: dict[str, tuple[int, ...]]  # bytes of each collective of an exchange, by --compression

    def efficiency(self, exchange: Exchange, workers: int, gigabits: float) -> float:
        """The share of the speed of as many workers that do not communicate."""
        ring = Ring(LATENCY, wire_seconds(gigabits))
        seconds = sum(ring.seconds(workers, one) for one in self.sent[exchange.compression])
        return self.step_seconds / (self.step_seconds + seconds / exchange.local_steps)

    def table(self, workers: Sequence[int]) -> Table:
        """The efficiency by link and form, one column for each number of workers."""
        lines = [
            (
                f"{gigabits:g} Gbit/s",
                exchange.flags,
                f"{sum(self.sent[exchange.compression]) / exchange.local_steps / 1e6:.2f} MB",
                *(f"{self.efficiency(exchange, n, gigabits):.0%}" for n in workers),
            )
            for gigabits in LINKS
            for exchange in ADVISED
        ]
        note = (
            f"Predicted, not measured: weak scaling, one worker a host, {self.origin}. A ring "
            f"allreduce with nothing hidden and {LATENCY * 1e6:.0f} us to start a message. What "
            "the hosts themselves spend on a byte is not known until it is measured; for very "
            "many workers libraries use trees, which start fewer messages."
        )
        columns = ("link", "flags", ">sent a step", *(f">{n}" for n in workers))
        title = "What the network would leave, by workers"
        return Table(title, columns, tuple(lines), (note,), keys=2)

    def to_json(self, workers: Sequence[int]) -> dict[str, Any]:
        """The assumptions and the predictions."""
        predicted = [
            {
                "workers": n,
                "gigabits": gigabits,
                **asdict(exchange),
                "efficiency": self.efficiency(exchange, n, gigabits),
            }
            for gigabits in LINKS
            for exchange in ADVISED
            for n in workers
        ]
        return {**asdict(self), "latency_seconds": LATENCY, "predicted": predicted}


def forecast_of_run(folder: Path, step_seconds: float | None = None) -> StepForecast:
    """The forecast for a run of one worker: its network, and its step if no other is given.

    Raises ValueError for a run of several workers, whose steps hold their communication, or one
    too short to have a speed.
    """
    model = open_checkpoint(folder, optimizer=False)[1].model
    seconds = step_seconds or _recorded_step(folder)
    return _forecast(seconds, f"a step of {seconds * 1000:.1f} ms of {folder}", model)


def forecast_of_flags(config: TrainConfig, data: Path, step_seconds: float) -> StepForecast:
    """The forecast for the network that these settings make for a data set."""
    vocabulary = Manifest.load(data).open_vocabulary
    load_tensorflow()
    from model.networks.registry import network_config

    model = network_config(config.model, config.preset, vocabulary).to_dict()
    network = f"--model {config.model} --preset {config.preset}"
    return _forecast(step_seconds, f"a step of {step_seconds * 1000:.1f} ms of {network}", model)


def _recorded_step(folder: Path) -> float:
    """The seconds of a step of a run of one worker: the median over its intervals."""
    stretches = read_run(folder, str(folder)).stretches
    if (workers := max(stretch.workers for stretch in stretches)) > 1:
        raise ValueError(
            f"{folder} was trained by {workers} workers, so that its steps hold their "
            "communication. Name a run of one worker, or give --step-ms"
        )
    steps = [tokens_per_step(one.facts) / rate for one in stretches for rate in one.rates]
    if not steps:
        raise ValueError(
            f"{folder} recorded no speed: it was too short. Train more steps, or give --step-ms"
        )
    return statistics.median(steps)


def _forecast(step_seconds: float, origin: str, model: dict[str, Any]) -> StepForecast:
    """The forecast for the network of a configuration, as `NetworkConfig.to_dict` has it."""
    load_tensorflow()
    from hpc.distributed.messages import messages_of, num_bytes
    from model.networks.registry import build_network, config_from_dict

    weights = build_network(config_from_dict(model)).trainable_variables
    shapes = [weight.shape for weight in weights]
    forms = dict.fromkeys(exchange.compression for exchange in ADVISED)
    sent = {form: tuple(map(num_bytes, messages_of(form, shapes))) for form in forms}
    return StepForecast(step_seconds, origin, sent)
