"""TrainConfig: all settings of a training run, its digest, and the flags made from its fields."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import tomllib
import typing
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from hpc.config.fields import check_bounds, described, flag, parser_of
from hpc.config.settings import (
    DataSettings,
    ModelSettings,
    OptimizerSettings,
    RecordSettings,
    RunSettings,
    WorkerSettings,
)
from pipeline.runtime.command import Parser, meant, said_by_rank_0
from pipeline.runtime.files import CHECKSUM, without_checksum
from pipeline.runtime.provenance import shipped


@dataclass(frozen=True)
class TrainConfig(
    # Python lists the fields of the last base first.
    RecordSettings, WorkerSettings, OptimizerSettings, ModelSettings, DataSettings, RunSettings,
):  # fmt: skip
    """Every setting of a training run.

    The defaults make the bare `mpirun -np 2 -H dorchester,bath python hpc/train.py` run. Raises
    ValueError for a value outside its bounds.
    """

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.sequence_length != "auto" and not self.sequence_length.isdecimal():
            raise ValueError(
                f"--sequence-length is {self.sequence_length!r}; give a number of tokens or auto"
            )
        _ = self.profile_window
        if self.powersgd_rank and self.precision == "mixed_float16":
            raise ValueError(
                "--compression powersgd keeps what a step loses for the next one, and --precision "
                "mixed_float16 may scale that one otherwise. Use mixed_bfloat16 or float32, or "
                "--compression fp16"
            )
        if self.local_steps == 1 and (self.outer_learning_rate, self.outer_momentum) != (1.0, 0.0):
            raise ValueError(
                "--outer-learning-rate and --outer-momentum are of what --local-steps changed, and "
                "there are none. Give their number, such as --local-steps 20"
            )
        if self.steps % self.local_steps:
            rounds = max(round(self.steps / self.local_steps), 1)
            raise ValueError(
                f"--steps {self.steps} would end within --local-steps {self.local_steps}, where "
                f"every worker has weights of its own. Use --steps {rounds * self.local_steps}"
            )

    def is_due(self, step: int, every: int) -> bool:
        """Is it time, after a step with an exchange, for what comes `every` steps?

        With --local-steps at the first exchange that is not before a multiple of `every`.
        """
        return step // every > (step - self.local_steps) // every

    def to_json(self) -> dict[str, Any]:
        """The fields as values of JSON; `from_dict` reads them."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in dataclasses.asdict(self).items()
        }

    def fixed(self) -> dict[str, Any]:
        """The fields that must not change when a run is continued."""
        return {f.name: getattr(self, f.name) for f in fields(self) if not f.metadata["free"]}

    def continuing(self, begun: TrainConfig, given: Collection[str] = ()) -> TrainConfig:
        """These settings, for a run that was `begun` with others: its own, but for those `given`.

        Settings of one start and its machine (`local`) stay. Raises ValueError where given ones do
        not go together with those of the run.
        """
        own = {
            f.name: getattr(begun, f.name)
            for f in fields(self)
            if not f.metadata["local"] and f.name not in given
        }
        return dataclasses.replace(self, **own)

    def digest(self) -> str:
        """sha256 of everything except paths: what must be equal on all ranks."""
        agreed = {k: v for k, v in self.to_json().items() if k not in ("data", "run", "from_run")}
        return hashlib.sha256(json.dumps(agreed, sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_dict(cls, settings: dict[str, Any], origin: str) -> TrainConfig:
        """The configuration of a file's settings.

        Raises ValueError naming `origin` for a setting that does not exist or has a wrong type.
        """
        hints = typing.get_type_hints(cls)
        unknown = sorted(set(settings) - set(hints))
        if unknown:
            close = meant(unknown[0], hints)
            raise ValueError(f"{origin}: unknown setting {', '.join(unknown)}{close}")
        values: dict[str, Any] = {}
        for name, value in settings.items():
            try:
                values[name] = None if value is None else parser_of(hints[name])(str(value))
            except (ValueError, argparse.ArgumentTypeError):
                choices = [one for one in typing.get_args(hints[name]) if isinstance(one, str)]
                close = meant(str(value), choices)
                raise ValueError(
                    f"{origin}: {name} is {value!r}; {described(hints[name])} is needed{close}"
                ) from None
        return cls(**values)


def parse_flags(
    argv: Sequence[str] | None, command: str | None = None
) -> tuple[TrainConfig, argparse.Namespace]:
    """The configuration, and what is not part of it: dry_run, json, and which settings are `given`.

    `command` names the training command in messages, where another command runs.
    Flags take precedence over --config, and --config over the defaults. Raises ValueError for a
    value out of bounds; argparse ends the program, with code 2, for an unknown flag.
    """
    parser = Parser(
        prog=command,
        description="Train a network on one or many machines.",
        argument_default=argparse.SUPPRESS,
    )
    hints = typing.get_type_hints(TrainConfig)
    for owner in reversed(TrainConfig.__bases__):
        group = parser.add_argument_group(str(owner.__doc__).rstrip("."))
        for setting in fields(owner):
            _add_flag(group, setting, hints[setting.name])
    parser.add_argument(
        "--config", type=Path, default=None, help="TOML file, or a run's config.json, of settings"
    )
    parser.add_argument(
        "--dry-run", action="store_true", default=False, help="check everything, train nothing"
    )
    parser.add_argument(
        "--json", type=Path, default=None, help="write the result of the run to this file"
    )

    flags = parser.parse_args(argv)
    extra = argparse.Namespace(**{n: vars(flags).pop(n) for n in ("config", "dry_run", "json")})
    with said_by_rank_0():
        settings = read_settings(extra.config) if extra.config else {}
        config = TrainConfig.from_dict(settings, str(extra.config))
        extra.given = settings.keys() | vars(flags).keys()
        return dataclasses.replace(config, **vars(flags)), extra


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a TOML or JSON file.

    Raises ValueError where it cannot be read, or is a run's config.json that was damaged or edited.
    """
    path = shipped(path)
    try:
        text = path.read_text()
        settings = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(settings, dict):
        raise ValueError(f"{path} holds no settings, but {settings!r:.40}")
    try:
        return without_checksum(settings)
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged or was edited: {error}. If you edited it, remove {CHECKSUM}"
        ) from None


def _add_flag(group: argparse._ArgumentGroup, setting: dataclasses.Field[Any], hint: Any) -> None:
    """Add the flag of a field with this type hint."""
    text = setting.metadata["help"]
    if setting.default not in (None, "", Path()):
        text += f" [{setting.default}]"
    if hint is bool:
        group.add_argument(flag(setting.name), action=argparse.BooleanOptionalAction, help=text)
        return
    choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else None
    group.add_argument(
        flag(setting.name),
        dest=setting.name,
        type=str if choices else parser_of(hint),
        choices=choices,
        metavar=None if choices else described(hint).split()[-1].upper(),
        help=text,
    )
