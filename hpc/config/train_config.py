"""TrainConfig: every setting of a training run, the flags made from it, and its digest."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import tomllib
import typing
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from hpc.config.fields import described, flag, option, parser_of


@dataclass(frozen=True)
class TrainConfig:
    """The defaults make the bare `mpirun -np 2 -H dorchester,bath python hpc/train.py` run."""

    # What and where
    data: Path = option(Path("data/bach"), "folder that pipeline/preprocess.py wrote", free=True)
    run: Path | None = option(
        None, "run folder; an existing one is continued [runs/STRATEGY-TIME]", free=True
    )
    from_run: Path | None = option(
        None, "start a new run from the weights of this run or checkpoint", free=True
    )
    steps: int = option(2000, "optimizer steps in all", free=True)
    seed: int = option(1, "of initial weights, order of the data, dropout")

    # The model
    model: Literal["lstm", "lstm-attention", "transformer", "frames"] = option(
        "lstm", "network over tokens, or over the frames of a grid data set"
    )
    preset: Literal["tiny", "small", "base"] = option("small", "size of the network")
    dropout: float = option(0.2, "share of activations dropped between layers")
    head_dropout: float = option(0.4, "frames: the same in the head that chooses the voices")
    history_dropout: float = option(0.1, "frames: share of frames whose past the LSTM is not told")
    recurrent_dropout: float = option(
        0.0, "frames: share of the LSTM's state that it does not carry on, the same in a window"
    )
    windows: Literal["stream", "pieces"] = option(
        "stream", "a window is a stretch of the stream of pieces, or one whole piece"
    )
    sequence_length: str = option(
        "auto", "tokens a window predicts, or auto: what the data ask; the longest of whole pieces"
    )

    # The step
    global_batch_size: int = option(64, "windows a step over all workers")
    local_batch_size: int = option(
        0, "windows a step on each worker; if given, the global batch grows with the workers"
    )
    accumulation: int = option(1, "parts the batch is computed in, to save memory", free=True)
    learning_rate: float = option(4e-3, "peak learning rate, for the global batch")
    lr_scaling: Literal["none", "sqrt", "linear"] = option(
        "none", "multiply the learning rate by 1, the root of, or the number of workers"
    )
    warmup_steps: int = option(100, "steps of linear warm-up before the cosine")
    weight_decay: float = option(0.01, "AdamW's decoupled weight decay")
    clip_norm: float = option(1.0, "limit of the global norm of the averaged gradient")
    average: float = option(
        0.0, "evaluate and compose with a moving average of the weights, of this momentum; 0: none"
    )
    max_transpose: int = option(6, "semitones a training piece may move, up or down")
    own_key: float = option(
        0.0, "share of its passes in which a training piece does not move: 1 is --max-transpose 0"
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = option(
        "float32", "type of the products; weights stay float32"
    )

    # The workers
    strategy: Literal["auto", "single", "horovod", "multiworker"] = option(
        "auto", "how gradients are averaged; auto: by what started the program", free=True
    )
    compression: Literal["none", "fp16"] = option("none", "type of gradients on the wire")
    collective: Literal["auto", "ring", "nccl"] = option(
        "auto", "multiworker: implementation of its allreduce", free=True
    )
    fusion_threshold: int = option(
        0, "horovod: MiB of its fusion buffer; 0 leaves its default", free=True
    )
    cycle_time: float = option(
        0.0, "horovod: milliseconds between its cycles; 0 leaves its default", free=True
    )
    autotune: bool = option(False, "horovod: let it tune the two above", free=True)
    start_timeout: float = option(120.0, "seconds to wait for all workers at the start", free=True)
    timeout: float = option(
        60.0, "seconds without a finished step after which a worker gives up", free=True
    )

    # How often, in steps
    log_every: int = option(20, "steps between two lines of metrics.jsonl")
    eval_every: int = option(200, "steps between evaluations on the valid split")
    save_every: int = option(200, "steps between checkpoints", free=True)
    save_minutes: float = option(0.0, "also save when so many minutes have passed", free=True)
    keep: int = option(3, "newest checkpoints kept, besides the best", free=True)
    patience: int = option(0, "evaluations without a better loss before stopping; 0: never")
    samples_after: float = option(
        60.0,
        "seconds of training after which evaluations put samples of the music into TensorBoard; "
        "-1: never",
        free=True,
    )
    profile: str = option(
        "", "steps FIRST:LAST to profile for TensorBoard, on all ranks", free=True
    )
    timeline: bool = option(
        False,
        "horovod: record its collectives in the run folder, for chrome://tracing or Perfetto",
        free=True,
    )

    def __post_init__(self) -> None:
        positive = (
            "steps", "global_batch_size", "accumulation", "learning_rate", "clip_norm",
            "log_every", "eval_every", "save_every", "keep", "start_timeout", "timeout",
        )  # fmt: skip
        for name in positive:
            if getattr(self, name) <= 0:
                raise ValueError(f"{flag(name)} is {getattr(self, name)}; it must be above 0")
        at_least_0 = ("local_batch_size", "warmup_steps", "weight_decay", "max_transpose")
        for name in (*at_least_0, "patience", "save_minutes", "fusion_threshold", "cycle_time"):
            if getattr(self, name) < 0:
                raise ValueError(f"{flag(name)} is {getattr(self, name)}; it must be 0 or more")
        for name in (
            "dropout", "head_dropout", "history_dropout", "recurrent_dropout", "average",
        ):  # fmt: skip
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{flag(name)} is {getattr(self, name)}; it must be at least 0 and below 1"
                )
        if not 0 <= self.own_key <= 1:
            raise ValueError(f"--own-key is {self.own_key}; it must be from 0 to 1")
        if self.sequence_length != "auto" and not self.sequence_length.isdecimal():
            raise ValueError(
                f"--sequence-length is {self.sequence_length!r}; give a number of tokens or auto"
            )
        _ = self.profile_window

    @property
    def profile_window(self) -> tuple[int, int] | None:
        """First and last step to profile; None without --profile."""
        if not self.profile:
            return None
        first, colon, last = self.profile.partition(":")
        if not (colon and first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last)):
            raise ValueError(
                f"--profile is {self.profile!r}; give the first and the last step, such as 20:25"
            )
        return int(first), int(last)

    @property
    def whole_pieces(self) -> bool:
        """Is every window one piece?"""
        return self.windows == "pieces"

    def effective_learning_rate(self, size: int) -> float:
        """The peak learning rate after --lr-scaling for `size` workers."""
        factor = {"none": 1.0, "sqrt": size**0.5, "linear": float(size)}[self.lr_scaling]
        return self.learning_rate * factor

    def effective_batch_size(self, size: int) -> int:
        """Windows a step over all of `size` workers."""
        return self.local_batch_size * size or self.global_batch_size

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON can hold them; `from_dict` takes them back."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in dataclasses.asdict(self).items()
        }

    def fixed(self) -> dict[str, Any]:
        """The fields that must not change while a run goes on."""
        return {f.name: getattr(self, f.name) for f in fields(self) if not f.metadata["free"]}

    def digest(self) -> str:
        """sha256 of everything but paths: what all ranks must agree on."""
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
            raise ValueError(f"{origin}: unknown setting {', '.join(unknown)}. See --help for all")
        values: dict[str, Any] = {}
        for name, value in settings.items():
            try:
                values[name] = None if value is None else parser_of(hints[name])(str(value))
            except (ValueError, argparse.ArgumentTypeError):
                raise ValueError(
                    f"{origin}: {name} is {value!r}; {described(hints[name])} is needed"
                ) from None
        return cls(**values)


def parse_flags(argv: Sequence[str] | None) -> tuple[TrainConfig, argparse.Namespace]:
    """The configuration, and the flags that are not part of it (dry_run, json).

    The order of precedence is flags, then --config, then defaults. Raises ValueError for values
    that do not fit; argparse itself ends the program, with code 2, for flags it does not know.
    """
    parser = argparse.ArgumentParser(
        prog="train.py",
        description="Train a network on one or many machines.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    hints = typing.get_type_hints(TrainConfig)
    for setting in fields(TrainConfig):
        hint, text = hints[setting.name], setting.metadata["help"]
        if setting.default not in (None, "", Path()):
            text += f" [{setting.default}]"
        if hint is bool:
            parser.add_argument(
                flag(setting.name), action=argparse.BooleanOptionalAction, help=text
            )
        else:
            choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else None
            parser.add_argument(
                flag(setting.name),
                dest=setting.name,
                type=parser_of(hint),
                choices=choices,
                metavar=None if choices else described(hint).split()[-1].upper(),
                help=text,
            )
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
    settings = read_settings(extra.config) if extra.config else {}
    config = TrainConfig.from_dict(settings, str(extra.config))
    return dataclasses.replace(config, **vars(flags)), extra


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a TOML or JSON file. Raises ValueError where it cannot be read as one."""
    try:
        text = path.read_text()
        return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ValueError(f"--config {path} cannot be read: {error}") from None
