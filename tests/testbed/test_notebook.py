"""notebooks/two_servers.ipynb on two hosts: doctor, mpirun, compare, scaling."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.executed import execution, kinds, texts
from tests.testbed.cluster import Testbed

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        importlib.util.find_spec("nbclient") is None, reason="pip install -e '.[notebooks]'"
    ),
]


def test_the_notebook_checks_trains_compares_and_scales_on_two_hosts(
    testbed: Testbed, checkout: Path
) -> None:
    command, environment, result = execution("two_servers", checkout)
    done = testbed.run("dorchester", command, env=environment, cwd=checkout, timeout=1700)
    assert done.returncode == 0, done.stderr
    said = texts(result)
    assert "dorchester + bath" in said  # the hosts of a stretch
    assert said.count("done. Step 10 of 10") == 2
    assert "2 workers" in said
    assert "efficiency" in said
    assert kinds(result).count("image/png") == 3
