"""A Slurm job that does not fit into its time limit ends like a run that was never interrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.hpc.launching import TINY_FLAGS, final_weights, losses
from tests.testbed.cluster import Testbed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

FLAGS = (*TINY_FLAGS, "--strategy=horovod", "--steps=60", "--log-every=1", "--dropout=0.1")
# Slurm looks at the clock every 30 s and warns when these 40 s and those are left: 50 to 80 s after
# a start. A machine that does much else needs half of that to start, and the rest to save.
LIMIT = {"SBATCH_TIMELIMIT": "2", "SBATCH_SIGNAL": "B:USR2@40"}
# The gradients of the tiny model, 0.2 MB, then take 1.5 s: 60 steps outlast the warning on the
# fastest machine.
SLOW_LINK = "1mbit"


def test_a_job_requeued_at_its_time_limit_ends_with_the_weights_of_an_uninterrupted_run(
    testbed: Testbed, checkout: Path
) -> None:
    launch = ["mpirun", "-np", "2", "-H", "dorchester,bath", "python", "hpc/train.py"]
    whole = testbed.run(
        "dorchester", [*launch, "--run=runs/whole", *FLAGS], cwd=checkout, timeout=600
    )
    assert whole.returncode == 0, whole.stdout + whole.stderr

    testbed.set_rate(SLOW_LINK)
    script = Path("slurm/train_2nodes.sh")
    number = testbed.sbatch(script, *FLAGS, env=LIMIT, cwd=checkout)
    job = testbed.wait_job(number, timeout=1200)

    assert job.state == "COMPLETED", job.output
    assert job.restarts >= 1
    assert job.output.count("saved; requeue") == job.restarts
    parts, run = checkout / "runs/train", checkout / "runs/whole"
    for split in ("train", "valid"):
        np.testing.assert_array_equal(losses(parts, split), losses(run, split))
    expected = final_weights(run)
    found = final_weights(parts)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
