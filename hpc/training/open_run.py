"""From flags to a run that can take its next step: roll call, strategy, data, model, checkpoint."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hpc.config.train_config import TrainConfig
from hpc.distributed.connection import free_port
from hpc.distributed.launcher import Place, agreed_port, chief_address, choose_strategy, processor
from hpc.distributed.rendezvous import Peers, open_peers
from hpc.run_folder.layout import lock_run, require_same_settings
from hpc.training.checkpoints import Checkpoints, newest_bundle, restore
from hpc.training.run import Progress, Run
from model.networks.checkpoint import Bundle, find_checkpoint, library_versions, read_bundle
from pipeline.dataset.manifest import Manifest
from pipeline.runtime.tensorflow_loading import load_tensorflow

if TYPE_CHECKING:
    pass

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Findings:
    """What a rank finds on its own host before it meets the others."""

    manifest: Manifest | None = None
    run_dir: Path = Path()
    bundle: Bundle | None = None  # to go on from, or to begin from; the chief's only
    facts: dict[str, Any] = field(default_factory=dict)  # as told in the roll call
    lock: IO[str] | None = None  # on the run's folder; the chief's only


def look_around(config: TrainConfig, place: Place, *, dry_run: bool = False) -> Findings:
    """What there is on this host: data, the run's folder, its checkpoint, versions.

    A problem is not raised but told in the facts, so that all ranks end with the line of the rank
    that has it, not with one that waits for it. The chief locks the run's folder, and so makes it,
    but not in a dry run.
    """
    facts: dict[str, Any] = {"problem": ""}
    manifest = bundle = lock = None
    run_dir = config.run or Path("runs")
    try:
        name, reason = choose_strategy(config.strategy, place, os.environ)
        facts |= {"strategy": name, "reason": reason, "worker_port": free_port()}
        if config.run is None:
            run_dir = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        facts |= {"commit": commit(), "flags": config.digest(), "versions": library_versions()}
        facts["processor"] = processor()
        manifest = Manifest.load(config.data)
        facts["data set"] = manifest.digest()
        manifest.verify(config.data, _shards_to_read(manifest, place))
        if place.is_chief:
            lock = None if dry_run else lock_run(run_dir)
            bundle = _bundle_to_begin_from(config, run_dir, manifest)
            facts["begin"] = bundle and {"progress": bundle.progress, "run": bundle.run}
            facts["model"] = bundle and bundle.model
    except (ValueError, OSError) as error:
        facts["problem"] = " ".join(str(error).split())
    return Findings(manifest, run_dir, bundle, facts, lock)


def call_roll(config: TrainConfig, place: Place, findings: Findings) -> Peers:
    """The peers, all present; the watch over them has begun.

    Raises RuntimeError where one does not come in time.
    """
    on_slurm = place.launcher == "srun" and place.size > 1
    return open_peers(
        place,
        {**findings.facts, "run": str(findings.run_dir)},
        lambda port: chief_address(place, port, os.environ),
        port=agreed_port(os.environ) if on_slurm else 0,
        start_timeout=config.start_timeout,
        timeout=config.timeout,
    )


def require_agreement(peers: Peers) -> None:
    """Nothing, if all ranks can train one model. Raises ValueError naming the rank that can not."""
    peers.require_sound()
    peers.require_equal(
        {
            "strategy": "name one with --strategy",
            "commit": "check the same commit out on every host",
            "flags": "start every rank with the same flags",
            "data set": "copy the data folder of rank 0 to every host",
            "versions": "run make setup on every host",
        }
    )


def open_run(config: TrainConfig, place: Place, peers: Peers, findings: Findings) -> Run:
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
    chief = peers.roll[0]
    workers = [f"{facts['address']}:{facts['worker_port']}" for facts in peers.roll]
    strategy = open_strategy(chief["strategy"], place, config, workers)
    run_dir = Path(chief["run"])
    manifest = findings.manifest
    assert manifest is not None, "the roll call lets nobody pass without a data set"
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
    restore(steps.variables(), findings.bundle, strategy)
    if not same_run:
        steps.start_from_averages()
    link = time_allreduce(strategy, model, config.compression) if place.size > 1 else None
    return Run(
        config=config,
        place=place,
        peers=peers,
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


def commit() -> str:
    """The commit of the program, with '+' if files were changed since; 'unknown' without git."""
    git = ["git", "-C", str(REPOSITORY)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True
        )
    except OSError:
        return "unknown"
    if head.returncode:
        return "unknown"
    return head.stdout.strip()[:12] + ("+" if changed.stdout.strip() else "")


def _shards_to_read(manifest: Manifest, place: Place) -> list[Any]:
    """The shards of this rank's lanes: checking every file on every rank would cost minutes."""
    return [
        shard
        for split in ("train", "valid")
        for lane in manifest.lanes(split)[place.rank :: place.size]
        for shard in lane
    ]


def _bundle_to_begin_from(config: TrainConfig, run_dir: Path, manifest: Manifest) -> Bundle | None:
    """The newest checkpoint of the run, or the weights of --from, or None for a fresh start."""
    bundle = newest_bundle(run_dir, lambda line: print(line, file=sys.stderr, flush=True))
    if bundle is not None:
        require_same_settings(run_dir, config, bundle.run["config"])
        if bundle.run["data"] != manifest.digest():
            raise ValueError(
                f"run {run_dir} was begun with another data set than {config.data} is now. Give "
                f"that one with --data, or begin another run: --run OTHER --from {run_dir}"
            )
        return bundle
    if config.from_run is None:
        return None
    source = find_checkpoint(config.from_run)
    bundle = read_bundle(source)
    if bundle.vocabulary != manifest.vocabulary:
        names = sorted(bundle.vocabulary.keys() | manifest.vocabulary.keys())
        differing = [
            f"{name} {bundle.vocabulary.get(name)} there, {manifest.vocabulary.get(name)} here"
            for name in names
            if bundle.vocabulary.get(name) != manifest.vocabulary.get(name)
        ]
        raise ValueError(
            f"the vocabulary of {source} is not that of {config.data} ({'; '.join(differing)}). "
            "Preprocess the scores with the settings of the first data set"
        )
    begun = bundle.run["config"]
    found = begun.get("model", "lstm"), begun["preset"]
    if found != (config.model, config.preset):
        raise ValueError(
            f"{source} holds a network of --model {found[0]} --preset {found[1]}, and --model "
            f"{config.model} --preset {config.preset} is asked for. Use the former with --from"
        )
    print(f"begins with the weights of {source}", flush=True)
    return replace(bundle, optimizer={}, progress={}, run={})


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
