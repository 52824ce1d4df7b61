"""Benchmark row of the input pipeline alone: windows it makes against windows a training consumes.

pipeline/dataset/batches.py runs by itself, and a training step of two LSTM layers of 512 by itself,
both on one core and in turn; windows are of 128 tokens, 32 a batch.
"""

from __future__ import annotations

import statistics

from hpc.benchmarks import lstm
from hpc.benchmarks.rows import (
    BenchmarkRow,
    Options,
    alternate,
    cpu_seconds,
    load_tensorflow_on_one_core,
    paired_ratio,
    rows_without_value,
)
from pipeline.dataset.manifest import Manifest

ROWS = {"batches": ">= 50"}  # windows/s of batches.py alone against those of a training step
BATCHES = 200  # batches at a time: windows are made in blocks, each of several batches


def measure(names: list[str], options: Options) -> list[BenchmarkRow]:
    """The row. Sets threads, so it must be the first use of TensorFlow."""
    try:
        manifest = Manifest.load(options.data)
    except ValueError as error:
        return rows_without_value(names, ROWS, str(error))
    load_tensorflow_on_one_core()
    from model.networks.hoisted_lstm import HoistedLSTM
    from pipeline.dataset.batches import training_batches
    from pipeline.dataset.schedule import BatchPlan

    plan = BatchPlan(
        manifest,
        sequence_length=lstm.TIME,
        global_batch_size=lstm.BATCH,
        seed=1,
        max_transpose=6,
    )
    batches = iter(training_batches(options.data, plan))

    def make() -> None:
        for _ in range(BATCHES):
            next(batches)

    seconds = alternate(
        {
            "input": lambda: cpu_seconds(make) / BATCHES,
            "step": lstm.training_step(HoistedLSTM),
        },
        options.rounds,
    )
    value, spread = paired_ratio(seconds["step"], seconds["input"])
    made, consumed = (lstm.BATCH / statistics.median(seconds[part]) for part in ("input", "step"))
    note = f"{made:,.0f} against {consumed:.1f} windows/s; pairs {spread}"
    return [BenchmarkRow.judged("batches", value, ROWS["batches"], note)]
