"""What `pip install` gives: the commands by name, and the model and presets beside them."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.test_commands import COMMANDS, PACKAGES

BESIDE_THE_CODE = (
    "model/pretrained/chorales/bundle.json",
    "model/pretrained/chorales/weights.npz",
    "model/rendering/listening_page.html",
    "model/rendering/listening_test.html",
    "hpc/presets/chorales.toml",
)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and a wheel that was built from it alone."""
    tree = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(
            REPOSITORY / package, tree / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, tree)
    _build(tree, "sdist")
    (archive,) = (tree / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as contents:
        contents.extractall(tree / "unpacked", filter="data")
    (unpacked,) = (tree / "unpacked").iterdir()
    _build(unpacked, "wheel")
    shutil.copy(archive, unpacked / "dist")
    return unpacked / "dist"


def _build(tree: Path, kind: str) -> None:
    program = f"from setuptools import build_meta; build_meta.build_{kind}('dist')"
    subprocess.run([sys.executable, "-c", program], cwd=tree, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (file,) = dist.glob("chorale_hpc-*.whl")
    return file


def test_the_wheel_holds_the_model_the_presets_and_the_page_but_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {*BESIDE_THE_CODE} <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {*PACKAGES}
    ours = {path.relative_to(REPOSITORY).as_posix() for p in PACKAGES for path in _modules(p)}
    assert ours <= names


def _modules(package: str) -> list[Path]:
    """Python files of a package; those of the set-up serve a clone only."""
    return [path for path in (REPOSITORY / package).rglob("*.py") if "install" not in path.parts]


def test_each_command_has_an_entry_point(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as contents:
        (file,) = (name for name in contents.namelist() if name.endswith("entry_points.txt"))
        table = configparser.ConfigParser()
        table.read_string(contents.read(file).decode())
    commands = [name.removesuffix(".py") for name in COMMANDS if name.count("/") == 1]
    assert dict(table["console_scripts"]) == {
        f"chorale-{name.split('/')[1]}": f"{name.replace('/', '.')}:main" for name in commands
    }


@pytest.mark.slow
def test_the_installed_wheel_composes_with_the_shipped_model(wheel: Path, tmp_path: Path) -> None:
    """Its dependencies are those of this environment; nothing else of it is seen."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)

    def run(command: str, *flags: str) -> str:
        done = subprocess.run(
            [str(venv / "bin" / f"chorale-{command}"), *flags],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert str(site) in run("doctor", "--version")
    shipped = "model/pretrained/chorales"
    run("generate", shipped, "--bars=2", "--num-pieces=6", "--no-wav", "--seed=1", "--out=music")
    assert len(list((tmp_path / "music").glob("*.mid"))) == 6

    # What it composed becomes a data set, and that a run, with the settings of a preset.
    run("preprocess", "music", "--vocabulary=grid", "--num-lanes=2", "--out=data/jsb16")
    sizes = ("--steps=2", "--preset=tiny", "--global-batch-size=2", "--sequence-length=auto")
    run("train", "--config=hpc/presets/chorales.toml", *sizes, "--run=runs/a")
    assert (tmp_path / "runs/a/checkpoints/step-00000002").is_dir()
