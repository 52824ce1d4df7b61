"""What TensorBoard shows of a run besides its charts: a page of its own, a table of settings."""

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
from hpc.run_folder.tags import TAGS, music_tag, tag_of
from model.metrics.score_metrics import METRICS as METRICS_OF_MUSIC

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
