"""Benchmark rows of playing while composing: how soon, how evenly, how far ahead of the music.

The program is started as its users start it, on all cores; the rows of composing run on one.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from hpc.benchmarks.rows import (
    REPOSITORY,
    Options,
    Row,
    alternate,
    cpu_seconds,
    paired_ratio,
    pin_to_one_core,
)
from pipeline.runtime.tensorflow_loading import load_tensorflow

if TYPE_CHECKING:
    from model.composing.composer import Composer

ROWS = {
    "live-start": "<= 6",  # seconds from the start of the program to the first note
    "live-first-note": "<= 1",  # seconds from the model's being loaded to the first note
    "live-token": "<= 3",  # ms a token, 99th percentile over parts of 16, 2 x 512
    "live-ahead": ">= 50",  # seconds of chorales at quarter = 100 composed in a second
    "generate-64": ">= 15",  # tokens/s of 64 pieces side by side against one piece, 2 x 512
}
CHORALES = REPOSITORY / "model/pretrained/chorales"
QUARTER = 0.6  # seconds, at a tempo of 100
PARTS = 100  # a round's, of one piece, for the percentile
TIME_LIMIT = 120.0  # seconds to the first note, before the program is given up


def measure(names: list[str], options: Options) -> list[Row]:
    """The rows asked for. Sets threads, so it must be the first use of TensorFlow."""
    rows = []
    starting = {"live-start", "live-first-note"} & set(names)
    if starting:
        rows += [row for row in starting_rows(options.rounds) if row.name in starting]
    if set(names) - starting:
        os.environ["OMP_NUM_THREADS"] = "1"
        pin_to_one_core()
        load_tensorflow()
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        composing = {"live-token": token_row, "live-ahead": ahead_row, "generate-64": batch_row}
        rows += [row(options.rounds) for name, row in composing.items() if name in names]
    return rows


def starting_rows(rounds: int) -> list[Row]:
    """The shipped model played to standard output by the program itself, again and again."""
    loaded, notes = zip(*(first_note() for _ in range(rounds + 1)), strict=True)
    waits = [note - ready for ready, note in zip(loaded, notes, strict=True)][1:]
    spread = f"{min(notes[1:]):.1f} to {max(notes[1:]):.1f} s; the model is ready after "
    note = spread + f"{statistics.median(loaded[1:]):.1f} s, its loop compiled"
    first = f"{min(waits) * 1000:.0f} to {max(waits) * 1000:.0f} ms; loaded, its loop compiled"
    return [
        Row.judged("live-start", statistics.median(notes[1:]), ROWS["live-start"], note),
        Row.judged("live-first-note", statistics.median(waits), ROWS["live-first-note"], first),
    ]


def first_note() -> tuple[float, float]:
    """Seconds from the start of the program: the model is ready, the first event is played.

    Raises RuntimeError where the program plays nothing.
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


def token_row(rounds: int) -> Row:
    """Tokens in parts of the size that live playing composes at a call; a part's mean counts."""
    from model.composing.sampling import Sampling
    from model.live.composing_ahead import CHUNK

    composer = large_composer()
    parts = composer.stream(
        [0], Sampling(top_p=0.95), 1, composer.primer_ids(None), endless=True, chunk=CHUNK
    )
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
    return Row.judged("live-token", percentiles[98], ROWS["live-token"], note)


def ahead_row(rounds: int) -> Row:
    """A chorale by the shipped model: its length in seconds by those of composing it."""
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
    return Row.judged("live-ahead", statistics.median(ratios[1:]), ROWS["live-ahead"], note)


def batch_row(rounds: int) -> Row:
    """One call of the compiled loop for 64 pieces, and one for a piece by itself, in turn."""
    from model.composing.composer import CHUNK
    from model.composing.sampling import Sampling

    composer = large_composer()
    seeds = count()

    def seconds_of(num_pieces: int) -> float:
        parts = composer.stream(
            range(num_pieces), Sampling(top_p=0.95), next(seeds), composer.primer_ids(None), True
        )
        next(parts)
        return cpu_seconds(lambda: next(parts)) / (CHUNK * num_pieces)

    seconds = alternate({"one": lambda: seconds_of(1), "many": lambda: seconds_of(64)}, rounds)
    value, spread = paired_ratio(seconds["one"], seconds["many"])
    one, many = (1 / statistics.median(seconds[part]) for part in ("one", "many"))
    note = f"{many:.0f} against {one:.0f} tokens/s; pairs {spread}"
    return Row.judged("generate-64", value, ROWS["generate-64"], note)


def large_composer() -> Composer:
    """Two LSTM layers of 512 over events, as drawn: no training changes their speed."""
    from model.composing.composer import Composer
    from model.networks.lstm import build_lstm, preset_config
    from pipeline.vocabulary.events import EventVocabulary

    vocabulary = EventVocabulary()
    return Composer(build_lstm(preset_config("base", vocabulary.size, 0.0)), vocabulary)
