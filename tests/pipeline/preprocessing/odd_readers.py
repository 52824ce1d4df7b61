"""Readers and tasks for tests of preprocessing: each says how it goes wrong."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np

from pipeline.scores import reading
from pipeline.scores.abc_notation import reader as abc_reader
from pipeline.scores.notes import Refusal, Score
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


def losing_a_note(path: Path) -> list[Score | Refusal]:
    """Read ABC and MIDI as readers that lose the last note would; other files as they are."""
    rows, score = abc_reader.sounding_rows, reading.score_by_music21

    def midi_score(*chunks) -> Score:
        return replace(score(*chunks), notes=score(*chunks).notes[:-1])

    with (
        patch.object(abc_reader, "sounding_rows", lambda *music: rows(*music)[:-1]),
        patch.object(reading, "score_by_music21", midi_score),
    ):
        return reading.read_file(path)
