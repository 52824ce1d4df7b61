"""Every command, from the shell: help at once, from any directory, uninstalled; flags checked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "model", "hpc")

# Each takes from a third of a second to four seconds to import: not before the flags are parsed.
HEAVY = {
    "tensorflow",
    "keras",
    "music21",
    "horovod",
    "matplotlib",
    "scipy",
    "mpi4py",
    "tensorboard",
}

# A command fixes the path at its start; a script without that line serves one of our programs.
PATH_LINE = re.compile(r'^if __package__ in \(None, ""\):', re.MULTILINE)

COMMANDS = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for package in PACKAGES
    for path in (REPOSITORY / package).rglob("*.py")
    if PATH_LINE.search(path.read_text(encoding="utf-8"))
)

# What a command needs on its command line before it loads a library; some need a finished run.
NEEDED = {"model/release.py": ("no-run", "--out=no-folder")}
NEEDS_A_RUN = {"hpc/compare.py", "hpc/benchmarks/twin.py"}


@pytest.fixture(scope="module")
def uninstalled_clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages, in a folder with a space, that nothing was installed from."""
    clone = tmp_path_factory.mktemp("a clone")
    for package in PACKAGES:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / package, clone / package, ignore=ignore)
    return clone


def run_uninstalled(
    clone: Path, command: str, *flags: str, cwd: Path
) -> subprocess.CompletedProcess[str]:
    """The finished command, run where our packages are in the clone and nowhere else.

    Without `site` no .pth file is read, so an editable installation of this repository is not seen.
    """
    return subprocess.run(
        [sys.executable, "-S", "-X", "importtime", str(clone / command), *flags],
        env={**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def imported_modules(importtime: str) -> set[str]:
    """Top-level names in what `python -X importtime` printed."""
    names = re.findall(r"^import time:[^|]*\|[^|]*\|\s*([\w.]+)", importtime, re.MULTILINE)
    return {name.split(".")[0] for name in names}


def test_the_commands_are_found() -> None:
    assert {"pipeline/preprocess.py", "model/generate.py", "hpc/train.py"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_no_installation_no_certain_directory_and_no_heavy_import(
    command: str, uninstalled_clone: Path, tmp_path: Path
) -> None:
    finished = run_uninstalled(uninstalled_clone, command, "--help", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr[-2_000:]
    assert finished.stdout.startswith("usage:")
    assert Path(command).name in finished.stdout
    loaded = imported_modules(finished.stderr)
    assert "argparse" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_flag_stops_the_command_and_is_named(
    command: str, uninstalled_clone: Path, tmp_path: Path
) -> None:
    finished = run_uninstalled(uninstalled_clone, command, "--no-such-flag", cwd=tmp_path)
    own_lines = [line for line in finished.stderr.splitlines() if "import time:" not in line]
    assert finished.returncode == 2, finished.stderr[-2_000:]
    assert "error:" in own_lines[-1]
    assert finished.stdout == ""
    assert not any(line.startswith("Traceback") for line in own_lines)
    assert list(tmp_path.iterdir()) == []  # nothing was begun


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - NEEDS_A_RUN))
def test_a_python_without_the_libraries_is_named_with_what_to_do(
    command: str, uninstalled_clone: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-S", uninstalled_clone / command, *NEEDED.get(command, ())],
        cwd=tmp_path,
        capture_output=True,  # -S: without site-packages
        text=True,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.match(rf"error: {sys.executable} on \S+ has no \w+: it is not the Python of", line)
    environment = uninstalled_clone / ".venv/bin/activate"
    assert f"run make setup in {uninstalled_clone}, then source '{environment}'" in line
