"""What a run continues or begins with: its own settings and data set, or the weights of another."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from hpc.config.fields import flag
from hpc.config.train_config import TrainConfig, read_settings
from hpc.run_folder.layout import CONFIG
from model.networks.checkpoint import Bundle, open_checkpoint
from pipeline.dataset.manifest import FILE_NAME, Manifest
from pipeline.runtime.tables import print_line

NETWORK = ("model", "preset")  # settings on which the shapes of the weights depend


def settings_to_continue_with(
    config: TrainConfig, given: Collection[str], run_dir: Path, bundle: Bundle
) -> TrainConfig:
    """The settings of a run that continues: its own, but for those `given`, and for local ones.

    Its data set is taken from where the run had it, if that is there. Raises ValueError naming the
    flags that must not change, or the data set that is missing.
    """
    begun = TrainConfig.from_dict(bundle.run["config"], str(run_dir))
    config = config.continuing(begun, given)
    fixed = begun.fixed()
    changed = {name: value for name, value in config.fixed().items() if fixed[name] != value}
    if changed:
        listed = ", ".join(f"{flag(n)} {v} (begun with {fixed[n]})" for n, v in changed.items())
        is_same_network = not changed.keys() & set(NETWORK)
        raise ValueError(
            f"run {run_dir} cannot continue with {listed}. Leave that out, or begin "
            f"{_another_run(run_dir, is_same_network)}"
        )
    if "data" not in given and (begun.data / FILE_NAME).is_file():
        config = replace(config, data=begun.data)
    if config.data != begun.data and not (config.data / FILE_NAME).is_file():
        raise ValueError(
            f"run {run_dir} was begun with the data set {begun.data}, and there is none in "
            f"{config.data}. Name its folder with --data"
        )
    return config


def own_settings(before: TrainConfig, after: TrainConfig) -> str:
    """The flags by which settings differ: '--steps 9, --preset tiny'; empty for equal ones."""
    old, new = before.to_json(), after.to_json()
    return ", ".join(f"{flag(name)} {new[name]}" for name in new if old[name] != new[name])


def begins_anew(config: TrainConfig, run_dir: Path) -> str:
    """A line on a run that was begun before, and has no checkpoint; with the flags that differ."""
    try:
        begun = TrainConfig.from_dict(read_settings(run_dir / CONFIG), str(run_dir / CONFIG))
        differing = own_settings(config, replace(config.continuing(begun), data=begun.data))
        note = differing and f" ({CONFIG}: {differing})"
    except ValueError as error:
        note = f" ({error})"
    return f"{run_dir} has no checkpoint: it begins anew with the flags of this command{note}"


def require_same_data(config: TrainConfig, manifest: Manifest, run_dir: Path, run: Bundle) -> None:
    """Raise ValueError unless a run was begun with a data set of these contents."""
    if run.run["data"] != manifest.digest():
        raise ValueError(
            f"run {run_dir} was begun with the data set {run.run['config']['data']}, which had "
            f"other contents than {config.data} has now. Give that one with --data, or begin "
            f"{_another_run(run_dir, run.vocabulary == manifest.vocabulary)}"
        )


def _another_run(run_dir: Path, is_same_network: bool) -> str:
    """The advice to begin another run; from the weights of this one only where they fit."""
    if is_same_network:
        return f"another run: --run OTHER --from {run_dir}"
    return "another run without --from, which needs the same network: --run OTHER"


def weights_of_another_run(from_run: Path, config: TrainConfig, manifest: Manifest) -> Bundle:
    """The weights of another run's checkpoint, without its optimizer and progress.

    Raises ValueError where they do not fit the flags or the data set.
    """
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
