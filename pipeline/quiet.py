"""TensorFlow loaded without its talk, which would bury what a user has to read."""

from __future__ import annotations

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


def load_tensorflow() -> None:
    """Import TensorFlow for the first time; what it raises is raised."""
    # C++ logging has its own levels, from 0 (all) to 3 (fatal errors only).
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_libraries():
        import tensorflow  # noqa: F401
