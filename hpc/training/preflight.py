"""What every rank checks on its own host, and what all ranks must agree on, before they train."""

from __future__ import annotations

import os
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hpc.config.fields import flag
from hpc.config.train_config import TrainConfig
from hpc.distributed.addresses import agreed_port, chief_address, listening_address
from hpc.distributed.connection import free_port
from hpc.distributed.launcher import Place, choose_strategy
from hpc.distributed.processor import binding_was_asked_for, processor
from hpc.distributed.rendezvous import Roll, meet, require_equal, require_sound
from hpc.distributed.watchdog import Watchdog
from hpc.run_folder.layout import CONFIG, lock_run
from hpc.run_folder.trackers.feed import require_library
from hpc.training.checkpoints import newest_bundle
from model.networks.checkpoint import Bundle, open_checkpoint
from pipeline.dataset.manifest import Manifest
from pipeline.dataset.schedule import check_sharing
from pipeline.runtime.command import FAREWELL_SECONDS
from pipeline.runtime.provenance import commit, library_versions
from pipeline.runtime.tables import print_line


def require_same_settings(run_dir: Path, config: TrainConfig, settings: dict[str, Any]) -> None:
    """Raise ValueError unless this configuration can continue a run with these settings.

    Settings that do not change what is computed (where, how often saved) may differ. The error
    names the flags that must not.
    """
    begun = TrainConfig.from_dict(settings, str(run_dir)).fixed()
    changed = {name: value for name, value in config.fixed().items() if begun[name] != value}
    if changed:
        listed = ", ".join(f"{flag(n)} {v} (begun with {begun[n]})" for n, v in changed.items())
        raise ValueError(
            f"run {run_dir} cannot continue with {listed}. Use the same flags "
            f"(--config {run_dir / CONFIG}), or begin another run: --run OTHER --from {run_dir}"
        )


@dataclass(frozen=True)
class LocalState:
    """What a rank finds on its own host before it meets the others."""

    manifest: Manifest | None = None
    run_dir: Path = Path()
    bundle: Bundle | None = None  # the checkpoint to start from; only on the chief
    facts: dict[str, Any] = field(default_factory=dict)  # sent to the other ranks
    lock: AbstractContextManager[object] | None = None  # on the run's folder; only on the chief


def preflight(config: TrainConfig, place: Place, *, dry_run: bool = False) -> LocalState:
    """The state of this host: data set, run folder, newest checkpoint, versions.

    A problem is not raised here but reported in the facts: all ranks then end with the line of the
    rank that has it, and none waits for that rank. The chief makes the run's folder and locks it,
    except in a dry run.
    """
    facts: dict[str, Any] = {"problem": ""}
    manifest = bundle = lock = None
    run_dir = config.run or Path("runs")
    try:
        # How and where: strategy, folder, versions.
        name, reason = choose_strategy(config.strategy, place, os.environ)
        facts |= {"strategy": name, "reason": reason, "worker_port": free_port()}
        if config.run is None:
            run_dir = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        facts |= {"commit": commit(), "flags": config.digest()[:12], "versions": library_versions()}
        facts["python"] = sys.executable
        facts["processor"] = processor()
        facts["binding was asked for"] = binding_was_asked_for(os.environ)

        # From what: the data set, and on the chief the checkpoint.
        manifest = Manifest.load(config.data)
        facts["data set"] = manifest.digest()[:12]
        batch_size = config.effective_batch_size(place.size)
        check_sharing(manifest, size=place.size, global_batch_size=batch_size)
        manifest.verify(config.data, _shards_to_read(manifest, place))
        if place.is_chief:
            if config.tracker != "none":
                require_library(config.tracker)
            lock = None if dry_run else lock_run(run_dir)
            bundle = _bundle_to_start_from(config, run_dir, manifest)
            facts["begin"] = bundle and {"progress": bundle.progress, "run": bundle.run}
            facts["model"] = bundle and bundle.model
    except (ValueError, OSError) as error:
        facts["problem"] = " ".join(str(error).split())
    return LocalState(manifest, run_dir, bundle, facts, lock)


def rendezvous(config: TrainConfig, local: LocalState, watchdog: Watchdog) -> Roll:
    """The facts of all ranks, when all have come; the watchdog then watches over them.

    Raises RuntimeError where one does not come in time.
    """
    place = watchdog.place
    on_slurm = place.launcher == "srun" and place.size > 1
    port = agreed_port(os.environ) if on_slurm else 0
    return meet(
        watchdog,
        {**local.facts, "run": str(local.run_dir)},
        lambda own_port: chief_address(place, own_port, os.environ),
        listen_on=(listening_address(place, os.environ), port),
        start_timeout=config.start_timeout,
    )


def require_agreement(roll: Roll, place: Place) -> None:
    """Raise ValueError, naming the rank that differs, unless all ranks can train one model.

    Rank 0 says it for all: its watchdog then ends the others, which wait for that.
    """
    same_data = {"data set": "copy the data folder of rank 0 to every host"}
    try:
        if all("data set" in facts for facts in roll):  # before what a rank cannot do with its own
            require_equal(roll, same_data)
        require_sound(roll, place.rank)
        require_equal(
            roll,
            {
                "strategy": "name one with --strategy",
                "commit": "check the same commit out on every host",
                "flags": "start every rank with the same flags",
                "versions": "run make setup on every host (that rank runs {python})",
            },
        )
    except ValueError:
        if not place.is_chief:
            time.sleep(FAREWELL_SECONDS)
        raise


def _shards_to_read(manifest: Manifest, place: Place) -> list[Any]:
    """The shards of this rank's lanes; to check every file on every rank would take minutes."""
    return [
        shard
        for split in ("train", "valid")
        for lane in manifest.lanes(split)[place.rank :: place.size]
        for shard in lane
    ]


def _bundle_to_start_from(config: TrainConfig, run_dir: Path, manifest: Manifest) -> Bundle | None:
    """The newest checkpoint of the run, else the weights of --from, else None.

    Raises ValueError where it does not fit the flags or the data set.
    """
    bundle = newest_bundle(run_dir, lambda line: print_line(line, sys.stderr))
    if bundle is None:
        return (
            _weights_of_another_run(config.from_run, config, manifest) if config.from_run else None
        )
    require_same_settings(run_dir, config, bundle.run["config"])
    if bundle.run["data"] != manifest.digest():
        raise ValueError(
            f"run {run_dir} was begun with the data set {bundle.run['config']['data']}, which had "
            f"other contents than {config.data} has now. Give that one with --data, or begin "
            f"another run: --run OTHER --from {run_dir}"
        )
    return bundle


def _weights_of_another_run(from_run: Path, config: TrainConfig, manifest: Manifest) -> Bundle:
    """The weights of another run's checkpoint, without its optimizer and progress."""
    source, bundle = open_checkpoint(from_run, optimizer=False)
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
    print_line(f"begins with the weights of {source}")
    return replace(bundle, progress={}, run={})
