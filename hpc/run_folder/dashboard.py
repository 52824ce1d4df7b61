"""What TensorBoard shows of a run: names of its charts, a page of its own, a table of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.api_pb2 import (
    DATA_TYPE_BOOL,
    DATA_TYPE_FLOAT64,
    DATA_TYPE_STRING,
    HParamInfo,
)
from tensorboard.plugins.hparams.summary_v2 import (
    Domain,
    HParam,
    Metric,
    hparams_config_pb,
    hparams_pb,
)

from hpc.reports.event_files import layout_summary
from model.metrics.score_metrics import METRICS as METRICS_OF_MUSIC

# The tags of the scalars in metrics.jsonl, by SPLIT/NAME there. TensorBoard sorts the charts by
# their tags: the numbers put the loss first.
TAGS = {
    "train/loss": "1 loss/train",
    "valid/loss": "1 loss/valid",
    "train/perplexity": "2 perplexity/train",
    "valid/perplexity": "2 perplexity/valid",
    "train/tokens_per_second": "3 speed/tokens per second",
    "valid/tokens_per_second": "3 speed/tokens per second of an evaluation",
    "train/step_seconds": "4 seconds of a step/1 forward, backward, allreduce, update",
    "train/input_seconds": "4 seconds of a step/2 waiting for input",
    "train/evaluate_seconds": "4 seconds of a step/3 evaluating",
    "train/save_seconds": "4 seconds of a step/4 saving",
    "train/other_seconds": "4 seconds of a step/5 other",
    "train/learning_rate": "5 optimizer/learning rate",
    "train/gradient_norm": "5 optimizer/gradient norm",
    "train/host_busy_cores": "6 host of rank 0/busy cores",
    "train/host_memory_gigabytes": "6 host of rank 0/memory in use, GB",
    "train/own_memory_gigabytes": "6 host of rank 0/memory of this process, GB",
    "train/gpu_memory_gigabytes": "6 host of rank 0/GPU memory of this process, GB",
}
EVALUATED = frozenset(tag for name, tag in TAGS.items() if name.startswith("valid/"))
GROUP_OF_MUSIC = "7 music"  # of the samples
OLD_NAMES_OF_MUSIC = {"probability_of_real_token": "probability of a real token"}

# Titles of the charts on the page of Custom Scalars, with the tags that each of them shows.
CHARTS = {
    "Loss": {
        "Loss of train and valid, nats per token": [TAGS["train/loss"], TAGS["valid/loss"]],
        "Gradient norm": [TAGS["train/gradient_norm"]],
        "Learning rate": [TAGS["train/learning_rate"]],
    },
    "Speed": {
        "Tokens per second, all workers": [TAGS["train/tokens_per_second"]],
        "Where a step's time goes, seconds": [
            tag for name, tag in TAGS.items() if name.endswith("_seconds")
        ],
        "Busy cores of rank 0's host": [TAGS["train/host_busy_cores"]],
    },
}
# In the table of HParams: the settings shown first, and what is measured.
FIRST = ("model", "preset", "learning rate", "global batch size", "workers")
MEASURES = {
    "valid/loss": "valid loss",
    "train/loss": "train loss",
    "valid/perplexity": "valid perplexity",
    "train/tokens_per_second": "tokens per second",
}


def tag_of(name: str) -> str:
    """The tag of a scalar SPLIT/NAME of metrics.jsonl, which was its tag in older versions."""
    group, _, rest = name.partition("/")
    if group == "valid_music":
        return music_tag(OLD_NAMES_OF_MUSIC.get(rest, rest.replace("_", " ")))
    return TAGS.get(name, name)


def music_tag(name: str) -> str:
    """The tag of something that is measured, heard or seen of composed music."""
    return f"{GROUP_OF_MUSIC}/{name}"


def page() -> Summary:
    """The layout of the page Custom Scalars: loss, speed, and the music."""
    music = {name.capitalize(): [music_tag(name)] for name in METRICS_OF_MUSIC}
    return layout_summary({**CHARTS, "Music": music})


class AnyValue(Domain):
    """All values of the type of one value: TensorBoard shows runs with other ones too."""

    def __init__(self, value: Any, *, is_first: bool) -> None:
        self._value = value
        self._is_first = is_first

    @property
    def values(self) -> list[Any]:
        """One of the values."""
        return [self._value]

    @property
    def dtype(self) -> type:
        """The type of the values."""
        return type(self._value)

    def sample_uniform(self, rng: Any = None) -> Any:
        """One of the values."""
        return self._value

    def update_hparam_info(self, info: HParamInfo) -> None:
        """Write the type into TensorBoard's description of a hyperparameter."""
        kinds = {bool: DATA_TYPE_BOOL, str: DATA_TYPE_STRING}
        info.type = kinds.get(self.dtype, DATA_TYPE_FLOAT64)
        info.differs = self._is_first  # TensorBoard shows those first that differ between runs


def settings_table(run: str, settings: Mapping[str, Any]) -> list[Summary]:
    """Summaries that enter a run into the table of HParams: its columns, and the run's settings."""
    shown = {name.replace("_", " "): value for name, value in settings.items()}
    columns = [
        HParam(name, AnyValue(value, is_first=name in FIRST)) for name, value in shown.items()
    ]
    measures = [Metric(tag_of(of), display_name=name) for of, name in MEASURES.items()]
    return [hparams_config_pb(columns, measures), hparams_pb(shown, trial_id=run)]
