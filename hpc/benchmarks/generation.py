"""Benchmark rows of composing: one piece against `model.predict` for every token, and 64 pieces.

All have two LSTM layers of 512 and run on one core, in turn. model/generate.py carries the
network's state from token to token. What most programs for music do instead, since Keras's
example and Skuldur's Classical-Piano-Composer, is to predict from a window of the last 100 tokens,
and then from the window one token on.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from hpc.benchmarks import lstm
from hpc.benchmarks.rows import (
    BenchmarkRow,
    Options,
    alternate,
    cpu_seconds,
    load_tensorflow_on_one_core,
    paired_ratio,
)

if TYPE_CHECKING:
    from model.composing.composer import Composer

ROWS = {  # name -> target
    "generate": ">= 20",  # tokens/s against model.predict for every token
    "generate-64": ">= 15",  # tokens/s of 64 pieces side by side against one piece
}
WINDOW = 100  # tokens that predict sees: sequence_length of Classical-Piano-Composer
COMPOSED = 256  # tokens of ours at a time
PREDICTED = 4  # tokens at a time: each takes as long as many of ours


def measure(names: list[str], options: Options) -> list[BenchmarkRow]:
    """The rows asked for. Sets threads, so it must be the first use of TensorFlow."""
    load_tensorflow_on_one_core()
    rows = {"generate": against_predict_row, "generate-64": batch_row}
    return [rows[name](options.rounds) for name in names]


def against_predict_row(rounds: int) -> BenchmarkRow:
    """One piece, composed by the program and by `model.predict`, in turn."""
    seconds = alternate({"ours": composing_seconds(), "predict": predicting_seconds()}, rounds)
    value, spread = paired_ratio(seconds["predict"], seconds["ours"])
    ours, predict = (1 / statistics.median(seconds[part]) for part in ("ours", "predict"))
    note = f"{ours:.0f} against {predict:.1f} tokens/s with a window of {WINDOW}; pairs {spread}"
    return BenchmarkRow.judged("generate", value, ROWS["generate"], note)


def composing_seconds() -> Callable[[], float]:
    """Compose a part of a piece, as model/generate.py does; the seconds of a token."""
    from model.composing.pieces import NEVER
    from model.composing.sampling import Sampling

    composer = untrained_composer()
    seeds = count()

    def compose() -> float:
        primer = composer.primer_ids(None)
        parts = composer.stream([0], Sampling(), next(seeds), primer, NEVER)
        composed = 0

        def until_enough() -> None:
            nonlocal composed
            while composed < COMPOSED:
                composed += next(parts).shape[1]

        return cpu_seconds(until_enough) / composed

    return compose


def predicting_seconds() -> Callable[[], float]:
    """Compose with `model.predict`, for every token on a whole window; the seconds of a token."""
    import keras
    import numpy as np

    units, size = lstm.UNITS, lstm.VOCAB_SIZE
    network = keras.Sequential(
        [
            keras.layers.Input([WINDOW]),
            keras.layers.Embedding(size, units // 2),
            *(
                keras.layers.LSTM(units, return_sequences=layer + 1 < lstm.LAYERS)
                for layer in range(lstm.LAYERS)
            ),
            keras.layers.Dense(size, activation="softmax"),
        ]
    )
    random = np.random.default_rng(1)
    window = random.integers(0, size, [1, WINDOW])

    def predict() -> None:
        nonlocal window
        for _ in range(PREDICTED):
            shares = network.predict(window, verbose=0)[0].astype(np.float64)
            token = random.choice(size, p=shares / shares.sum())
            window = np.append(window[:, 1:], [[token]], axis=1)

    return lambda: cpu_seconds(predict) / PREDICTED


def batch_row(rounds: int) -> BenchmarkRow:
    """One call of the compiled loop for 64 pieces, and one for a piece by itself, in turn."""
    from model.composing.composer import CHUNK
    from model.composing.pieces import NEVER
    from model.composing.sampling import Sampling

    composer = untrained_composer()
    seeds = count()

    def seconds_of(num_pieces: int) -> float:
        parts = composer.stream(
            range(num_pieces), Sampling(top_p=0.95), next(seeds), composer.primer_ids(None), NEVER
        )
        next(parts)
        return cpu_seconds(lambda: next(parts)) / (CHUNK * num_pieces)

    seconds = alternate({"one": lambda: seconds_of(1), "many": lambda: seconds_of(64)}, rounds)
    value, spread = paired_ratio(seconds["one"], seconds["many"])
    one, many = (1 / statistics.median(seconds[part]) for part in ("one", "many"))
    note = f"{many:.0f} against {one:.0f} tokens/s; pairs {spread}"
    return BenchmarkRow.judged("generate-64", value, ROWS["generate-64"], note)


def untrained_composer() -> Composer:
    """A composer of two LSTM layers of 512 over events: no training changes their speed."""
    from model.composing.composer import Composer
    from model.networks.lstm import build_lstm, preset_config
    from pipeline.vocabulary.events import EventVocabulary

    vocabulary = EventVocabulary()
    return Composer(build_lstm(preset_config("base", vocabulary.size, 0.0)), vocabulary)
