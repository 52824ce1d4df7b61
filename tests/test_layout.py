"""The shape of the repository: who may import whom, and names that would hide something."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
LAYERS = ("pipeline", "model", "hpc")  # each may import itself and those before it

# `python hpc/train.py` puts hpc/ first on the path: there a file hides the standard module of its
# name from every library. `chunk` left the standard library with 3.13, libraries still try it.
HIDING_NAMES = set(sys.stdlib_module_names) | {"chunk"}
DRAWERS = {"utils", "util", "helpers", "common", "misc", "experiments"}  # names without a subject

# What git tracks at the top: our folders, and what a tool or a reader looks for only there.
TOP_LEVEL = {*LAYERS, "slurm", "tests", "README.md", "LICENSE", "Makefile", "constraints.txt"}
TOP_LEVEL |= {"setup.cfg", "pyproject.toml", ".ci", ".gitignore"}


def modules_of(package: str) -> list[Path]:
    """Every Python file below a package folder."""
    return sorted((REPOSITORY / package).rglob("*.py"))


def imported_names(module: Path) -> Iterator[str]:
    """Dotted names of all that a module imports, inside functions too."""
    parents = module.relative_to(REPOSITORY).with_suffix("").parts
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield ".".join([*parents[: -node.level], node.module or ""])
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def importers_of(library: str) -> set[str]:
    """Our modules, as paths, that import a library."""
    return {
        module.relative_to(REPOSITORY).as_posix()
        for package in LAYERS
        for module in modules_of(package)
        if any(name.split(".")[0] == library for name in imported_names(module))
    }


@pytest.mark.parametrize("package", LAYERS)
def test_imports_point_one_way_from_hpc_to_model_to_pipeline(package: str) -> None:
    forbidden = {*LAYERS[LAYERS.index(package) + 1 :], "tests"}
    wrong = [
        f"{module.relative_to(REPOSITORY)} imports {name}"
        for module in modules_of(package)
        for name in imported_names(module)
        if name.split(".")[0] in forbidden
    ]
    assert wrong == []


def test_only_the_layer_of_scores_imports_music21() -> None:
    importers = importers_of("music21")
    assert importers, "nothing imports music21: this test looks in the wrong place"
    assert {path.split("/")[0] for path in importers} == {"pipeline"}


def test_only_the_layer_of_many_processes_imports_horovod_or_mpi() -> None:
    importers = importers_of("horovod") | importers_of("mpi4py")
    assert importers, "nothing imports Horovod: this test looks in the wrong place"
    importers -= {"pipeline/preprocessing/mpi_ranks.py"}  # preprocessing has ranks of its own
    assert {path.split("/")[0] for path in importers} == {"hpc"}


@pytest.mark.parametrize("package", LAYERS)
def test_no_file_hides_a_module_of_the_standard_library(package: str) -> None:
    entries = {path.stem for path in (REPOSITORY / package).iterdir()}
    assert entries & HIDING_NAMES == set()


@pytest.mark.parametrize("package", [*LAYERS, "tests"])
def test_no_file_or_folder_is_a_drawer_without_a_subject(package: str) -> None:
    names = {part for path in (REPOSITORY / package).rglob("*") for part in (path.stem, path.name)}
    assert names & DRAWERS == set()


@pytest.mark.parametrize("package", LAYERS)
def test_each_package_says_in_one_docstring_what_it_is_for(package: str) -> None:
    tree = ast.parse((REPOSITORY / package / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="not a git clone")
def test_the_top_level_holds_only_what_has_to_lie_there() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert {path.split("/")[0] for path in tracked} - TOP_LEVEL == set()
