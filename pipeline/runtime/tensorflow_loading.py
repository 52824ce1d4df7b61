"""TensorFlow loaded without its talk, which would bury what a user has to read, and sooner."""

from __future__ import annotations

import gc
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# What its C++ libraries say before they can be told to be quiet: that CUDA's parts are registered
# twice, that there is no GPU, that a server has started. Anything else is passed on.
NOISE = re.compile(
    rb"[IWE]0000 \d|WARNING: All log messages before absl|\d{4}-\d\d-\d\d .*: [IWE] "
)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep back what libraries say on stderr in here; all but NOISE is said at the end."""
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
    """Who tries to import the package in here finds it missing, unless it is loaded already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the import system's word for missing
    try:
        yield
    finally:
        del sys.modules[name]


@contextmanager
def uncollected() -> Iterator[None]:
    """What is made in here is not looked through for garbage, neither now nor later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def load_tensorflow() -> None:
    """Import TensorFlow for the first time; what it raises is raised.

    Takes two thirds of the processor time of a plain import: Keras loads all of matplotlib for a
    plot of images that we never make, and the collector would go through the growing modules again
    and again.
    """
    # C++ logging has its own levels, from 0 (all) to 3 (fatal errors only).
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Else whoever comes first, were it to compose one piece, takes all of a GPU's memory, and a
    # training or a second composer beside it ends with "out of memory".
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    with quiet_libraries(), left_out("matplotlib"), uncollected():
        import tensorflow  # noqa: F401
