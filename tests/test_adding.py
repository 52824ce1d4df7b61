"""What docs/adding.md says: a source, vocabulary or strategy is one piece of code and one name.

The tracker of docs/trackers.md is linted here, and run by tests/hpc/run_folder/test_trackers.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import preprocess
from pipeline.dataset.manifest import Manifest
from pipeline.sources import catalogue
from pipeline.vocabulary.grid import GridVocabulary
from pipeline.vocabulary.registry import KINDS
from tests.conftest import REPOSITORY, TINY_SPLITS
from tests.hpc.launching import MPI_ENVIRONMENT, TINY_FLAGS, losses


def examples(page: str) -> list[str]:
    """The pieces of Python on a page."""
    return re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(), re.DOTALL)


SOURCE, ENTRY, STRATEGY = examples("docs/adding.md")
(TRACKER,) = examples("docs/trackers.md")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program with the source, the strategy and the tracker of the pages."""
    folder = tmp_path_factory.mktemp("program")
    for package in ("hpc", "model", "pipeline"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / package, folder / package, ignore=ignore)
    (folder / "pipeline/sources/divided.py").write_text(SOURCE)
    (folder / "hpc/run_folder/trackers/csvfile.py").write_text(TRACKER)
    replace(
        folder / "hpc/distributed/strategies.py", "STRATEGIES = ", f"{STRATEGY}\n\nSTRATEGIES = "
    )
    replace(folder / "hpc/config/settings.py", '"multiworker"]', '"multiworker", "mpi"]')
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--no-cache", f"--config={REPOSITORY}/pyproject.toml"],
        ["ruff", "format", "--check", "--no-cache", f"--config={REPOSITORY}/pyproject.toml"],
        # Without what they import, whose types would take a minute.
        ["mypy", "--follow-imports=skip", f"--config-file={REPOSITORY}/setup.cfg"],
    ],
    ids=["check", "format", "mypy"],
)
def test_the_examples_of_the_pages_pass_lint(command: list[str], program: Path) -> None:
    files = (
        "pipeline/sources/divided.py",
        "hpc/run_folder/trackers/csvfile.py",
        "hpc/distributed/strategies.py",
    )
    done = subprocess.run(
        [sys.executable, "-m", *command, *files],
        cwd=program,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def divided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enter the source of the page."""
    names: dict[str, Any] = vars(catalogue).copy()
    exec(SOURCE, names)
    source = eval(ENTRY, names)
    monkeypatch.setitem(catalogue.NAMED_SOURCES, source.name, source)


def preprocessed(tmp_path: Path) -> int:
    """The exit code of preprocess.py on the folder music/ by the source of the page."""
    flags = [f"divided:{tmp_path / 'music'}", "--out", str(tmp_path / "data"), "--processes", "1"]
    return preprocess.main(flags)


@pytest.mark.usefixtures("divided")
def test_the_source_of_the_page_is_read_with_its_splits(tiny_corpus: Path, tmp_path: Path) -> None:
    counts = {"train": 4, "valid": 2, "test": 1}
    for split, count in counts.items():
        (tmp_path / "music" / split).mkdir(parents=True)
        for name in TINY_SPLITS[split][:count]:
            shutil.copy(tiny_corpus / f"{name}.mid", tmp_path / "music" / split)
    assert preprocessed(tmp_path) == 0
    manifest = Manifest.load(tmp_path / "data")
    assert {split: manifest.num_pieces(split) for split in counts} == counts


@pytest.mark.usefixtures("divided")
def test_a_source_without_pieces_or_with_another_split_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    music = tmp_path / "music"
    music.mkdir()
    assert preprocessed(tmp_path) == 1
    assert capsys.readouterr().err == (
        f"error: source divided:{music} has no pieces; needed: a folder with train/, valid/ and "
        "test/, from yourself\n"
    )
    for name in ("train/a.mid", "validation/b.mid"):
        (music / name).parent.mkdir()
        (music / name).touch()
    assert preprocessed(tmp_path) == 1
    assert capsys.readouterr().err == (
        "error: source divided puts piece validation/b.mid into the split 'validation'; needed: "
        "train, valid or test, or None, by which the piece is divided by its content\n"
    )


@pytest.mark.mpi
def test_two_workers_of_the_strategy_of_the_page_learn_as_one_process(
    program: Path, tiny_shards: Path, tmp_path: Path
) -> None:
    for run, launch in (
        ("one", []),
        ("two", ["mpirun", "-np", "2", "--bind-to", "none"]),
    ):
        flags = [*TINY_FLAGS, "--steps=3", "--log-every=1", "--dropout=0", f"--data={tiny_shards}"]
        flags += ["--strategy=mpi"] if launch else []
        subprocess.run(
            [*launch, sys.executable, "hpc/train.py", f"--run={tmp_path / run}", *flags],
            env={**os.environ, **MPI_ENVIRONMENT, "PYTHONPATH": str(program)},
            cwd=program,
            check=True,
            timeout=600,
        )
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-5)


@pytest.mark.mpi
def test_a_strategy_that_sums_over_other_workers_than_srun_started_is_refused_in_one_line(
    program: Path, tiny_shards: Path, tmp_path: Path
) -> None:
    """As under srun without --mpi=pmix, where each process is an MPI world of its own."""
    step = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "CHORALE_SECRET": "0123456789abcdef",
    }
    flags = [*TINY_FLAGS, "--steps=3", f"--data={tiny_shards}", f"--run={tmp_path / 'run'}"]
    processes = [
        subprocess.Popen(
            [sys.executable, "hpc/train.py", *flags, "--strategy=mpi"],
            env={
                **os.environ,
                **MPI_ENVIRONMENT,
                **step,
                "SLURM_PROCID": str(rank),
                "SLURM_LOCALID": str(rank),
                "PYTHONPATH": str(program),
            },
            cwd=program,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = "".join(process.communicate(timeout=600)[1] for process in processes)
    finally:
        for process in processes:
            process.kill()
    codes = {process.returncode for process in processes}
    assert codes in ({1}, {1, 76}), errors  # the watch over the first may end the second
    assert "sums over 1 of the 2 processes that srun started" in errors
    assert errors.count("error:") == errors.count("\n"), errors


def replace(file: Path, old: str, new: str) -> None:
    """Replace a text that stands once in a file."""
    content = file.read_text()
    assert content.count(old) == 1
    file.write_text(content.replace(old, new))


def test_a_vocabulary_of_the_registry_is_made_from_the_flags_that_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Melody(GridVocabulary):
        """One voice of frames."""

    monkeypatch.setitem(KINDS, "melody", Melody)
    flags = ["folder", "--out", "data/m", "--vocabulary", "melody"]
    settings, _ = preprocess.parse_arguments([*flags, "--voices", "1", "--pitches", "48:84"])
    assert settings.vocabulary == Melody(voices=1, lowest_pitch=48, highest_pitch=84)
    with pytest.raises(ValueError, match="--instruments says nothing to --vocabulary melody"):
        preprocess.parse_arguments([*flags, "--instruments"])
