"""How tests start the real thing: train.py alone or under mpirun, and what a run left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPOSITORY, SEARCH_PATH

# As root, Open MPI asks to be told twice; more ranks than cores must not spin.
MPI_ENVIRONMENT = {
    "PATH": SEARCH_PATH,
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",  # the same for Open MPI 5
    "OMPI_MCA_mpi_yield_when_idle": "1",
}
# Small enough for seconds, with everything that matters switched on.
TINY_FLAGS = (
    "--preset=tiny",
    "--sequence-length=32",
    "--global-batch-size=16",
    "--warmup-steps=5",
)


def mpi_command(num_processes: int, *flags: object, script: str = "hpc/train.py") -> list[str]:
    """The command line that starts a script on so many ranks of this machine."""
    program = [sys.executable, str(REPOSITORY / script), *map(str, flags)]
    if num_processes == 1:
        return program
    return ["mpirun", "--bind-to", "none", "-np", str(num_processes), *program]


def run_training(
    num_processes: int, *flags: object, timeout: float = 600, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Train with the given flags and wait; stdout and stderr are captured as text."""
    return subprocess.run(
        mpi_command(num_processes, *TINY_FLAGS, *flags),
        env={**os.environ, **MPI_ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def refusal(
    main: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str], *flags: object
) -> str:
    """The one line on stderr with which a command refuses."""
    assert main([*map(str, flags)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def losses(run_dir: Path, split: str = "train") -> np.ndarray:
    """The losses of a run's metrics.jsonl, in order."""
    entries = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return np.array([entry["loss"] for entry in entries if entry["split"] == split])


def final_weights(run_dir: Path) -> dict[str, np.ndarray]:
    """The weights of the newest checkpoint of a run."""
    from model.networks.checkpoint import list_checkpoints, read_bundle

    return read_bundle(list_checkpoints(run_dir)[-1]).weights
