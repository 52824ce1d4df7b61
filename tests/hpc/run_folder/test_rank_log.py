"""The logs of the ranks: all that is printed, also by C code; the last words of a lost rank."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hpc.distributed.launcher import Place
from hpc.run_folder.rank_log import KEPT_BYTES, SHOWN_LINES, RankLog
from tests.conftest import REPOSITORY

# Prints by Python and past it, and ends as a rank does that has lost another.
PROGRAM = """
import os, sys
from pathlib import Path
from hpc.distributed.launcher import Place
from hpc.run_folder.rank_log import RankLog
log = RankLog()
log.keep(Path(sys.argv[1]), Place(1, 2, host="bath", launcher=sys.argv[2]))
print("by Python")
os.write(2, b"by C\\n")
print("last", file=sys.stderr)
log.close()
os._exit(76)
"""


def run(run_dir: Path, launcher: str = "mpirun") -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", PROGRAM, str(run_dir), launcher]
    return subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)


def test_a_rank_writes_what_it_prints_into_its_log_and_to_where_it_went(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (76, "by Python\n", "by C\nlast\n")
    heading, *lines = (tmp_path / "logs/rank-1.log").read_text().splitlines()
    assert heading.startswith("--- rank 1 on bath, process ")
    assert sorted(lines) == ["by C", "by Python", "last"]


def test_a_process_without_a_launcher_keeps_its_terminal_and_has_no_log(tmp_path: Path) -> None:
    assert run(tmp_path, "none").stdout == "by Python\n"
    assert not list(tmp_path.iterdir())


def test_a_log_is_bounded_over_starts_and_keeps_its_newest_lines(tmp_path: Path) -> None:
    path = tmp_path / "logs/rank-1.log"
    path.parent.mkdir()
    path.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert path.stat().st_size > 2 * KEPT_BYTES
    run(tmp_path)
    assert path.stat().st_size < KEPT_BYTES + 1000
    lines = path.read_text().splitlines()
    assert lines[0].startswith("line ") and "line 99999" in lines


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    done = run(tmp_path)
    assert done.returncode == 76 and done.stdout == "by Python\n"
    assert done.stderr.startswith("warning: rank 1 on bath keeps no log (")


def test_the_last_lines_of_a_lost_rank_are_shown_or_where_they_lie(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    earlier = [f"--- rank 1 on bath, process 7, today\nearlier {number}" for number in range(3)]
    lines = [*earlier, "--- rank 1 on bath, process 8, today", *(f"line {n}" for n in range(50))]
    (tmp_path / "logs/rank-1.log").write_text("\n".join(lines) + "\n")
    log = RankLog()
    log.keep(tmp_path, Place(host="dorchester"))
    facts = {"rank": 1, "host": "bath", "pid": 8}
    shown = log.last_words(facts).splitlines()
    assert shown[0] == f"the end of {tmp_path}/logs/rank-1.log:"
    assert shown[1:] == [f"    line {number}" for number in range(50 - SHOWN_LINES, 50)]
    # Another host's file of that name would hold another process.
    assert log.last_words({**facts, "pid": os.getpid()}) == (
        f"the log of rank 1 is {tmp_path}/logs/rank-1.log on bath"
    )
