"""The benchmark's table: rows judged against their targets, pairs measured in turn, flags."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from hpc import bench
from hpc.benchmarks.rows import BenchmarkRow, alternate, paired_ratio
from tests.conftest import REPOSITORY
from tests.terminals import COLUMNS, lines_on, run_on_terminal


def measure_two_rows(names, options):
    return [BenchmarkRow.judged(name, 2.0 * options.rounds, ">= 5") for name in names]


@pytest.fixture()
def one_group(monkeypatch):
    group = SimpleNamespace(ROWS={"first": ">= 5", "second": ">= 5"}, measure=measure_two_rows)
    monkeypatch.setattr(bench, "GROUPS", [group])
    monkeypatch.setattr(bench, "in_own_process", lambda measure, *given: measure(*given))


@pytest.mark.parametrize(
    ("value", "target", "met"),
    [
        (1.7, ">= 1.7", True),
        (1.69, ">= 1.7", False),
        (0.01, "<= 0.01", True),
        (0.02, "<= 0.01", False),
        (None, ">= 1.3", None),
    ],
)
def test_a_row_is_met_by_its_value_alone(value, target, met):
    assert BenchmarkRow.judged("row", value, target).met is met


def test_parts_run_in_turn_and_the_first_round_is_warm_up():
    order = []

    def part(name, seconds):
        return lambda: order.append(name) or seconds.pop(0)

    seconds = alternate({"a": part("a", [9.0, 1.0, 2.0]), "b": part("b", [9.0, 3.0, 4.0])}, 2)
    assert order == ["a", "b"] * 3
    assert seconds == {"a": [1.0, 2.0], "b": [3.0, 4.0]}


def test_a_ratio_is_the_median_of_neighbours_so_that_a_slow_spell_cancels():
    ratio, spread = paired_ratio([2.0, 20.0, 2.2], [1.0, 10.0, 1.0])
    assert ratio == 2.0
    assert spread == "2.00 to 2.20"


def test_the_rows_asked_for_are_printed_and_written(one_group, tmp_path, capsys):
    file = tmp_path / "bench.json"
    assert bench.main(["--rows", "second", "--rounds", "3", "--json", str(file)]) == 0
    written = json.loads(file.read_text())
    assert written["rows"] == [
        {"name": "second", "value": 6.0, "target": ">= 5", "met": True, "note": ""}
    ]
    assert written["machine"]["processor"] and written["machine"]["commit"]
    assert "| second | 6 | >= 5 | yes |" in capsys.readouterr().out


ON_A_TERMINAL = """
from types import SimpleNamespace
from hpc import bench
from hpc.benchmarks.rows import BenchmarkRow
note = "0.21 s against 0.43 s, 1.9 to 2.2 in nine rounds, one core, a network of 512 units"
rows = lambda names, options: [BenchmarkRow.judged(name, 2.04, ">= 1.7", note) for name in names]
bench.GROUPS = [SimpleNamespace(ROWS={"lstm-keras": ">= 1.7"}, measure=rows)]
bench.in_own_process = lambda measure, *given: measure(*given)
raise SystemExit(bench.main([]))
"""


def test_a_terminal_shows_a_table_that_fits_it():
    program = [sys.executable, "-c", ON_A_TERMINAL]
    code, terminal = run_on_terminal(program, PYTHONPATH=str(REPOSITORY))
    shown = lines_on(terminal)
    assert code == 0, terminal
    assert max(map(len, shown)) <= COLUMNS and "|" not in terminal
    assert any(line.split()[:5] == ["lstm-keras", "2.04", ">=", "1.7", "yes"] for line in shown)


@pytest.mark.parametrize("flags", [["--rows", "third"], ["--rounds", "0"]])
def test_a_wrong_flag_ends_with_2_and_one_line_that_names_it(one_group, flags, capsys):
    with pytest.raises(SystemExit) as stop:
        bench.main(flags)
    assert stop.value.code == 2
    assert flags[1] in capsys.readouterr().err.splitlines()[-1]
