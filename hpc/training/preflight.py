"""What every rank checks on its own host, and what all ranks must agree on, before they train."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpc.config.train_config import TrainConfig
from hpc.distributed.addresses import agreed_port, chief_address, listening_address
from hpc.distributed.connection import free_port
from hpc.distributed.launcher import Place, choose_strategy
from hpc.distributed.processor import binding_was_asked_for, processor
from hpc.distributed.rendezvous import Roll, meet, require_equal, require_sound
from hpc.distributed.watchdog import Watchdog
from hpc.run_folder.layout import CONFIG, lock_run
from hpc.run_folder.trackers.feed import require_library
from hpc.training.checkpoints import newest_bundle, newest_step
from hpc.training.continuing import (
    begins_anew,
    own_settings,
    require_same_data,
    settings_to_continue_with,
    weights_of_another_run,
)
from model.networks.checkpoint import Bundle
from pipeline.dataset.manifest import Manifest
from pipeline.dataset.schedule import check_sharing
from pipeline.runtime.command import FAREWELL_SECONDS
from pipeline.runtime.provenance import advice_on_commits, commit, library_versions
from pipeline.runtime.tables import print_line


@dataclass(frozen=True)
class LocalState:
    """What a rank finds on its own host before it meets the others."""

    config: TrainConfig  # its settings; on the chief of a run that continues, also those of the run
    manifest: Manifest | None = None
    run_dir: Path = Path()
    bundle: Bundle | None = None  # the checkpoint to start from; only on the chief
    facts: dict[str, Any] = field(default_factory=dict)  # sent to the other ranks
    lock: AbstractContextManager[object] | None = None  # on the run's folder; only on the chief


def preflight(
    config: TrainConfig, given: Collection[str], place: Place, *, dry_run: bool = False
) -> LocalState:
    """The state of this host: data set, run folder, newest checkpoint, versions.

    Of a run that continues, all settings are its own but for those that are `given`, by name. A
    problem is not raised here but reported in the facts: all ranks then end with the line of the
    rank that has it, and none waits for that rank. The chief makes the run's folder and locks it,
    except in a dry run.
    """
    facts: dict[str, Any] = {"problem": ""}
    manifest = bundle = lock = None
    run_dir = config.run or Path("runs")
    asked_for = config
    try:
        facts |= _how_and_where(config, place)
        if config.run is None:
            run_dir = Path("runs") / f"{facts['strategy']}-{time.strftime('%Y%m%d-%H%M%S')}"
        facts["newest step"] = newest_step(run_dir)

        # From what: the chief's checkpoint, and the data set.
        if place.is_chief and run_dir.is_dir():  # a new run has no folder before all is well
            lock = None if dry_run else lock_run(run_dir)
            bundle = newest_bundle(run_dir, lambda line: print_line(line, sys.stderr))
        if bundle:
            # Several ranks look for the data set before they have heard of the run.
            kept = given if place.size == 1 else {*given, "data"}
            config = settings_to_continue_with(config, kept, run_dir, bundle)
        elif place.is_chief and (run_dir / CONFIG).is_file():
            print_line(begins_anew(config, run_dir))
        manifest = Manifest.load(config.data)
        facts["data set"] = manifest.digest()[:12]
        manifest.verify(config.data, _shards_to_read(manifest, place))
        if place.is_chief:
            _require_trainable(config, manifest, place)
            lock = lock or (None if dry_run else lock_run(run_dir))
            if bundle:
                require_same_data(config, manifest, run_dir, bundle)
            elif config.from_run:
                bundle = weights_of_another_run(config.from_run, config, manifest)
            facts["begin"] = bundle and {"progress": bundle.progress, "run": bundle.run}
            facts["model"] = bundle and bundle.model
            facts["settings"] = config.to_json()
            if own := own_settings(asked_for, config):
                print_line(f"{run_dir} continues with its own {own}")
    except (ValueError, OSError) as error:
        facts["problem"] = " ".join(str(error).split())
    return LocalState(config, manifest, run_dir, bundle, facts, lock)


def _how_and_where(config: TrainConfig, place: Place) -> dict[str, Any]:
    """The facts of this rank's strategy, program and processor."""
    name, reason = choose_strategy(config.strategy, place, os.environ)
    return {
        "strategy": name,
        "reason": reason,
        "worker_port": free_port(),
        "commit": commit(),
        "flags": config.digest()[:12],
        "versions": library_versions(),
        "python": sys.executable,
        "processor": processor(),
        "binding was asked for": binding_was_asked_for(os.environ),
    }


def _require_trainable(config: TrainConfig, manifest: Manifest, place: Place) -> None:
    """Raise ValueError where the workers cannot share the data set, or the tracker is missing."""
    batch_size = config.effective_batch_size(place.size)
    check_sharing(manifest, size=place.size, global_batch_size=batch_size)
    if config.tracker != "none":
        require_library(config.tracker)


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
                "commit": advice_on_commits([facts["commit"] for facts in roll]),
                "flags": "start every rank with the same flags",
                "versions": "run make setup on every host (that rank runs {python})",
            },
        )
        _require_newest_on_rank_0(roll)
    except ValueError:
        if not place.is_chief:
            time.sleep(FAREWELL_SECONDS)
        raise


def _require_newest_on_rank_0(roll: Roll) -> None:
    """Raise ValueError where another host has the run at a later step than rank 0's, which writes.

    Hosts may have run folders of their own. In one that they share all see the same steps, even
    where rank 0 goes back behind a damaged checkpoint.
    """
    chief = roll[0]
    begins = chief["begin"]["progress"].get("step", 0) if chief["begin"] else 0
    here = f"rank 0 on {chief['host']}, which writes the run, has "
    here += f"step {begins}" if begins else "no checkpoint of it"
    for other in roll[1:]:
        if other["newest step"] > max(begins, chief["newest step"]):
            there, run = other["host"], other["run"]
            raise ValueError(
                f"rank {other['rank']} on {there} has {run} at step {other['newest step']}, and "
                f"{here}. Copy the folder {run} from {there} to {chief['host']}, or remove it on "
                f"{there} if the run of {chief['host']} is the one you want"
            )


def agreed_settings(local: LocalState, roll: Roll) -> TrainConfig:
    """The settings of this rank in a run whose ranks agree: rank 0's, but for local ones."""
    chief = TrainConfig.from_dict(roll[0]["settings"], "rank 0")
    return local.config.continuing(chief)


def _shards_to_read(manifest: Manifest, place: Place) -> list[Any]:
    """The shards of this rank's lanes; to check every file on every rank would take minutes."""
    return [
        shard
        for split in ("train", "valid")
        for lane in manifest.lanes(split)[place.rank :: place.size]
        for shard in lane
    ]
