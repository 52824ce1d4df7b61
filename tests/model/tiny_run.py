"""A tiny network with random weights as a run folder, and a disk that fills up."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model.networks.checkpoint import Bundle, step_folder, write_bundle
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.registry import Vocabulary

VOCABULARY = EventVocabulary()


def tiny_bundle(vocabulary: Vocabulary = VOCABULARY) -> Bundle:
    """A checkpoint of the tiny preset as it is before training."""
    import keras

    from model.networks.lstm import build_lstm, preset_config

    keras.utils.set_random_seed(1)
    config = preset_config("tiny", vocabulary.size, dropout=0.0)
    weights = {path: value.numpy() for path, value in build_lstm(config).named_weights().items()}
    return Bundle(config.to_dict(), vocabulary.to_dict(), weights)


def write_tiny_run(folder: Path, vocabulary: Vocabulary = VOCABULARY) -> Path:
    """The folder, in which there is now a run with one checkpoint."""
    write_bundle(step_folder(folder, 1), tiny_bundle(vocabulary))
    return folder


@contextmanager
def small_disk(folder: Path, num_bytes: int) -> Iterator[Path]:
    """The folder as a disk of its own with `num_bytes`; skips the test if none can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"this machine mounts no tmpfs: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
