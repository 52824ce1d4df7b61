"""What tests share: which of them this machine can run, and where the large data sets lie."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
VENV_BIN = REPOSITORY / ".venv" / "bin"

# Open MPI's own mpirun may live in .venv only, and sshd or slurmd in folders of root's PATH alone.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), str(VENV_BIN), "/usr/sbin", "/sbin"])


def missing_programs(*names: str) -> list[str]:
    """Those of the programs that are neither on the PATH, in .venv, nor in the sbin folders."""
    return [name for name in names if shutil.which(name, path=SEARCH_PATH) is None]


def missing_for_mark(mark: str) -> list[str]:
    """What this machine lacks for the tests of a mark, in words; empty when it can run them."""
    missing = []
    if mark in ("mpi", "cluster"):
        missing += missing_programs("mpirun")
        missing += [] if importlib.util.find_spec("horovod") else ["Horovod (see make setup)"]
    if mark == "cluster":
        missing += [] if os.geteuid() == 0 else ["root"]
        missing += missing_programs("ip", "sshd", "ssh", "rsync", "slurmctld", "slurmd", "munged")
    if mark == "gpu":
        missing += missing_programs("nvidia-smi")
    if mark == "browser":
        missing += missing_programs("chromium", "chromedriver")
    return missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what was asked for (`-m mpi`, `make test`) and cannot run here."""
    lacking = {mark: missing_for_mark(mark) for mark in ("mpi", "cluster", "gpu", "browser")}
    for item in items:
        for mark, missing in lacking.items():
            if missing and item.get_closest_marker(mark):
                reason = f"{mark}: this machine has no {', '.join(missing)}"
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the public data sets beside the clone, or $SHARED_DATA; skips where there is none."""
    folder = Path(os.environ.get("SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}: set SHARED_DATA")
    return folder
