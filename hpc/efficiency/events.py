"""Efficiency by workers and the picture for TensorBoard, written without TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpc.efficiency.forecast import LINKS, WORKERS, Forecast
from hpc.efficiency.plan import ALONE
from hpc.efficiency.tables import EfficiencyRow
from hpc.reports.event_files import (
    FOLDER,
    image_summary,
    layout_summary,
    remove_event_files,
    write_event_file,
)

# TensorBoard sorts charts by their tags: these come after those of trainings, which have numbers.
AGAINST_INDEPENDENT = "scaling 1 efficiency/against independent processes"
AGAINST_SOLO = "scaling 1 efficiency/against one process alone"
PREDICTED = "scaling 1 efficiency/predicted, weak scaling"
SPEED, SPEED_OF_ONE = (
    "scaling 2 speed/tokens per second",
    "scaling 2 speed/tokens per second per worker",
)
STEP_SECONDS = "scaling 3 a step/seconds"
CHARTS = {
    "Scaling: the horizontal axis is the number of workers": {
        "Efficiency against independent processes": [AGAINST_INDEPENDENT],
        "Efficiency against one process alone": [AGAINST_SOLO],
        "Efficiency that the cost model predicts, weak scaling": [PREDICTED],
        "Tokens per second, all workers": [SPEED],
        "Tokens per second, per worker": [SPEED_OF_ONE],
        "Seconds of a step": [STEP_SECONDS],
    }
}


def write_events(
    found: Sequence[EfficiencyRow],
    foreseen: Sequence[Forecast],
    text: str,
    picture: Path,
    out_dir: Path,
) -> None:
    """Write a folder for each scaling and strategy, whose step is the number of workers.

    They are in the folder `FOLDER` of `out_dir`. Every curve begins with one process alone.
    Predictions have a folder for each strategy and link. The tables, as text, and the picture are
    beside them. An earlier view in the folder is replaced.
    """
    from tensorboard.plugins.text.summary_v2 import text_pb

    remove_event_files(out_dir)
    folder, now = out_dir / FOLDER, time.time()
    for scaling, strategy in dict.fromkeys((row.scaling, row.strategy) for row in found):
        if strategy == ALONE:
            continue
        rows = [row for row in found if row.scaling == scaling]
        own = [row for row in rows if row.strategy in (ALONE, strategy)]
        entries = [entry for row in own for entry in _scalars(row)]
        write_event_file(folder / f"{scaling}-{strategy}", iter(entries), now)
    for model in filter(lambda model: model.is_reliable, foreseen):
        for gigabits in LINKS:
            entries = [_predicted(model, workers, gigabits) for workers in WORKERS]
            name = f"predicted-{model.strategy}-{gigabits:g}gbit"
            write_event_file(folder / name, iter(entries), now)

    # TensorBoard takes the plugin of a tag from its first event: each needs a tag of its own.
    shown = [text_pb("scaling/tables", text), image_summary("scaling/plot", picture)]
    shown.append(layout_summary(CHARTS))
    write_event_file(folder, iter([(0, 0.0, summary) for summary in shown]), now)


def _scalars(row: EfficiencyRow) -> list[tuple[int, float, Any]]:
    """The figures of a row, at the step of its number of workers; 1 process has efficiency 1."""
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    solo, independent = row.against_solo, row.against_independent
    perfect = 1.0 if row.strategy == ALONE else None
    values = {
        AGAINST_INDEPENDENT: independent.median if independent else perfect,
        AGAINST_SOLO: solo.median if solo else perfect,
        SPEED: row.rate.median,
        SPEED_OF_ONE: row.rate.median / row.workers,
        STEP_SECONDS: row.step_seconds,
        **{f"scaling 3 a step/share of {name}": share for name, share in row.parts.items()},
        "scaling 4 allreduce/seconds": row.allreduce_seconds,
        "scaling 4 allreduce/gigabytes per second": row.gigabytes_per_second,
    }
    return [
        (row.workers, float(row.workers), scalar_pb(tag, value))
        for tag, value in values.items()
        if value is not None
    ]


def _predicted(model: Forecast, workers: int, gigabits: float) -> tuple[int, float, Any]:
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    share = model.efficiency(workers, gigabits)
    return workers, float(workers), scalar_pb(PREDICTED, share)
