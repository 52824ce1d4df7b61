"""From flags to a run that can take its next step: roll call, strategy, data, model, checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpc.config.train_config import TrainConfig
from hpc.distributed.launcher import Place
from hpc.distributed.rendezvous import Roll
from hpc.distributed.watchdog import Watchdog
from hpc.training.checkpoints import Checkpoints, restore
from hpc.training.preflight import LocalState
from hpc.training.run import Progress, Run
from pipeline.dataset.manifest import Manifest
from pipeline.runtime.tensorflow_loading import load_tensorflow


def open_run(
    config: TrainConfig, place: Place, roll: Roll, watchdog: Watchdog, local: LocalState
) -> Run:
    """The run, restored to where it was. TensorFlow is first touched here."""
    load_tensorflow()
    import keras

    from hpc.distributed.allreduce_timing import time_allreduce
    from hpc.distributed.devices import use_devices
    from hpc.distributed.strategies import open_strategy
    from hpc.training.train_step import Steps, build_optimizer
    from model.networks.registry import (
        build_network,
        config_from_dict,
        network_config,
        with_dropout,
        within,
    )
    from pipeline.dataset.schedule import check_fit, steps_per_epoch

    # The GPU and the collectives come first: TensorFlow takes neither after its first operation,
    # and for a sequence length of auto it reads the data set.
    devices = use_devices(place)
    chief = roll[0]
    workers = [f"{facts['address']}:{facts['worker_port']}" for facts in roll]
    strategy = open_strategy(chief["strategy"], place, config, workers)
    run_dir = Path(chief["run"])
    manifest = local.manifest
    assert manifest is not None, "require_agreement refuses a rank without a data set"
    global_batch_size = config.effective_batch_size(place.size)
    begin = chief["begin"] or {"progress": {}, "run": {}}
    same_run = begin["progress"].get("step", 0) > 0
    sequence_length = _sequence_length(config, manifest, begin["run"] if same_run else {})
    check_fit(
        manifest,
        size=place.size,
        global_batch_size=global_batch_size,
        sequence_length=sequence_length,
        whole_pieces=config.whole_pieces,
    )
    unit = manifest.open_vocabulary.tokens_per_frame
    if sequence_length % unit:
        raise ValueError(
            f"--sequence-length {sequence_length} cuts through a frame of {unit} tokens. Use "
            f"{max(sequence_length // unit, 1) * unit}"
        )
    if global_batch_size % (manifest.num_lanes * config.accumulation):
        raise ValueError(
            f"--accumulation {config.accumulation} does not divide the {global_batch_size} windows "
            f"of {manifest.num_lanes} lanes into equal parts. Use a batch size that is a multiple "
            f"of {manifest.num_lanes * config.accumulation}"
        )
    if same_run and begin["run"]["global_batch_size"] != global_batch_size:
        raise ValueError(
            f"the run's global batch was {begin['run']['global_batch_size']} windows and would now "
            f"be {global_batch_size}: use --global-batch-size, or another --run with --from"
        )

    keras.utils.set_random_seed(config.seed)
    if chief["model"]:
        model_config = config_from_dict(chief["model"])
    else:
        model_config = network_config(config.model, config.preset, manifest.open_vocabulary)
        model_config = within(model_config, sequence_length)
    model_config = with_dropout(
        model_config,
        config.dropout,
        head_dropout=config.head_dropout,
        history_dropout=config.history_dropout,
        recurrent_dropout=config.recurrent_dropout,
    )
    model = build_network(model_config, config.precision)
    steps = Steps(
        model,
        build_optimizer(config, place.size),
        strategy,
        config,
        num_lanes=manifest.num_lanes,
        positions=global_batch_size // place.size * sequence_length,
    )
    restore(steps.variables(), local.bundle, strategy)
    if not same_run:
        steps.start_from_averages()
    link = time_allreduce(strategy, model, config.compression) if place.size > 1 else None
    return Run(
        config=config,
        place=place,
        roll=roll,
        watchdog=watchdog,
        manifest=manifest,
        run_dir=run_dir,
        sequence_length=sequence_length,
        global_batch_size=global_batch_size,
        steps_per_epoch=steps_per_epoch(
            manifest,
            sequence_length=sequence_length,
            global_batch_size=global_batch_size,
            whole_pieces=config.whole_pieces,
        ),
        strategy=strategy,
        steps=steps,
        checkpoints=Checkpoints(run_dir, config, is_chief=place.is_chief),
        progress=Progress(**begin["progress"]),
        devices=devices,
        link=link,
    )


def _sequence_length(config: TrainConfig, manifest: Manifest, begun: dict[str, Any]) -> int:
    if begun:
        return int(begun["sequence_length"])
    if config.sequence_length != "auto":
        return int(config.sequence_length)
    if config.whole_pieces:
        from pipeline.dataset.schedule import room_for_pieces

        return room_for_pieces(manifest)
    from pipeline.description.sequence_length import recommend_sequence_length

    recommended = recommend_sequence_length(config.data, manifest).sequence_length
    unit = manifest.open_vocabulary.tokens_per_frame
    return max(recommended // unit, 1) * unit
