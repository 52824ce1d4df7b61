"""Benchmark rows of playing while composing: how soon, how evenly, how far ahead of the music.

The program is started as its users start it, on all cores; rows of the composer alone run on one.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from functools import partial

from hpc.benchmarks.generation import untrained_composer
from hpc.benchmarks.rows import BenchmarkRow, Options, cpu_seconds, load_tensorflow_on_one_core
from pipeline.runtime.provenance import REPOSITORY

ROWS = {
    "live-start": "<= 6",  # seconds from the start of the program to the first note
    "live-first-note": "<= 1",  # seconds from the end of loading the model to the first note
    "live-token": "<= 3",  # ms a token of 2 x 512, 99th percentile over parts of 16 tokens
    "live-ahead": ">= 50",  # seconds of chorales at quarter = 100 composed in a second
}
CHORALES = REPOSITORY / "model/pretrained/chorales"
QUARTER = 0.6  # seconds, at a tempo of 100
PARTS = 100  # of one piece in each round, for the percentile
TIME_LIMIT = 120.0  # seconds to the first note, after which the program is killed


def measure(names: list[str], options: Options) -> list[BenchmarkRow]:
    """The rows asked for. Sets threads, so it must be the first use of TensorFlow."""
    rows = []
    starting = {"live-start", "live-first-note"} & set(names)
    if starting:
        rows += [row for row in starting_rows(options.rounds) if row.name in starting]
    if set(names) - starting:
        load_tensorflow_on_one_core()
        composing = {"live-token": token_row, "live-ahead": ahead_row}
        rows += [row(options.rounds) for name, row in composing.items() if name in names]
    return rows


def starting_rows(rounds: int) -> list[BenchmarkRow]:
    """Start the program with the shipped model once a round; its first notes, in seconds."""
    loaded, notes = zip(*(first_note() for _ in range(rounds + 1)), strict=True)
    waits = [note - ready for ready, note in zip(loaded, notes, strict=True)][1:]
    spread = f"{min(notes[1:]):.1f} to {max(notes[1:]):.1f} s; the model is ready after "
    note = spread + f"{statistics.median(loaded[1:]):.1f} s, its loop compiled"
    first = f"{min(waits) * 1000:.0f} to {max(waits) * 1000:.0f} ms; loaded, its loop compiled"
    return [
        BenchmarkRow.judged("live-start", statistics.median(notes[1:]), ROWS["live-start"], note),
        BenchmarkRow.judged(
            "live-first-note", statistics.median(waits), ROWS["live-first-note"], first
        ),
    ]


def first_note() -> tuple[float, float]:
    """Seconds from the start of the program until the model is ready and until the first event.

    Raises RuntimeError if the program plays nothing.
    """
    command = [sys.executable, "model/generate.py", str(CHORALES), "--live", "stdout"]
    started = time.monotonic()
    with subprocess.Popen(
        [*command, "--bars", "1", "--seed", "1"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        times: list[float] = []
        said: list[str] = []

        def listen() -> None:
            for line in program.stderr or ():
                said.append(line)
                if line.startswith("playing from"):
                    times.append(time.monotonic() - started)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        killer = threading.Timer(TIME_LIMIT, program.kill)
        killer.start()
        line = (program.stdout or sys.stdin).readline()
        played = time.monotonic() - started
        program.communicate()
        killer.cancel()
        listener.join()
    if not line or not times:
        raise RuntimeError(f"{' '.join(command)} played nothing: {''.join(said)[-300:]}")
    return times[0], played


def token_row(rounds: int) -> BenchmarkRow:
    """Milliseconds a token, as the mean of each part that live playing composes in one call."""
    from model.composing.pieces import NEVER
    from model.composing.sampling import Sampling
    from model.live.composing_ahead import CHUNK

    composer = untrained_composer()
    parts = composer.stream([0], Sampling(top_p=0.95), 1, composer.primer_ids(None), NEVER, CHUNK)
    for _ in range(PARTS):
        next(parts)
    times = []
    for _ in range(PARTS * rounds):
        started = time.perf_counter()
        next(parts)
        times.append(1000 * (time.perf_counter() - started) / CHUNK)
    percentiles = statistics.quantiles(times, n=100)
    note = (
        f"ms; median {percentiles[49]:.2f}, worst {max(times):.1f}; {len(times)} parts of {CHUNK}"
    )
    return BenchmarkRow.judged("live-token", percentiles[98], ROWS["live-token"], note)


def ahead_row(rounds: int) -> BenchmarkRow:
    """Seconds of music for a second of composing: a chorale by the shipped model."""
    from model.composing.composer import Composer
    from model.composing.pieces import Length
    from model.composing.sampling import Sampling

    composer = Composer.load(CHORALES)
    composer.warm_up()
    grid = composer.vocabulary.steps_per_quarter
    length = Length.of_steps(64 * grid, grid)
    ratios = []
    for seed in range(rounds + 1):
        seconds = cpu_seconds(partial(composer.compose, [0], Sampling(top_p=0.95), length, seed))
        ratios.append(64 * QUARTER / seconds)
    note = f"{min(ratios[1:]):.0f} to {max(ratios[1:]):.0f}; 64 quarters, the shipped model"
    return BenchmarkRow.judged(
        "live-ahead", statistics.median(ratios[1:]), ROWS["live-ahead"], note
    )
