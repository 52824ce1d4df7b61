"""Measurements whose efficiency is known, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hpc.efficiency.measure import Measurement
from hpc.efficiency.plan import Cell, plan
from hpc.efficiency.tables import EfficiencyRow, rows

BATCHES = {"weak": 8, "strong": 16}
LINK = {"megabytes": 10.0, "seconds": 0.025, "size": 2, "gigabytes_per_second": 0.4}
HOSTS = ("dorchester", "bath")
ALONE_D, ALONE_B = Cell("single", ("dorchester",), 8), Cell("single", ("bath",), 8)
APART, TOGETHER = Cell("single", HOSTS, 8), Cell("horovod", HOSTS, 8)


def measurement(cell: Cell, repetition: int, rate: float) -> Measurement:
    """A measurement of this rate, whose step takes 0.1 s."""
    return Measurement(
        cell=cell,
        repetition=repetition,
        rate=rate,
        worker_rates=(rate,),
        step_seconds=0.1,
        parts={"input": 0.001, "step": 0.09, "save": 0.004, "other": 0.005},
        link=None if cell.is_alone else LINK,
        machines=("dorchester (EPYC)",),
        devices=("CPU, cores 0",),
        sequence_length=32,
        commit="abc",
    )


# What a fit needs: a step together and apart, an allreduce of the gradient and of one number.
STEPS_OF_TWO = {
    (APART, 1): replace(measurement(APART, 1, 160), worker_rates=(80, 80)),
    (TOGETHER, 1): replace(
        measurement(TOGETHER, 1, 120), step_seconds=0.12, link={**LINK, "latency_seconds": 0.002}
    ),
}


def rows_of(rates: dict[Cell, Sequence[float]]) -> dict[tuple[str, int], EfficiencyRow]:
    """The rows of weak scaling over the two hosts, by strategy and workers, from rates."""
    measured = {
        (cell, repetition): measurement(cell, repetition, rate)
        for cell, of_cell in rates.items()
        for repetition, rate in enumerate(of_cell, start=1)
    }
    compared = plan(HOSTS, [1, 2], ["horovod"], ["weak"], BATCHES)
    return {(row.strategy, row.workers): row for row in rows(compared, measured)}


def record(rank: int, windows: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """What a worker tells of its windows (end, rate); 100 tokens a step, all of it computing."""
    return {
        "rank": rank,
        "windows": [[end, rate, 0.0, 100 / rate, 0.0, 0.0] for end, rate in windows],
        "tokens_per_step": 100,
        "link": None,
        "machines": [f"host {rank} (EPYC)"],
        "devices": f"CPU, cores {rank}",
        "sequence_length": 32,
        "commit": "abc",
    }
