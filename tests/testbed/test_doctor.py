"""The doctor between two hosts: both well, one cut off, one with other data, a lab not set up."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from pipeline.dataset.manifest import FILE_NAME, Manifest
from pipeline.vocabulary.events import EventVocabulary
from tests.testbed.cluster import Testbed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

LOCAL_PROGRAMS = "/usr/local/bin"  # the first folder in which a shell over ssh looks


def write_manifest(folder: Path, seed: int) -> Path:
    """A data set without pieces: the doctor compares manifests."""
    manifest = Manifest(EventVocabulary().to_dict(), num_lanes=4, seed=seed, settings={}, shards=())
    folder.mkdir()
    (folder / FILE_NAME).write_text(manifest.to_json())
    return folder


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return write_manifest(tmp_path / "data", seed=0)


def examine(testbed: Testbed, root: Path, data_dir: Path, *flags: str) -> CompletedProcess[str]:
    """The doctor's examination of both hosts, run on dorchester."""
    argv = ["python", str(root / "hpc/doctor.py"), "-H", "dorchester,bath", "--data", str(data_dir)]
    return testbed.run("dorchester", [*argv, *flags], cwd=root, timeout=300)


def one_space(text: str) -> str:
    """The text without the spaces that keep columns in line."""
    return re.sub(" +", " ", text)


def test_two_hosts_that_are_well_are_told_which_settings_keep_mpi_to_their_network(
    testbed: Testbed, root: Path, data_dir: Path
) -> None:
    done = examine(testbed, root, data_dir)
    assert "failed" not in done.stdout and done.returncode <= 1, done.stdout + done.stderr
    for line in (
        "ok ssh bath without a prompt",
        "ok network 10.83.77.0/24 on eth0",
        "ok launch 2 processes on dorchester, bath",
    ):
        assert line in one_space(done.stdout)
    assert "    mpirun -np 2 -H dorchester,bath python hpc/train.py\n" in done.stdout
    assert "In place on every host: btl_tcp_if_include, mca_base_env_list, " in done.stdout
    assert "NCCL_SOCKET_IFNAME=eth0" in done.stdout


def test_a_host_that_is_cut_off_is_named_within_seconds(
    testbed: Testbed, root: Path, data_dir: Path
) -> None:
    testbed.cut("bath")
    argv = ["python", str(root / "hpc/doctor.py"), "--quick", "-H", "dorchester,bath"]
    done = testbed.run("dorchester", [*argv, "--data", str(data_dir)], cwd=root, timeout=300)
    assert done.returncode == 2
    assert "failed ssh bath: " in one_space(done.stdout)
    assert "-> bath is off" in done.stdout


@pytest.fixture
def other_data_on_bath(testbed: Testbed, tmp_path: Path, data_dir: Path) -> Iterator[None]:
    other = write_manifest(tmp_path / "other", seed=1)
    testbed.run("bath", ["mount", "--bind", str(other), str(data_dir)])
    yield
    testbed.run("bath", ["umount", str(data_dir)])


@pytest.mark.usefixtures("other_data_on_bath")
def test_another_data_set_on_one_host_is_a_failure(
    testbed: Testbed, root: Path, data_dir: Path
) -> None:
    done = examine(testbed, root, data_dir, "--quick")
    assert done.returncode == 2
    assert "failed data dorchester: " in one_space(done.stdout)
    assert "rsync the data folder" in done.stdout


@pytest.fixture
def bare_python(testbed: Testbed, tmp_path: Path) -> Iterator[None]:
    """`python` has no mpi4py on any host.

    A machine may have no `python` at all: one that reads no installed packages comes in front.
    """
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin/python"
    python.write_text(f'#!/bin/sh\nexec {sys._base_executable} -S "$@"\n')  # type: ignore[attr-defined]
    python.chmod(0o755)
    in_front = ["-o", f"lowerdir={tmp_path}/bin:{LOCAL_PROGRAMS}", LOCAL_PROGRAMS]
    for name in testbed.hosts:
        testbed.run(name, ["mount", "-t", "overlay", "bin", *in_front])
    yield
    for name in testbed.hosts:
        testbed.run(name, ["umount", LOCAL_PROGRAMS])


@pytest.mark.usefixtures("no_settings", "bare_python")
def test_a_lab_that_has_set_nothing_up_is_told_the_settings_that_make_the_bare_command_work(
    testbed: Testbed, root: Path, data_dir: Path
) -> None:
    bare = ["mpirun", "-np", "2", "-H", "dorchester,bath", "python", "-c", "import mpi4py"]
    if testbed.run("dorchester", bare).returncode == 0:
        pytest.skip("the python that bath finds by itself has mpi4py too")
    done = examine(testbed, root, data_dir)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "warning launch the bare mpirun fails: on bath, " in one_space(done.stdout)
    settings = done.stdout.partition("mca-params.conf on every host:\n")[2].splitlines()
    assert "    mca_base_env_list = PATH" in settings
    assert "    btl_tcp_if_include = 10.83.77.0/24" in settings
