"""Benchmark row of the input pipeline alone: windows it makes against windows a training consumes.

pipeline/dataset/batches.py runs by itself, and a training step of two LSTM layers of 512 by itself,
both on one core and in turn; windows are of 128 tokens, 32 a batch.
"""

from __future__ import annotations

import os
import statistics

from hpc.benchmarks import lstm as bench_lstm
from hpc.benchmarks.rows import Options, Row, alternate, cpu_seconds, paired_ratio, pin_to_one_core
from pipeline.dataset.manifest import Manifest
from pipeline.runtime.tensorflow_loading import load_tensorflow

ROWS = {"batches": ">= 50"}  # windows/s of batches.py alone against those of a training step
BATCHES = 200  # so many at a time: a block of windows is made at once, for several batches


def measure(names: list[str], options: Options) -> list[Row]:
    """The row. Sets threads, so it must be the first use of TensorFlow."""
    try:
        manifest = Manifest.load(options.data)
    except ValueError as error:
        return [Row.judged(name, None, ROWS[name], str(error)) for name in names]
    os.environ["OMP_NUM_THREADS"] = "1"
    pin_to_one_core()
    load_tensorflow()
    import tensorflow as tf

    from model.networks.hoisted_lstm import HoistedLSTM
    from pipeline.dataset.batches import training_batches
    from pipeline.dataset.schedule import BatchPlan

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    plan = BatchPlan(
        manifest,
        sequence_length=bench_lstm.TIME,
        global_batch_size=bench_lstm.BATCH,
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
            "step": bench_lstm.training_step(HoistedLSTM),
        },
        options.rounds,
    )
    value, spread = paired_ratio(seconds["step"], seconds["input"])
    made, consumed = (
        bench_lstm.BATCH / statistics.median(seconds[part]) for part in ("input", "step")
    )
    note = f"{made:,.0f} against {consumed:.1f} windows/s; pairs {spread}"
    return [Row.judged("batches", value, ROWS["batches"], note)]
