"""A run that is open in this process: its parts, its batches, its description."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc.config.settings import OF_FRAMES, DataSettings, ModelSettings, OptimizerSettings
from hpc.config.train_config import TrainConfig
from hpc.distributed.launcher import Place
from hpc.distributed.rendezvous import Roll
from hpc.distributed.watchdog import Watchdog
from hpc.reports.spread import counted
from hpc.training.checkpoints import Checkpoints, gather_own, read_variables
from model.networks.checkpoint import Arrays, Bundle
from pipeline.dataset.manifest import Manifest
from pipeline.dataset.schedule import BatchPlan
from pipeline.runtime.provenance import library_versions

if TYPE_CHECKING:
    import tensorflow as tf

    from hpc.distributed.allreduce_timing import Link
    from hpc.distributed.strategies import Strategy
    from hpc.training.train_step import Steps


@dataclass
class Progress:
    """How far a run has come: all that a checkpoint holds besides arrays."""

    step: int = 0
    tokens: int = 0  # positions trained on, over all workers
    best_loss: float = float("inf")  # mean nats per token on the valid split
    best_step: int = 0  # where that was; 0 before the first evaluation
    stale_evaluations: int = 0  # since the best one
    evaluated: int = 0  # the last step with a whole evaluation; a signal may interrupt one


@dataclass(frozen=True)
class Run:
    """All parts of a run, ready for its next step."""

    config: TrainConfig
    place: Place
    roll: Roll
    watchdog: Watchdog
    plan: BatchPlan
    run_dir: Path
    strategy: Strategy
    steps: Steps
    checkpoints: Checkpoints
    progress: Progress
    devices: str  # of this rank
    devices_of_all: list[str]  # names alone, in rank order
    link: Link | None  # the measured allreduce; None for one worker

    @property
    def manifest(self) -> Manifest:
        """The manifest of the data set."""
        return self.plan.manifest

    @property
    def tokens_per_step(self) -> int:
        """Targets of the global batch; on average, where windows are whole pieces."""
        return self.plan.tokens_per_step

    @property
    def has_evaluation(self) -> bool:
        """Is there a valid split?"""
        return self.manifest.num_pieces("valid") > 0

    def training_batches(self) -> Iterator[tf.Tensor]:
        """This worker's endless batches [rows, sequence_length + 1] int32 from the next step on."""
        from pipeline.dataset.batches import training_batches

        epoch, step = divmod(self.progress.step, self.plan.steps_per_epoch)
        return iter(training_batches(self.config.data, self.plan, epoch=epoch, step=step))

    def evaluation_batches(self, split: str) -> tf.data.Dataset:
        """This worker's part of a split: tokens [rows, sequence_length + 1] and their weights.

        Weights [rows, sequence_length] are of the targets. Raises ValueError for an empty split.
        """
        from pipeline.dataset.batches import evaluation_batches

        return evaluation_batches(self.config.data, self.plan, split)

    def facts(self) -> dict[str, Any]:
        """Where and how the run trains, for stretches.jsonl."""
        from hpc.distributed.strategies import communication_facts

        return {
            "strategy": self.strategy.name,
            "workers": self.place.size,
            "hosts": [facts["host"] for facts in self.roll],
            "devices": self.devices,
            "processors": [facts["processor"] for facts in self.roll],
            "data": self.manifest.digest()[:12],
            "versions": library_versions(),
            "commit": self.roll[0]["commit"],
            "command": command_line(),
            "global_batch_size": self.plan.global_batch_size,
            "sequence_length": self.plan.sequence_length,
            "tokens_per_step": self.tokens_per_step,
            "communication": communication_facts(),
            "link": asdict(self.link) if self.link else None,
        }

    def hyperparameters(self) -> dict[str, Any]:
        """The settings by which TensorBoard compares runs: data, network, optimizer, workers."""
        config, plan = self.config, self.plan
        settings = [*fields(ModelSettings), *fields(OptimizerSettings), *fields(DataSettings)]
        of_frames = () if config.model == "frames" else OF_FRAMES
        names = [one.name for one in settings if one.name not in of_frames]
        return {name: getattr(config, name) for name in names} | {
            "data": config.data.name,
            "sequence_length": plan.sequence_length,
            "local_batch_size": plan.local_batch_size,
            "global_batch_size": plan.global_batch_size,
            "steps": config.steps,
            "seed": config.seed,
            "workers": self.place.size,
            "strategy": self.strategy.name,
        }

    def describe(self) -> list[str]:
        """Lines that describe, for the user, what is about to run."""
        from hpc.distributed.devices import slow_settings

        config, model = self.config, self.steps.model
        rate = config.effective_learning_rate(self.place.size)
        plan = self.plan
        windows = f"{plan.sequence_length} tokens"
        if config.whole_pieces:
            windows = f"a piece, up to {windows}"
        left = f"steps {self.progress.step + 1} to {config.steps}"
        if self.progress.step >= config.steps:
            left = f"all {config.steps} steps are done (--steps gives it more)"
        lines = [
            f"strategy {self.strategy.name} ({self.roll[0]['reason']}); "
            f"{self.place.size} worker{'s' * (self.place.size > 1)} on "
            f"{counted(facts['host'] for facts in self.roll)}; rank 0: {self.devices}",
            f"run {self.run_dir}, {left}; data "
            f"{config.data}: {plan.manifest.num_pieces('train')} train pieces, "
            f"{plan.manifest.num_tokens('train'):,} tokens, {plan.steps_per_epoch} steps an epoch",
            f"model {config.model}, {config.preset}: {model.count_params():,} parameters; windows "
            f"of {windows}; batch {plan.global_batch_size} over all = {plan.local_batch_size} "
            f"on each worker; peak learning rate {rate:g}",
        ]
        if not self.has_evaluation:
            lines.append(
                f"warning: the valid split of {config.data} is empty: training goes on without "
                "evaluation, and the newest checkpoint is the one that composes"
            )
        lines += self._differing_devices()
        lines += self._changed_schedule() + self._averaged_states()
        lines += slow_settings(config, on_cpu=self.devices.startswith("CPU"))
        if collectives := self.strategy.describe():
            lines.append(collectives)
        return lines + ([self.link.describe()] if self.link else [])

    def _differing_devices(self) -> list[str]:
        """A warning where not all workers have the same GPU, or the same processor."""
        devices = [
            f"{name} ({facts['processor']})" if name == "CPU" else name
            for name, facts in zip(self.devices_of_all, self.roll, strict=True)
        ]
        if len(set(devices)) == 1:
            return []
        found: dict[str, list[str]] = {}  # on each host
        for facts, device in zip(self.roll, devices, strict=True):
            found.setdefault(facts["host"], []).append(device)
        shown = "; ".join(f"{host}: {counted(names)}" for host, names in found.items())
        return [f"warning: the workers differ, and the slowest sets the pace: {shown}"]

    def _changed_schedule(self) -> list[str]:
        """A warning where --steps differs from the checkpoint's, and so the learning rate."""
        stored = (self.roll[0]["begin"] or {"run": {}})["run"].get("config", {})
        steps = stored.get("steps", self.config.steps)
        if steps == self.config.steps:
            return []
        from hpc.training.optimizer import learning_rate_schedule

        step, size = self.progress.step, self.place.size
        before = learning_rate_schedule(replace(self.config, steps=steps), size)(step)
        now = learning_rate_schedule(self.config, size)(step)
        return [
            f"warning: --steps was {steps} and is {self.config.steps}: the learning rate of step "
            f"{step + 1} is {float(now):.3g} instead of {float(before):.3g}"
        ]

    def _averaged_states(self) -> list[str]:
        """What becomes of the workers' own states where their number has changed."""
        stored = (self.roll[0]["begin"] or {"run": {}})["run"].get("workers", self.place.size)
        if stored == self.place.size or not self.steps.own_variables():
            return []
        return [
            f"the checkpoint is of {stored} workers: the mean of what each had of its own is what "
            f"each of {self.place.size} continues with"
        ]

    def save(self) -> None:
        """Copy the run's state now, and write it while training continues.

        A collective, for all ranks to call in the same step. Raises OSError if the previous
        checkpoint could not be written.
        """
        workers = gather_own(self.steps.own_variables(), self.strategy)
        self.checkpoints.save(self.progress.step, lambda: self.bundle(workers))
        self.watchdog.has_checkpoint = True

    def bundle(self, workers: Arrays) -> Bundle:
        """A copy of the run's state now, with what `gather_own` found of all workers."""
        values = read_variables(self.steps.variables())
        return Bundle(
            weights=values["weights"],
            optimizer=values["optimizer"],
            workers=workers,
            model=self.steps.model.config.to_dict(),
            vocabulary=self.manifest.vocabulary,
            progress=asdict(self.progress),
            run={
                "config": self.config.to_json(),
                "data": self.manifest.digest(),
                "global_batch_size": self.plan.global_batch_size,
                "sequence_length": self.plan.sequence_length,
                "workers": self.place.size,
            },
        )


def command_line() -> str:
    """The command line of this process, as a user would type it."""
    return shlex.join(["python", *sys.argv])
