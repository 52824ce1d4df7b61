"""The published measurement of faults: what it writes, and one fault measured as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.testbed.cluster import missing
from tests.testbed.faults_table import publish
from tests.testbed.measure_faults import FAULTS, main

TEXTS = {name: fault.text for name, fault in FAULTS.items()}
ENDED = {"strategy": "horovod", "hogs": 0, "load": 1.0, "identical": True}


def test_a_row_tells_how_long_it_took_and_whether_the_culprit_was_named(tmp_path: Path) -> None:
    rows = [
        {**ENDED, "fault": "stall-20", "code": 0, "named": "", "ranks_seconds": 50.0},
        {**ENDED, "fault": "kill", "ranks_seconds": 0.14, "mpirun_seconds": 3.2, "code": 137}
        | {"named": "error: rank 1 on bath has died"},
        {**ENDED, "fault": "cut", "ranks_seconds": 31.2, "code": None, "named": ""},
        {"strategy": "horovod", "hogs": 8, "load": 9.5, "starts": 3, "failed": ["x"]}
        | {"seconds": [10.0, 30.0, 20.0]},
    ]
    publish(rows, TEXTS, tmp_path)
    lines = (tmp_path / "faults.md").read_text().splitlines()
    table = [line for line in lines if "| horovod |" in line]
    assert table == [
        "| rank 1 killed (SIGKILL) | horovod | 0 | 1.0 | 0.1 s | 3.2 s | 137 | yes | identical |",
        "| link of bath cut | horovod | 0 | 1.0 | 31.2 s | none | none | no | identical |",
        "| rank 1 stopped for 20 s | horovod | 0 | 1.0 | - | - | 0 | survived | identical |",
        "| horovod | 8 | 9.5 | 3 | 1 | 20 s | 30 s |",
    ]


@pytest.mark.cluster
@pytest.mark.soak  # three trainings on hosts brought up for it
@pytest.mark.timeout(1800)
def test_a_full_disk_is_measured_end_to_end(tiny_shards: Path, tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    flags = ["--faults", "disk", "--strategies", "multiworker", f"--data={tiny_shards}"]
    assert (
        main([*flags, *(f"--{name}={tmp_path / name}" for name in ("work", "out", "state"))]) == 0
    )
    (row,) = json.loads((tmp_path / "work/rows.json").read_text())
    assert (row["code"], row["again"], row["identical"]) == (1, 0, True), row["said"]
    assert "could not be written" in row["named"]
    assert not (tmp_path / "state").exists()
