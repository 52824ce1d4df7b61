"""Benchmark row of composing: one piece at a time, against calling `model.predict` for every token.

Both have two LSTM layers of 512 and run on one core, in turn. model/generate.py carries the
network's state from token to token. What most programs for music do instead, since Keras's
example and Skuldur's Classical-Piano-Composer, is to predict from a window of the last 100 tokens,
and then from the window one token on.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from itertools import count

from hpc.benchmarks import lstm as bench_lstm
from hpc.benchmarks.rows import Options, Row, alternate, cpu_seconds, paired_ratio, pin_to_one_core
from pipeline.runtime.tensorflow_loading import load_tensorflow

ROWS = {"generate": ">= 20"}  # tokens/s against model.predict for every token
WINDOW = 100  # tokens that predict sees: sequence_length of Classical-Piano-Composer
COMPOSED = 256  # tokens of ours at a time
PREDICTED = 4  # tokens at a time: each takes as long as many of ours


def measure(names: list[str], options: Options) -> list[Row]:
    """The row. Sets threads, so it must be the first use of TensorFlow."""
    os.environ["OMP_NUM_THREADS"] = "1"
    pin_to_one_core()
    load_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    seconds = alternate({"ours": composer(), "predict": predictor()}, options.rounds)
    value, spread = paired_ratio(seconds["predict"], seconds["ours"])
    ours, predict = (1 / statistics.median(seconds[part]) for part in ("ours", "predict"))
    note = f"{ours:.0f} against {predict:.1f} tokens/s with a window of {WINDOW}; pairs {spread}"
    return [Row.judged("generate", value, ROWS["generate"], note)]


def composer() -> Callable[[], float]:
    """Compose a part of a piece, as model/generate.py does; the seconds of a token."""
    from model.composing.composer import Composer
    from model.composing.sampling import Sampling
    from model.networks.lstm import build_lstm, preset_config
    from pipeline.vocabulary.events import EventVocabulary

    vocabulary = EventVocabulary()
    playing = Composer(build_lstm(preset_config("base", vocabulary.size, 0.0)), vocabulary)
    seeds = count()

    def compose() -> float:
        parts = playing.stream([0], Sampling(), next(seeds), playing.primer_ids(None), endless=True)
        composed = 0

        def until_enough() -> None:
            nonlocal composed
            while composed < COMPOSED:
                composed += next(parts).shape[1]

        return cpu_seconds(until_enough) / composed

    return compose


def predictor() -> Callable[[], float]:
    """Compose with `model.predict`, for every token on a whole window; the seconds of a token."""
    import keras
    import numpy as np

    units, size = bench_lstm.UNITS, bench_lstm.VOCAB_SIZE
    network = keras.Sequential(
        [
            keras.layers.Input([WINDOW]),
            keras.layers.Embedding(size, units // 2),
            *(
                keras.layers.LSTM(units, return_sequences=layer + 1 < bench_lstm.LAYERS)
                for layer in range(bench_lstm.LAYERS)
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
