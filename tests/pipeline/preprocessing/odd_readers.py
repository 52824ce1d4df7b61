"""Readers and tasks for tests of preprocessing: each says how it goes wrong."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from pipeline.scores.notes import Score
from pipeline.scores.reading import read_scores


def wait(seconds: float) -> str:
    """Take wall time, but no processor time."""
    time.sleep(seconds)
    return "done"


def compute(seconds: float) -> str:
    """Take processor time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return "done"


def by_name(path: Path) -> list[Score]:
    """Hang, eat memory, crash or break where the name says so; else read the file."""
    if path.stem == "hangs":
        compute(600)
    if path.stem == "eats":
        eaten = []
        while True:
            eaten.append(np.empty(2**26, np.uint8))
    if path.stem == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.stem == "breaks":
        raise ZeroDivisionError("a mistake of ours")
    return read_scores(path)
