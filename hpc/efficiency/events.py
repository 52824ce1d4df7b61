"""Efficiency by workers and the picture for TensorBoard, written without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpc.efficiency.forecast import LINKS, WORKERS, Forecast
from hpc.efficiency.tables import EfficiencyRow
from hpc.reports.event_files import image_summary, remove_event_files, write_event_file


def write_events(
    found: Sequence[EfficiencyRow],
    foreseen: Sequence[Forecast],
    text: str,
    picture: Path,
    out_dir: Path,
) -> None:
    """Write a folder for each scaling and strategy, whose step is the number of workers.

    Predictions have a folder for each strategy and link. The tables, as text, and the picture are
    beside them. An earlier view in the folder is replaced.
    """
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.plugins.text.summary_v2 import text_pb

    remove_event_files(out_dir)
    for scaling, strategy in dict.fromkeys((row.scaling, row.strategy) for row in found):
        name = f"{scaling}-{strategy}"
        own = [row for row in found if (row.scaling, row.strategy) == (scaling, strategy)]
        settings = hparams_pb({"scaling": scaling, "strategy": strategy}, trial_id=name)
        entries = [(0, 0.0, settings), *(entry for row in own for entry in _scalars(row))]
        write_event_file(out_dir / name, iter(entries))
    for model in filter(lambda model: model.is_reliable, foreseen):
        for gigabits in LINKS:
            entries = [_predicted(model, workers, gigabits) for workers in WORKERS]
            name = f"predicted-{model.strategy}-{gigabits:g}gbit"
            write_event_file(out_dir / name, iter(entries))

    # TensorBoard takes the plugin of a tag from its first event: text and picture need two tags.
    shown = [text_pb("scaling/tables", text), image_summary("scaling/plot", picture)]
    write_event_file(out_dir, iter([(0, 0.0, summary) for summary in shown]))


def _scalars(row: EfficiencyRow) -> list[tuple[int, float, Any]]:
    """The figures of a row, at the step of its number of workers."""
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    solo, independent = row.against_solo, row.against_independent
    values = {
        "efficiency/against solo": solo and solo.median,
        "efficiency/against independent": independent and independent.median,
        "speed/tokens per second": row.rate.median,
        "speed/tokens per second per worker": row.rate.median / row.workers,
        "step/seconds": row.step_seconds,
        **{f"step/share of {name}": share for name, share in row.parts.items()},
        "allreduce/seconds": row.allreduce_seconds,
        "allreduce/gigabytes per second": row.gigabytes_per_second,
    }
    return [
        (row.workers, float(row.workers), scalar_pb(tag, value))
        for tag, value in values.items()
        if value is not None
    ]


def _predicted(model: Forecast, workers: int, gigabits: float) -> tuple[int, float, Any]:
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    share = model.efficiency(workers, gigabits)
    return workers, float(workers), scalar_pb("efficiency/predicted", share)
