"""Which Python runs a command, where it is not the one that has the program's libraries."""

from __future__ import annotations

import platform
import shlex
import sys
from pathlib import Path
from types import TracebackType

from pipeline.runtime.provenance import REPOSITORY

ENVIRONMENT = REPOSITORY / ".venv"  # that make setup fills
OWN = ("pipeline", "model", "hpc")  # a missing module of ours is a fault of the program


def explain_missing_libraries() -> None:
    """From now on a library that is missing ends the program with one line, without a traceback."""
    sys.excepthook = _print_error


def _print_error(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    name = (getattr(error, "name", None) or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and name not in OWN:
        print(f"error: {_explained(error)}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _explained(error: ModuleNotFoundError) -> str:
    """What is missing where, and what to do."""
    found = f"{sys.executable} on {platform.node()} has no {error.name}"
    if Path(sys.prefix).resolve() == ENVIRONMENT.resolve():
        return f"{found}: run make setup in {REPOSITORY} again"
    script = ENVIRONMENT / "bin/activate"
    activate = f"source {shlex.quote(str(script))}"
    if not script.exists():
        activate = f"run make setup in {REPOSITORY}, then {activate}"
    return (
        f"{found}: it is not the Python of make setup. {activate}; under mpirun, put "
        f"{ENVIRONMENT / 'bin'} first on PATH on every host"
    )
