"""The published measurement of faults: what it writes, and one fault measured as a whole."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.cluster import missing
from tests.testbed.faults import FAULTS
from tests.testbed.faults_table import publish
from tests.testbed.measure_faults import main
from tests.testbed.starts import Start, count_starts

TEXTS = {name: fault.text for name, fault in FAULTS.items()}
ENDED = {"strategy": "horovod", "hogs": 0, "load": 1.0, "identical": True, "commit": "abc"}


def test_a_row_tells_how_long_it_took_and_whether_the_culprit_was_named(tmp_path: Path) -> None:
    rows = [
        {**ENDED, "fault": "stall-20", "code": 0, "named": "", "ranks_seconds": 50.0},
        {**ENDED, "fault": "kill", "ranks_seconds": 0.14, "mpirun_seconds": 3.2, "code": 137}
        | {"named": "error: rank 1 on bath has died"},
        {**ENDED, "fault": "cut", "ranks_seconds": 31.2, "code": None, "named": ""},
        {"strategy": "horovod", "hogs": 8, "load": [9.5, 11.0], "starts": 3, "at_once": 2}
        | {"failed": [{"code": 76, "line": "error: it took too long"}] * 2, "commit": "def"}
        | {"seconds": [10.0, 30.0, 20.0]},
    ]
    publish(rows, TEXTS, tmp_path)
    written = (tmp_path / "faults.md").read_text()
    lines = written.splitlines()
    table = [line for line in lines if "| horovod |" in line]
    assert table == [
        "| rank 1 killed (SIGKILL) | horovod | 0 | 1.0 | 0.1 s | 3.2 s | 137 | yes | identical |",
        "| link of bath cut | horovod | 0 | 1.0 | 31.2 s | none | none | no | identical |",
        "| rank 1 stopped for 20 s | horovod | 0 | 1.0 | - | - | 0 | survived | identical |",
        "| horovod | def | 2 | 8 | 9.5 to 11.0 | 3 | 2 | 20 s | 30 s |",
    ]
    assert "- 2 x horovod, code 76: error: it took too long\n" in written
    assert written.endswith("rows by commit: 3 at abc, 1 at def.\n")


def test_starts_are_counted_and_those_that_fail_say_why(tmp_path: Path) -> None:
    class Hosts:
        """Takes each second start for one that fails."""

        def run(self, host: str, argv: list[str], cwd: Path, timeout: float):
            code, said = (76, "warning: x\nerror: a false death\nmore") if "1" in argv else (0, "")
            return subprocess.CompletedProcess(argv, code, "", said)

    starts = [Start("ab"[n % 2], [str(n)], tmp_path / str(n)) for n in range(3)]
    for start in starts:
        start.run_dir.mkdir()
    rows: list[dict[str, Any]] = []
    count_starts(Hosts(), starts, 2, tmp_path, lambda row: rows.append({**row}))  # type: ignore[arg-type]
    last = {row["strategy"]: row for row in rows}
    assert (last["a"]["starts"], last["a"]["failed"]) == (2, [])
    (failed,) = last["b"]["failed"]
    assert (failed["code"], failed["line"]) == (76, "error: a false death")
    assert [start.run_dir.exists() for start in starts] == [False, True, False]


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
    assert "could not be written" in row["named"] and "No space left" in row["named"]
    assert not (tmp_path / "state").exists()
