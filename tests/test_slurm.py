"""The job scripts without Slurm: the name of a run, and the exit codes that requeue a job."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for PATH in which mpirun prints its arguments, and scontrol too."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("mpirun", "scontrol"):
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (folder / name).chmod(0o755)
    (tmp_path / "slurm").symlink_to(REPOSITORY / "slurm")
    return folder


def run(programs: Path, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A finished script, run in the folder that holds the programs' own."""
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    job = {"SLURM_SUBMIT_DIR": str(programs.parent), "SLURM_NTASKS": "2", "SLURM_JOB_ID": "42"}
    return subprocess.run(
        ["bash", *argv],
        env={**os.environ, **job, "PATH": path, **environ},
        cwd=programs.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"SLURM_JOB_NAME": "train"}, "train"),
        ({"SLURM_JOB_NAME": "big/one", "SLURM_RESTART_COUNT": "3"}, "big-one"),
        ({"SLURM_JOB_NAME": "seeds", "SLURM_ARRAY_TASK_ID": "7"}, "seeds-7"),
    ],
)
def test_the_run_is_named_after_the_job_so_that_the_same_command_continues_it(
    environ: dict[str, str], name: str, programs: Path
) -> None:
    done = run(programs, "slurm/train_2nodes.sh", "--steps=7", **environ)
    assert done.returncode == 0, done.stderr
    assert f"--run runs/{name} --steps=7\n" in done.stdout


@pytest.mark.parametrize(
    ("code", "requeues", "said"),
    [
        (85, True, "saved; requeue 3 of at most 3"),
        (76, True, "a rank or its node was lost (code 76); requeue 3 of at most 3"),
        (14, True, "a rank or its node was lost (code 14); requeue 3 of at most 3"),
        (137, True, "a rank or its node was lost (code 137); requeue 3 of at most 3"),
        (205, True, "a rank or its node was lost (code 205); requeue 3 of at most 3"),
        (255, True, "a rank or its node was lost (code 255); requeue 3 of at most 3"),
        (0, False, ""),
        (1, False, ""),
        (2, False, ""),
    ],
)
def test_a_job_that_saved_or_lost_a_rank_is_requeued_and_one_with_an_error_is_not(
    code: int, requeues: bool, said: str, programs: Path
) -> None:
    program = ["slurm/requeue.sh", "bash", "-c", f"exit {code}"]
    done = run(programs, *program, MAX_REQUEUES="3", SLURM_RESTART_COUNT="2")
    assert done.returncode == code
    assert done.stdout == (f"{said}\nscontrol requeue 42\n" if requeues else "")
    done = run(programs, *program, MAX_REQUEUES="3", SLURM_RESTART_COUNT="3")
    assert done.returncode == code and "scontrol" not in done.stdout
    assert ("stopped after 3 requeues" in done.stderr) == requeues


def test_where_no_signal_can_be_blocked_the_job_runs_and_says_what_saves(programs: Path) -> None:
    (programs / "env").write_text("#!/bin/sh\nexit 125\n")  # of coreutils before 8.31
    (programs / "env").chmod(0o755)
    done = run(programs, "slurm/requeue.sh", "mpirun", "hello", MAX_REQUEUES="3")
    assert (done.returncode, done.stdout) == (0, "mpirun hello\n")
    assert "scancel --batch --signal=USR2 42 saves first" in done.stderr
