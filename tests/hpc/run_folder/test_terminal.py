"""Lines and bar of a run on a terminal and without one."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import REPOSITORY
from tests.terminals import COLUMNS, lines_on, run_on_terminal

# Ten steps of a run that continues after step 90, each longer than the time between two bars.
PROGRAM = """
import time
from hpc.distributed.launcher import Place
from hpc.run_folder.terminal import Terminal
terminal = Terminal(Place(), step=90, total_steps=100)
terminal.say("a line " * 20)
for step in range(91, 96):
    time.sleep(0.6)
    terminal.finish_step(step)
terminal.say(f"left: {terminal.time_left}")
terminal.close()
"""


def test_lines_are_broken_between_words_and_the_bar_has_an_eta() -> None:
    code, terminal = run_on_terminal([sys.executable, "-c", PROGRAM], PYTHONPATH=str(REPOSITORY))
    shown = lines_on(terminal)
    assert code == 0
    assert max(map(len, shown)) <= COLUMNS
    assert " ".join(line.strip() for line in shown[:2]) == ("a line " * 20).strip()
    bars = [line for line in shown if line.startswith("training")]
    assert [bar.split()[2] for bar in bars] == ["91/100", "92/100", "93/100", "94/100", "95/100"]
    assert bars[-1].split()[3].startswith("0:0"), bars[-1]
    assert shown[-1].startswith("left: 0:0")
    assert terminal.endswith("\r\x1b[K"), "the bar is gone at the end"


def test_without_a_terminal_lines_stay_whole_and_there_is_no_bar() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stderr == ""
    line, left = done.stdout.splitlines()
    assert line.strip() == ("a line " * 20).strip()
    assert left.startswith("left: 0:0")
