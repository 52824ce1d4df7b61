"""The scripts of `make setup`, with stand-ins for pip, MPI and the build, which take minutes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from tests.conftest import REPOSITORY

INSTALL = Path("hpc/install")
DAMAGED_PACKAGES = REPOSITORY / INSTALL / "damaged_packages.py"

# Stands for a Python, and for that of .venv: writes down what it was called for.
PYTHON = """#!/bin/bash
echo "$*" >>calls
case "$*" in
    "-m venv .venv") mkdir -p .venv/bin && cp -u "$0" .venv/bin/python || true ;;
    *damaged_packages.py) [ ! -e .venv/damaged ] || cat .venv/damaged ;;
    *"import platform"*) echo cp311-x86_64 ;;
    *"import version"*) echo "${TENSORFLOW:-2.21.0}" ;;
    *horovod_patches.py*) exit "${PATCH_CODE:-0}" ;;
    "-m pip download"*)
        while [ "$1" != --dest ]; do shift; done
        mkdir horovod-0.28.1 && tar -czf "$2/horovod-0.28.1.tar.gz" horovod-0.28.1
        rmdir horovod-0.28.1 ;;
    "-m pip wheel"*)
        [ -z "${INTERRUPTED:-}" ] || { kill -INT 0; sleep 5; exit 2; } # as Ctrl-C, and pip's answer
        while [ "$1" != --wheel-dir ]; do shift; done
        mkdir -p "$2" && touch "$2/horovod-0.whl" ;;
    *--force-reinstall*) ! grep -q damaged "${!#}" || exit 1 ;;
    "-m pip install"*"[ports]")
        echo "error: no compiler"
        exit "${PORTS_CODE:-0}" ;;
    *"version_info < (3, 13)"*) exit "${IS_OLDER:-1}" ;;
    "-m pip install"*) exit "${PIP_CODE:-0}" ;;
