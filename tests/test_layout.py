"""The shape of the repository: who may import whom, and names that would hide something."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
LAYERS = ("pipeline", "model", "hpc")  # each may import itself and those before it

# The floor plan, from the ground up: a room may import itself and the rooms before it. The commands
# stand on the top floor, in the package folder itself, and beside them the flags of generate.py,
# which come from several rooms. A folder within a room belongs to the room.
ROOMS = {
    "pipeline": (
        "runtime",  # what every command needs
        "scores",  # score file -> notes
        "vocabulary",  # notes -> token ids
        "dataset",  # shards, and batches of them
        "sources",  # where pieces come from
        "preprocessing",  # sources -> data set
        "description",  # what is in a data set
    ),
    "model": (
        "networks",
        "composing",  # network -> pieces
        "metrics",  # of scores
        "rendering",  # pieces -> files
        "live",  # pieces -> sound, at once
        "evaluation",
    ),
    "hpc": (
        "config",
        "distributed",  # several processes as one
        "reports",  # tables and event files
        "run_folder",
        "training",
        "comparison",  # of runs
        "efficiency",  # of scaling
        "diagnostics",  # of hosts
        "benchmarks",
    ),
}
# Programs that a command of ours starts, and the command that each of them wraps. Nothing imports
# them, so that they stand above all rooms, wherever they lie.
PROGRAMS = {"hpc/efficiency/worker.py": "hpc/train.py"}
SET_UP = "install"  # hpc/install/: scripts that run before anything of ours can be imported

# `python hpc/train.py` puts hpc/ first on the path: there a file hides the standard module of its
# name from every library. `chunk` left the standard library with 3.13, libraries still try it.
HIDING_NAMES = set(sys.stdlib_module_names) | {"chunk"}
DRAWERS = {"utils", "util", "helpers", "common", "misc", "experiments"}  # names without a subject

# What git tracks at the top: our folders, and what a tool or a reader looks for only there.
TOP_LEVEL = {*LAYERS, "slurm", "tests", "README.md", "LICENSE", "Makefile", "constraints.txt"}
TOP_LEVEL |= {"setup.cfg", "pyproject.toml", ".ci", ".gitignore", ".pre-commit-config.yaml"}
TOP_LEVEL |= {"docs", "findings", "containers", "notebooks", "examples", "CONTRIBUTING.md"}
TOP_LEVEL |= {"CHANGELOG.md", ".dockerignore"}


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
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def arrows() -> dict[str, set[str]]:
    """For each of our files, by path, those of ours that it imports, inside functions too."""
    files = {
        module.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", "."): module
        for package in LAYERS
        for module in modules_of(package)
        if module.name != "__init__.py"
    }
    found: dict[str, set[str]] = {}
    for name, module in files.items():
        imported = {target for target in imported_names(module) if target in files} - {name}
        found[path_of(name)] = {path_of(target) for target in imported}
    return found


def path_of(dotted_name: str) -> str:
    """A module's path in the repository."""
    return dotted_name.replace(".", "/") + ".py"


def floor_of(path: str) -> int:
    """How high a file stands in its package; commands and set-up scripts stand above all rooms."""
    package, *folders = path.split("/")[:-1]
    rooms = ROOMS[package]
    return rooms.index(folders[0]) if folders and folders[0] != SET_UP else len(rooms)


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


@pytest.mark.parametrize("package", LAYERS)
def test_every_folder_has_its_place_in_the_floor_plan(package: str) -> None:
    folders = {path.relative_to(REPOSITORY / package).parts[0] for path in modules_of(package)}
    assert {name for name in folders if not name.endswith(".py")} - {SET_UP} == {*ROOMS[package]}


def test_no_import_points_from_a_lower_room_to_a_higher_one() -> None:
    wrong = [
        f"{path} imports {target}"
        for path, targets in arrows().items()
        for target in targets
        if path.split("/")[0] == target.split("/")[0]
        and floor_of(path) < floor_of(target)
        and PROGRAMS.get(path) != target
    ]
    assert wrong == []


def test_no_file_imports_itself_by_way_of_others() -> None:
    assert len(list(TopologicalSorter(arrows()).static_order())) == len(arrows())  # or CycleError


def test_nothing_imports_a_program() -> None:
    assert not {*PROGRAMS} & set().union(*arrows().values())


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
    entries = {path.stem for path in (REPOSITORY / package).rglob("*")}
    assert entries & HIDING_NAMES == set()


@pytest.mark.parametrize("package", [*LAYERS, "tests"])
def test_no_file_or_folder_is_a_drawer_without_a_subject(package: str) -> None:
    names = {part for path in (REPOSITORY / package).rglob("*") for part in (path.stem, path.name)}
    assert names & DRAWERS == set()


@pytest.mark.parametrize("package", LAYERS)
def test_each_package_and_room_says_in_one_docstring_what_it_is_for(package: str) -> None:
    folders = {module.parent for module in modules_of(package) if module.parent.name != SET_UP}
    assert len(folders) > len(ROOMS[package])
    for folder in folders:
        tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(tree)
        assert len(tree.body) == 1


def test_an_image_gets_nothing_that_git_ignores() -> None:
    ignored = {
        name: {line.removeprefix("**/").strip("/") for line in text.splitlines()}
        for name in (".gitignore", ".dockerignore")
        for text in [(REPOSITORY / name).read_text()]
    }
    assert ignored[".gitignore"] <= ignored[".dockerignore"]


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="not a git clone")
def test_the_top_level_holds_only_what_has_to_lie_there() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert {path.split("/")[0] for path in tracked} - TOP_LEVEL == set()
