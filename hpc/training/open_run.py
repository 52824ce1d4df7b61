"""From flags to a run that can take its next step: devices, batches, network, state, link."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc.config.train_config import TrainConfig
from hpc.distributed.launcher import Place
from hpc.distributed.rendezvous import Roll
from hpc.distributed.watchdog import Watchdog
from hpc.training.checkpoints import Checkpoints, restore, restore_own
from hpc.training.preflight import LocalState
from hpc.training.run import Progress, Run
from pipeline.dataset.manifest import Manifest
from pipeline.dataset.schedule import BatchPlan, room_for_pieces
from pipeline.runtime.tensorflow_loading import load_tensorflow

if TYPE_CHECKING:  # imports TensorFlow, which open_run loads
    from hpc.distributed.exchange import Exchange
    from hpc.distributed.messages import Message
    from hpc.distributed.strategies import Strategy
    from hpc.training.train_step import Steps

NAME_BYTES = 64  # of the name of a device


def open_run(
    config: TrainConfig, place: Place, roll: Roll, watchdog: Watchdog, local: LocalState
) -> Run:
    """The run, restored to where it stopped. TensorFlow is loaded here.

    Raises ValueError where flags, data set and checkpoint do not fit together.
    """
    load_tensorflow()
    from hpc.distributed.allreduce_timing import time_allreduce

    chief = roll[0]
    start = chief["begin"] or {"progress": {}, "run": {}}
    is_continued = start["progress"].get("step", 0) > 0
    assert local.manifest is not None, "require_agreement refuses a rank without a data set"

    # First of all: TensorFlow takes neither after its first operation, and a sequence length of
    # auto reads the data set. On a busy machine each part of the start may take its own time.
    watchdog.allow(config.start_timeout, "starting its collective library")
    devices, strategy = _open_devices_and_collectives(config, place, roll)

    # Sequence length and batch plan.
    watchdog.allow(config.start_timeout, "building its network")
    stored = start["run"] if is_continued else {}
    plan = _plan_batches(config, place, local.manifest, stored)

    # Network and training step.
    steps = _build_steps(config, strategy, plan, chief["model"])

    # State: the chief's checkpoint on every rank.
    watchdog.allow(config.start_timeout, "taking over the weights of rank 0")
    restore(steps.variables(), local.bundle, strategy)
    if is_continued:
        restore_own(steps.own_variables(), local.bundle, stored["workers"], strategy)
    else:
        steps.start_from_averages()

    # The link between the workers, measured.
    watchdog.allow(config.start_timeout, "timing an allreduce")
    link = time_allreduce(strategy, _messages(config, steps)) if place.size > 1 else None
    run_dir = Path(chief["run"])
    return Run(
        config=config,
        place=place,
        roll=roll,
        watchdog=watchdog,
        plan=plan,
        run_dir=run_dir,
        strategy=strategy,
        steps=steps,
        checkpoints=Checkpoints(run_dir, config, is_chief=place.is_chief),
        progress=Progress(**start["progress"]),
        devices=devices,
        devices_of_all=_devices_of_all(strategy, devices),
        link=link,
    )


def _messages(config: TrainConfig, steps: Steps) -> dict[Exchange, list[Message]]:
    """What a worker sends in an exchange of this run, and would send in those that are advised."""
    from hpc.distributed.exchange import ADVISED, Exchange
    from hpc.distributed.messages import messages_of

    shapes = [weight.shape for weight in steps.model.trainable_variables]
    own = Exchange(config.compression, config.local_steps)
    return {
        exchange: messages_of(exchange.compression, shapes)
        for exchange in dict.fromkeys([own, *ADVISED])
    }


def _open_devices_and_collectives(
    config: TrainConfig, place: Place, roll: Roll
) -> tuple[str, Strategy]:
    """The devices of this worker, in words, and the collective library, started."""
    from hpc.distributed.devices import use_devices
    from hpc.distributed.strategies import open_strategy

    # A rank that knows it answers for all: under Open MPI 5 only those on mpirun's host do.
    asked = {facts.get("binding was asked for") for facts in roll}
    devices = use_devices(place, unbind=False in asked and True not in asked)
    workers = [f"{facts['address']}:{facts['worker_port']}" for facts in roll]
    strategy = open_strategy(roll[0]["strategy"], place, config, workers)
    if place.size > 1:
        _require_all_workers(strategy)
    return devices, strategy


def _require_all_workers(strategy: Strategy) -> None:
    """Raise ValueError unless the strategy sums over the processes that the launcher started."""
    place = strategy.place
    # From 1: a rank 0 that is not there would look like one that is.
    numbers = strategy.gather(np.array([place.rank + 1]))[:, 0]
    num_found = np.count_nonzero(numbers == np.arange(1, place.size + 1))
    if num_found < place.size:
        raise ValueError(
            f"--strategy {strategy.name} sums over {num_found} of the {place.size} processes that "
            f"{place.launcher} started. Use the launcher of its library, or --strategy multiworker"
        )


def _devices_of_all(strategy: Strategy, devices: str) -> list[str]:
    """What each rank computes on, in rank order."""
    from hpc.distributed.devices import name_of

    name = name_of(devices).encode()[:NAME_BYTES].ljust(NAME_BYTES)
    rows = strategy.gather(np.frombuffer(name, np.uint8).astype(np.int64))
    return [row.astype(np.uint8).tobytes().decode(errors="replace").rstrip() for row in rows]


def _plan_batches(
    config: TrainConfig, place: Place, manifest: Manifest, stored: dict[str, Any]
) -> BatchPlan:
    """The batch plan; of a run that continues, with the sequence length `stored` with it.

    Raises ValueError where it does not fit the data set, --accumulation or the stored batch size.
    """
    length = int(stored["sequence_length"]) if stored else _sequence_length(config, manifest)
    plan = BatchPlan(
        manifest,
        sequence_length=length,
        global_batch_size=config.effective_batch_size(place.size),
        rank=place.rank,
        size=place.size,
        whole_pieces=config.whole_pieces,
        seed=config.seed,
        max_transpose=config.max_transpose,
        own_key=config.own_key,
    )
    _require_fit(config, plan, stored)
    return plan


def _require_fit(config: TrainConfig, plan: BatchPlan, stored: dict[str, Any]) -> None:
    """Raise ValueError unless the plan fits its data set, the flags and the `stored` batch size."""
    manifest, length = plan.manifest, plan.sequence_length
    unit = manifest.open_vocabulary.tokens_per_frame
    if length % unit:
        raise ValueError(
            f"--sequence-length {length} cuts through a frame of {unit} tokens. Use "
            f"{max(length // unit, 1) * unit}"
        )
    if plan.global_batch_size % (manifest.num_lanes * config.accumulation):
        raise ValueError(
            f"--accumulation {config.accumulation} does not divide the {plan.global_batch_size} "
            f"windows of {manifest.num_lanes} lanes into equal parts. Use a batch size that is a "
            f"multiple of {manifest.num_lanes * config.accumulation}"
        )
    if config.patience and not manifest.num_pieces("valid"):
        raise ValueError(
            f"--patience {config.patience} waits for a better validation loss, and the valid split "
            f"of {config.data} is empty. Leave it out, or preprocess with a larger --valid"
        )
    if stored and stored["global_batch_size"] != plan.global_batch_size:
        raise ValueError(
            f"the run's global batch was {stored['global_batch_size']} windows and would now be "
            f"{plan.global_batch_size}: use --global-batch-size, or another --run with --from"
        )


def _sequence_length(config: TrainConfig, manifest: Manifest) -> int:
    """The sequence length of a new run; for auto, what the data set recommends."""
    if config.sequence_length != "auto":
        return int(config.sequence_length)
    if config.whole_pieces:
        return room_for_pieces(manifest)
    from pipeline.description.sequence_length import recommend_sequence_length

    return recommend_sequence_length(config.data, manifest).sequence_length


def _build_steps(
    config: TrainConfig, strategy: Strategy, plan: BatchPlan, stored: dict[str, Any] | None
) -> Steps:
    """The network, its optimizer and the compiled steps; of a checkpoint, its network `stored`."""
    import keras

    from hpc.training.local_steps import LocalSteps
    from hpc.training.optimizer import build_optimizer
    from hpc.training.train_step import Steps
    from model.networks.registry import (
        build_network,
        config_from_dict,
        network_config,
        with_dropout,
        within,
    )

    keras.utils.set_random_seed(config.seed)
    if stored:
        network = config_from_dict(stored)
    else:
        network = network_config(config.model, config.preset, plan.manifest.open_vocabulary)
        network = within(network, plan.sequence_length)
    network = with_dropout(
        network,
        config.dropout,
        head_dropout=config.head_dropout,
        history_dropout=config.history_dropout,
        recurrent_dropout=config.recurrent_dropout,
    )
    model = build_network(network, config.precision)
    kind = LocalSteps if config.local_steps > 1 else Steps
    return kind(model, build_optimizer(config, plan.size), strategy, config, plan)