esac
"""

TOO_NEW = """#!/bin/bash
[ "$1" = --version ] && echo Python 3.14.0
"""
TOOLS = "bash cat cmp cp cut df dirname env grep head id ln mkdir mktemp mv nproc readlink rm sed"
TOOLS += " seq sleep tail timeout touch tr"


class Clone:
    """A folder with the scripts, a stand-in for Python, and no other program of the set-up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        shutil.copytree(REPOSITORY / INSTALL, folder / INSTALL)
        for name in ("setup.cfg", "constraints.txt"):
            shutil.copy(REPOSITORY / name, folder)
        self.script("bin/stand-in", PYTHON)
        self.script("bin/mpirun", "#!/bin/sh\necho mpirun 4.1.4\n")
        for name in ("mpicxx", "g++", "cmake"):
            self.script(f"bin/{name}", "#!/bin/sh\n")

    def script(self, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def run(self, name: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the set-up; HOME is not set unless named."""
        path = f"{self.folder}/bin:/usr/bin:/bin"
        environment = {"PATH": path, "PYTHON": f"{self.folder}/bin/stand-in"} | environment
        return subprocess.run(
            [str(self.folder / INSTALL / name), *words],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            start_new_session=True,
        )

    def only_ours(self) -> str:
        """A PATH of the stand-ins and the tools of a minimal system: no Python, no compiler."""
        for tool in TOOLS.split():
            (self.folder / "bin" / tool).symlink_to(shutil.which(tool) or tool)
        return str(self.folder / "bin")

    def calls(self) -> str:
        file = self.folder / "calls"
        return file.read_text() if file.exists() else ""


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_a_package_that_was_cut_off_is_found(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    (site,) = tmp_path.glob("lib/python*/site-packages")
    package = Path(filelock.__file__).parent
    (facts,) = package.parent.glob("filelock-*.dist-info")
    for folder in (package, facts):
        shutil.copytree(folder, site / folder.name)

    def damaged() -> str:
        command = [str(tmp_path / "bin/python"), str(DAMAGED_PACKAGES)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert damaged() == ""
    module = site / "filelock" / "__init__.py"
    text = module.read_bytes()
    module.write_bytes(text[:-1])  # as a full disk leaves it
    assert damaged() == "filelock"
    module.write_bytes(text)
    (site / facts.name / "RECORD").unlink()  # which pip writes last
    assert damaged() == "filelock"


def test_an_environment_that_was_cut_off_is_made_anew_and_said(clone: Clone) -> None:
    assert clone.run("environment.sh", PIP_CODE="2").returncode != 0  # Ctrl-C, or a full disk
    (clone.folder / ".venv/damaged").write_text("tensorflow\n")
    done = clone.run("environment.sh")
    assert done.returncode == 0, done.stdout
    assert "cut off within tensorflow: .venv is made anew" in done.stdout
    assert not (clone.folder / ".venv/damaged").exists()
    assert (clone.folder / ".venv/setup/environment").exists()
    assert not (clone.folder / ".venv/unfinished").exists()


def test_an_environment_that_is_whole_is_kept_after_a_failure(clone: Clone) -> None:
    assert clone.run("environment.sh", PIP_CODE="2").returncode != 0  # no network, say
    assert not (clone.folder / ".venv/setup/environment").exists()
    (clone.folder / ".venv/kept").touch()
    done = clone.run("environment.sh")
    assert done.returncode == 0, done.stdout
    assert "anew" not in done.stdout
    assert (clone.folder / ".venv/kept").exists()


def test_an_environment_of_other_versions_is_made_anew_and_said(clone: Clone) -> None:
    assert clone.run("environment.sh").returncode == 0
    (clone.folder / ".venv/kept").touch()
    again = clone.run("environment.sh")  # setup.cfg has changed, say
    assert "anew" not in again.stdout
    assert (clone.folder / ".venv/kept").exists()
    (clone.folder / "constraints.txt").write_text("tensorflow==2.22.0\n")
    done = clone.run("environment.sh")
    assert done.returncode == 0, done.stdout
    assert "other versions than those in .venv: .venv is made anew" in done.stdout
    assert not (clone.folder / ".venv/kept").exists()


def test_too_little_room_is_said_before_anything_is_fetched(clone: Clone) -> None:
    clone.script("bin/df", "#!/bin/sh\necho Avail\necho 1200\n")
    done = clone.run("environment.sh")
    assert done.returncode == 1
    assert "error: 1200 MB are free in" in done.stderr
    assert "pip install" not in clone.calls()


def test_midi_ports_that_cannot_be_compiled_are_left_out_alone(clone: Clone) -> None:
    done = clone.run("environment.sh", "compose", "ports", "live", PORTS_CODE="1")
    assert done.returncode == 0, done.stdout
    assert "MIDI ports were left out: python-rtmidi was not built" in done.stdout
    assert "apt-get install libasound2-dev pkg-config" in done.stdout
    assert "no compiler" not in done.stdout  # it stands in the log, which is named
    assert "no compiler" in (clone.folder / ".venv/setup/ports.log").read_text()
    assert f"why: {clone.folder}/.venv/setup/ports.log" in done.stdout
    assert "--editable .[compose,live]" in clone.calls()
    assert (clone.folder / ".venv/setup/environment").exists()
    assert "left out" not in clone.run("environment.sh", "compose", "ports", "live").stdout
    assert clone.calls().count("--editable .[ports]") == 2


@pytest.mark.parametrize("is_older", [True, False])
def test_a_python_that_compiles_midi_ports_asks_for_what_that_needs(
    clone: Clone, is_older: bool
) -> None:
    done = clone.run("packages.sh", "train", PATH=clone.only_ours(), IS_OLDER=str(int(is_older)))
    assert done.returncode == 0, done.stderr
    assert ("missing: alsa (libasound2-dev), needed for MIDI ports" in done.stdout) != is_older
    assert (" libasound2-dev pkg-config" in done.stdout) != is_older


def with_a_wheel(clone: Clone) -> Path:
    """Let Horovod be built once; the folder of its wheel."""
    clone.script("hpc/install/two_processes.sh", "#!/bin/sh\nexit 0\n")
    clone.script(".venv/bin/python", PYTHON)
    done = clone.run("horovod.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = clone.folder.glob(".venv/.cache/chorale/wheels/*/horovod-0.whl")  # without a HOME
    return wheel


def test_a_proof_that_takes_too_long_keeps_the_wheel(clone: Clone) -> None:
    wheel = with_a_wheel(clone)
    clone.script("hpc/install/two_processes.sh", "#!/bin/sh\nexec sleep 600\n")
    done = clone.run("horovod.sh", PROOF_SECONDS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out. Its allreduce took over 1 s, as on a busy machine." in done.stdout
    assert wheel.exists()
    assert clone.calls().count("-m pip wheel") == 1
    clone.script("hpc/install/two_processes.sh", "#!/bin/sh\nexit 0\n")
    assert "built before" in clone.run("horovod.sh").stdout


def test_a_wheel_that_no_longer_works_is_built_again(clone: Clone) -> None:
    with_a_wheel(clone)
    clone.script("hpc/install/two_processes.sh", "#!/bin/sh\nexit 1\n")
    done = clone.run("horovod.sh")
    assert "Its allreduce failed." in done.stdout
    assert clone.calls().count("-m pip wheel") == 2


def test_a_source_that_the_patches_do_not_fit_is_not_built(clone: Clone) -> None:
    clone.script(".venv/bin/python", PYTHON)
    done = clone.run("horovod.sh", PATCH_CODE="1")
    assert "Its build failed." in done.stdout
    assert "-m pip wheel" not in clone.calls()


def test_other_patches_or_another_tensorflow_need_another_wheel(clone: Clone) -> None:
    with_a_wheel(clone)
    assert "built before" in clone.run("horovod.sh").stdout
    assert "built before" not in clone.run("horovod.sh", TENSORFLOW="2.22.0").stdout
    with (clone.folder / INSTALL / "horovod_patches.py").open("a") as file:
        file.write("# another edit\n")
    assert "built before" not in clone.run("horovod.sh").stdout
    assert clone.calls().count("-m pip wheel") == 3


def test_a_cache_that_cannot_be_written_costs_no_build(clone: Clone, tmp_path: Path) -> None:
    clone.script("hpc/install/two_processes.sh", "#!/bin/sh\nexit 0\n")
    clone.script(".venv/bin/python", PYTHON)
    done = clone.run("horovod.sh", XDG_CACHE_HOME=os.devnull)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.glob(".venv/setup/wheels/*/horovod-0.whl"))


def test_the_demo_knows_whether_this_machine_can_make_sound(clone: Clone) -> None:
    only_ours = clone.only_ours()
    assert clone.run("packages.sh", "sound", PATH=only_ours).returncode == 1
    clone.script("bin/fluidsynth", "#!/bin/sh\n")
    found = clone.run("packages.sh", "sound", PATH=only_ours, SOUNDFONT="/a/font.sf2")
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize(
    ("beside", "named", "help_"),
    [
        ("", True, "is Python 3.14.0; needed is one of Python 3.11, 3.12"),
        ("", False, "install uv, curl -LsSf https://astral.sh/uv/install.sh | sh"),
        ("conda", False, "With your conda: conda create -y -p "),
    ],
)
def test_a_python_that_is_too_new_is_said_before_any_package_with_what_helps(
    clone: Clone, beside: str, named: bool, help_: str
) -> None:
    clone.script("bin/python3", TOO_NEW)
    clone.script("bin/apt-get", "#!/bin/sh\necho apt-get >>calls\n")
    if beside:
        clone.script(f"bin/{beside}", "#!/bin/sh\n")
    python = str(clone.folder / "bin/python3") if named else ""
    done = clone.run("packages.sh", "train", PATH=clone.only_ours(), PYTHON=python)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert help_ in done.stderr
    assert clone.calls() == ""


def test_uv_brings_the_python_that_the_system_lacks(clone: Clone) -> None:
    clone.script("bin/python3", TOO_NEW)
    clone.script("bin/uv", f"#!/bin/sh\necho uv $* >>calls\necho {clone.folder}/bin/stand-in\n")
    path = clone.only_ours()
    done = clone.run("environment.sh", PATH=path, PYTHON="")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "uv python install 3." in clone.calls()
    assert (clone.folder / ".venv/setup/environment").exists()


def test_a_damaged_wheel_in_the_cache_is_built_again(clone: Clone) -> None:
    wheel = with_a_wheel(clone)
    wheel.write_text("damaged")
    done = clone.run("horovod.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (clone.folder / ".venv/setup/horovod").read_text() == ""
    assert wheel.read_text() == ""


def test_an_interrupted_build_is_not_left_out_for_good(clone: Clone) -> None:
    clone.script(".venv/bin/python", PYTHON)
    done = clone.run("horovod.sh", INTERRUPTED="yes")
    assert done.returncode == 130
    assert not (clone.folder / ".venv/setup/horovod").exists()
    clone.script("hpc/install/two_processes.sh", "#!/bin/sh\nexit 0\n")
    assert clone.run("horovod.sh").returncode == 0
    assert (clone.folder / ".venv/setup/horovod").read_text() == ""


def test_without_a_compiler_no_mpi_is_fetched(clone: Clone) -> None:
    clone.script(".venv/bin/python", PYTHON)
    for name in ("mpirun", "mpicxx", "g++"):
        (clone.folder / "bin" / name).unlink()
    done = clone.run("horovod.sh", PATH=clone.only_ours())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out. No C++ compiler (Debian: g++). For several processes: " in done.stdout
    assert "-m pip install" not in clone.calls()


def test_a_full_disk_is_one_line(clone: Clone) -> None:
    full = PYTHON.replace('exit "${PIP_CODE:-0}"', "echo No space left on device && exit 1")
    clone.script("bin/stand-in", full)
    done = clone.run("environment.sh")
    assert done.returncode != 0
    assert "the disk is full. Make room in " in done.stdout
    assert (done.stdout + done.stderr).count("\n") == 1
