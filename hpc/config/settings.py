"""The settings of a training run, one class for each part of the program that owns them.

Each field is a flag, with its default, its bounds and its help text. TrainConfig (train_config.py)
inherits them all, so that code which needs one part can be given the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hpc.config.fields import ABOVE_0, AT_LEAST_0, FROM_0_BELOW_1, FROM_0_TO_1, option

# The trackers by name; each is a file in hpc/run_folder/trackers/.
TrackerName = Literal["none", "mlflow"]
# The strategies by name; each is a class in hpc/distributed/strategies.py. auto chooses one.
StrategyName = Literal["auto", "single", "horovod", "multiworker"]

OF_FRAMES = (
    "head_dropout",
    "history_dropout",
    "recurrent_dropout",
)  # only --model frames uses them


@dataclass(frozen=True)
class RunSettings:
    """The run as a whole."""

    run: Path | None = option(
        None, "run folder; an existing one is continued [runs/STRATEGY-TIME]", local=True
    )
    from_run: Path | None = option(
        None, "start a new run from the weights of this run or checkpoint", local=True
    )
    steps: int = option(2000, "optimizer steps in all", bounds=ABOVE_0, free=True)
    seed: int = option(1, "of initial weights, order of the data, dropout")


@dataclass(frozen=True)
class DataSettings:
    """What a batch holds."""

    data: Path = option(Path("data/bach"), "folder that pipeline/preprocess.py wrote", local=True)
    windows: Literal["stream", "pieces"] = option(
        "stream", "a window is a stretch of the stream of pieces, or one whole piece"
    )
    sequence_length: str = option(
        "auto",
        "tokens that a window predicts, or auto: as recommended for the data set; with --windows "
        "pieces, of the longest piece",
    )
    global_batch_size: int = option(64, "windows a step over all workers", bounds=ABOVE_0)
    local_batch_size: int = option(
        0,
        "windows a step on each worker; if given, the global batch grows with the workers",
        bounds=AT_LEAST_0,
    )
    max_transpose: int = option(
        6, "semitones by which a training piece may move, up or down", bounds=AT_LEAST_0
    )
    own_key: float = option(
        0.0,
        "share of its passes in which a training piece does not move: 1 is --max-transpose 0",
        bounds=FROM_0_TO_1,
    )

    @property
    def whole_pieces(self) -> bool:
        """Is every window one piece?"""
        return self.windows == "pieces"

    def effective_batch_size(self, size: int) -> int:
        """Windows a step over all of `size` workers."""
        return self.local_batch_size * size or self.global_batch_size


@dataclass(frozen=True)
class ModelSettings:
    """The network."""

    model: Literal["lstm", "lstm-attention", "transformer", "frames"] = option(
        "lstm", "network over tokens, or over the frames of a grid data set"
    )
    preset: Literal["tiny", "small", "base"] = option("small", "size of the network")
    dropout: float = option(
        0.2, "share of activations dropped between layers", bounds=FROM_0_BELOW_1
    )
    head_dropout: float = option(
        0.4, "frames: the same in the head that chooses the voices", bounds=FROM_0_BELOW_1
    )
    history_dropout: float = option(
        0.1, "frames: share of frames whose past is hidden from the LSTM", bounds=FROM_0_BELOW_1
    )
    recurrent_dropout: float = option(
        0.0,
        "frames: share of the units of the LSTM whose state is dropped, the same in a window",
        bounds=FROM_0_BELOW_1,
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = option(
        "float32", "type of the products; weights stay float32"
    )


@dataclass(frozen=True)
class OptimizerSettings:
    """The update of the weights."""

    accumulation: int = option(
        1, "parts the batch is computed in, to save memory", bounds=ABOVE_0, free=True
    )
    learning_rate: float = option(4e-3, "peak learning rate, for the global batch", bounds=ABOVE_0)
    lr_scaling: Literal["none", "sqrt", "linear"] = option(
        "none", "multiply the learning rate by 1, the root of, or the number of workers"
    )
    warmup_steps: int = option(100, "steps of linear warm-up before the cosine", bounds=AT_LEAST_0)
    weight_decay: float = option(0.01, "AdamW's decoupled weight decay", bounds=AT_LEAST_0)
    clip_norm: float = option(
        1.0, "limit of the global norm of the averaged gradient", bounds=ABOVE_0
    )
    average: float = option(
        0.0,
        "evaluate and compose with a moving average of the weights, of this momentum; 0: none",
        bounds=FROM_0_BELOW_1,
    )

    def effective_learning_rate(self, size: int) -> float:
        """The peak learning rate after --lr-scaling for `size` workers."""
        factor = {"none": 1.0, "sqrt": size**0.5, "linear": float(size)}[self.lr_scaling]
        return self.learning_rate * factor


@dataclass(frozen=True)
class WorkerSettings:
    """How the workers exchange gradients, and how long they wait for each other."""

    strategy: StrategyName = option(
        "auto", "how gradients are averaged; auto: by what started the program", local=True
    )
    compression: str = option(
        "none",
        "how gradients travel: none (float32), fp16, or powersgd:RANK, such as powersgd:32",
    )
    local_steps: int = option(
        1,
        "steps that each worker takes by itself before all average what these changed; 1: average "
        "the gradients of every step",
        bounds=ABOVE_0,
    )
    outer_learning_rate: float = option(
        1.0, "of what --local-steps changed; 1 with momentum 0: its mean", bounds=ABOVE_0
    )
    outer_momentum: float = option(
        0.0, "Nesterov momentum of what --local-steps changed", bounds=FROM_0_BELOW_1
    )
    collective: Literal["auto", "ring", "nccl"] = option(
        "auto", "multiworker: implementation of its allreduce", local=True
    )
    fusion_threshold: int = option(
        0,
        "horovod: MiB of its fusion buffer; 0 leaves its default",
        bounds=AT_LEAST_0,
        local=True,
    )
    cycle_time: float = option(
        0.0,
        "horovod: milliseconds between its cycles; 0 leaves its default",
        bounds=AT_LEAST_0,
        local=True,
    )
    autotune: bool = option(False, "horovod: let it tune the two above", local=True)
    timeline: bool = option(
        False,
        "horovod: record its collectives in the run folder, for chrome://tracing or Perfetto",
        local=True,
    )
    start_timeout: float = option(
        120.0,
        "seconds for each part of the start; on a busy machine up to five times as long",
        bounds=ABOVE_0,
        local=True,
    )
    timeout: float = option(
        60.0,
        "seconds without a finished step after which a worker gives up",
        bounds=ABOVE_0,
        local=True,
    )

    @property
    def powersgd_rank(self) -> int:
        """RANK of --compression powersgd:RANK; 0 for the other forms.

        Raises ValueError for any other text.
        """
        name, _, rank = self.compression.partition(":")
        if name == "powersgd" and rank.isdecimal() and int(rank) > 0:
            return int(rank)
        if self.compression in ("none", "fp16"):
            return 0
        raise ValueError(
            f"--compression is {self.compression!r}; give none, fp16 or powersgd:RANK, such as "
            "powersgd:32"
        )


@dataclass(frozen=True)
class RecordSettings:
    """How often a run is recorded, evaluated and saved, in steps where no unit is given."""

    log_every: int = option(
        20, "steps between two lines of metrics.jsonl", bounds=ABOVE_0, free=True
    )
    eval_every: int = option(
        200, "steps between evaluations on the valid split", bounds=ABOVE_0, free=True
    )
    save_every: int = option(200, "steps between checkpoints", bounds=ABOVE_0, free=True)
    save_minutes: float = option(
        0.0, "also save after this many minutes; 0: never", bounds=AT_LEAST_0, free=True
    )
    keep: int = option(3, "newest checkpoints kept, besides the best", bounds=ABOVE_0, free=True)
    patience: int = option(
        0,
        "evaluations without a better loss before stopping; 0: never",
        bounds=AT_LEAST_0,
        free=True,
    )
    samples_after: float = option(
        60.0,
        "seconds of training after which evaluations put samples of the music into TensorBoard; "
        "-1: never",
        free=True,
    )
    tracker: TrackerName = option(
        "none", "program that gets the scalars too (docs/trackers.md)", free=True
    )
    profile: str = option(
        "", "steps FIRST:LAST to profile for TensorBoard, on all ranks", local=True
    )

    @property
    def profile_window(self) -> tuple[int, int] | None:
        """First and last step to profile; None without --profile.

        Raises ValueError for any other text.
        """
        if not self.profile:
            return None
        first, colon, last = self.profile.partition(":")
        if not (colon and first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last)):
            raise ValueError(
                f"--profile is {self.profile!r}; give the first and the last step, such as 20:25"
            )
        return int(first), int(last)
