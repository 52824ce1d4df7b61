"""examples/ of two servers and of Slurm, small: a training on both hosts, and a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hpc.launching import TINY_FLAGS
from tests.testbed.cluster import Testbed
from tests.testbed.processes import poll

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
FLAGS = (*TINY_FLAGS, "--steps=4", "--log-every=2")


@pytest.fixture
def clone(checkout: Path, root: Path) -> Path:
    """The folder like a user's clone, with the examples in it."""
    (checkout / "examples").symlink_to(root / "examples")
    return checkout


def test_a_sweep_trains_every_preset_with_every_seed_and_compares_them(
    testbed: Testbed, clone: Path
) -> None:
    sweep = {"PRESETS": "tiny", "SEEDS": "1 2", "NAME": "seeds"}
    done = testbed.run("dorchester", ["examples/sweep.sh", *FLAGS], env=sweep, cwd=clone)
    assert done.returncode == 0, done.stderr
    job = testbed.wait_job(int(done.stdout), timeout=900)
    assert job.state == "COMPLETED", job.output
    assert "2 of 2 runs have records" in job.output
    assert "tiny-1" in job.output and "tiny-2" in job.output
    report = clone / "runs/seeds/compared/comparison.md"
    poll(report.is_file, 300, "no comparison")
    assert "seed" in report.read_text()  # what the runs differ in


def test_two_servers_are_checked_train_together_and_compose(testbed: Testbed, clone: Path) -> None:
    script = [str(clone / "examples/two_servers.sh"), *FLAGS]
    done = testbed.run("dorchester", script, env={"BARS": "1"}, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bath without a prompt" in done.stdout
    assert "2 workers" in done.stdout
    assert (clone / "out/both/piece-001.mp3").is_file()
