"""Loading TensorFlow without its log lines, and in less time."""

from __future__ import annotations

import gc
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# Log lines that its C++ libraries print before their log level is set: that CUDA's parts are
# registered twice, that there is no GPU, that a server has started.
NOISE = re.compile(
    rb"[IWE]0000 \d|WARNING: All log messages before absl|\d{4}-\d\d-\d\d .*: [IWE] "
)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep back what is written to stderr in this block; at the end, print all but NOISE."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        terminal = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            kept.seek(0)
            for line in kept:
                if not NOISE.match(line):
                    os.write(2, line)


@contextmanager
def left_out(name: str) -> Iterator[None]:
    """In this block the package cannot be imported, unless it is loaded already."""
    if name in sys.modules:
        yield
        return
    # None is how the import system marks a package as missing; for the length of one import only.
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


@contextmanager
def uncollected() -> Iterator[None]:
    """Objects made in this block are never examined by the garbage collector."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def load_tensorflow() -> None:
    """Import TensorFlow, in two thirds of the processor time of a plain import.

    Saved are matplotlib, which Keras imports for a plot of images that we never make, and garbage
    collections while the modules load.
    """
    # The level of C++ log lines, from 0 (all) to 3 (fatal errors only).
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # By default the first process takes all of a GPU's memory, even to compose one piece, and a
    # training beside it ends with "out of memory".
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    with quiet_libraries(), left_out("matplotlib"), uncollected():
        import tensorflow  # noqa: F401
