"""`testbed`: three hosts, brought up once for all tests marked cluster, taken down at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.testbed.cluster import ADDRESSES, Testbed, missing


@contextmanager
def preferred() -> Iterator[None]:
    """What starts in here gets its core before the tests of other workers do.

    The limits of time that these tests set are for hosts that have their cores to themselves.
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, -10)  # root may
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


@pytest.fixture(scope="session")
def running_testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    """The hosts, up. They end with this process even if it is killed."""
    if reason := missing():
        pytest.skip(reason)
    testbed = Testbed(tmp_path_factory.mktemp("testbed") / "state", die_with_us=True)
    with preferred():
        testbed.up(hosts=tuple(ADDRESSES))
    yield testbed
    testbed.down()


@pytest.fixture
def testbed(running_testbed: Testbed) -> Iterator[Testbed]:
    """The hosts as they came up: what a test did to them is made good after it."""
    with preferred():
        yield running_testbed
        running_testbed.restore()


@pytest.fixture
def no_settings(testbed: Testbed, tmp_path: Path) -> Iterator[None]:
    """All hosts without the settings of Open MPI 4 and 5 that a lab makes once."""
    (tmp_path / "no-settings").mkdir()
    for name in testbed.hosts:
        testbed.run(name, ["mount", "--bind", str(tmp_path / "no-settings"), "/etc/openmpi"])
    yield
    for name in testbed.hosts:
        testbed.run(name, ["umount", "--lazy", "/etc/openmpi"])


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path, root: Path, tiny_shards: Path) -> Path:
    """A folder like a user's clone, with a small data set as data/bach."""
    for name in ("hpc", "model", "pipeline", "slurm"):
        (tmp_path / name).symlink_to(root / name)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/bach").symlink_to(tiny_shards)
    return tmp_path
