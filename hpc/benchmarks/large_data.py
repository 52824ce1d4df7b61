"""Benchmark rows of a data set of 10 GB: is memory flat, and does the input keep its speed?

The given data set is repeated until its files have that size. It is written in full, read in full
by every pass, and removed afterwards.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from hpc.benchmarks.rows import (
    BenchmarkRow,
    Options,
    alternate,
    cpu_seconds,
    load_tensorflow_on_one_core,
    paired_ratio,
    rows_without_value,
    use_one_core,
)
from hpc.benchmarks.training import folder_bytes, peak_memory, repeat_data
from pipeline.dataset.manifest import Manifest

ROWS = {
    "large-memory": "<= 1.05",  # peak memory of a training on 10 GB against that on few MB
    "large-speed": ">= 0.95",  # windows/s of batches.py from 10 GB against those from few MB
}
LARGE = 10e9  # bytes of TFRecords
SMALL_COPIES = 10  # of the data set given
WINDOW = {"sequence_length": 128, "global_batch_size": 32}
BATCHES = 1000  # batches at a time
ROUNDS = 5  # at most: every training reads 10 GB to check them


def measure(names: list[str], options: Options) -> list[BenchmarkRow]:
    """The rows. Sets threads, so it must be the first use of TensorFlow."""
    try:
        train_bytes = sum(
            (options.data / shard.file).stat().st_size
            for shard in Manifest.load(options.data).of_split("train")
        )
    except (ValueError, OSError) as error:
        return rows_without_value(names, ROWS, str(error))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if shutil.disk_usage(folder).free < 1.1 * LARGE:
            lack = f"{folder.parent} has no {1.1 * LARGE / 1e9:.0f} GB free; set TMPDIR"
            return rows_without_value(names, ROWS, lack)
        small, large = folder / "small", folder / "large"
        repeat_data(options.data, small, SMALL_COPIES)
        repeat_data(options.data, large, -int(-LARGE // train_bytes))
        use_one_core()
        rounds = min(options.rounds, ROUNDS)
        rows = {"large-memory": memory_row, "large-speed": speed_row}
        return [rows[name](small, large, rounds) for name in names]


def memory_row(small: Path, large: Path, rounds: int) -> BenchmarkRow:
    """Peak memory of trainings on the two data sets, in turn."""
    bytes_of = alternate(
        {"few": lambda: peak_memory(small), "many": lambda: peak_memory(large)}, rounds
    )
    value, spread = paired_ratio(bytes_of["many"], bytes_of["few"])
    few, many = (statistics.median(bytes_of[name]) / 1e6 for name in ("few", "many"))
    note = f"{many:.0f} against {few:.0f} MB; {sizes(small, large)}; pairs {spread}"
    return BenchmarkRow.judged("large-memory", value, ROWS["large-memory"], note)


def speed_row(small: Path, large: Path, rounds: int) -> BenchmarkRow:
    """Processor seconds of making batches from the two data sets, in turn."""
    load_tensorflow_on_one_core()
    seconds = alternate({"few": batch_maker(small), "many": batch_maker(large)}, rounds)
    value, spread = paired_ratio(seconds["few"], seconds["many"])
    per_second = BATCHES * WINDOW["global_batch_size"]
    few, many = (per_second / statistics.median(seconds[name]) for name in ("few", "many"))
    note = f"{many:,.0f} against {few:,.0f} windows/s; {sizes(small, large)}; pairs {spread}"
    return BenchmarkRow.judged("large-speed", value, ROWS["large-speed"], note)


def batch_maker(data_dir: Path) -> Callable[[], float]:
    """A function that makes the next batches of a data set; it returns the processor seconds."""
    from pipeline.dataset.batches import training_batches
    from pipeline.dataset.schedule import BatchPlan

    length, batch_size = WINDOW["sequence_length"], WINDOW["global_batch_size"]
    plan = BatchPlan(Manifest.load(data_dir), length, batch_size, seed=1, max_transpose=6)
    batches = iter(training_batches(data_dir, plan))
    return lambda: cpu_seconds(lambda: [next(batches) for _ in range(BATCHES)])


def sizes(small: Path, large: Path) -> str:
    """The pieces and bytes of the two data sets."""
    pieces = f"{Manifest.load(large).num_pieces('train'):,} train pieces"
    return (
        f"{folder_bytes(large) / 1e9:.1f} GB, {pieces}, against {folder_bytes(small) / 1e6:.1f} MB"
    )
