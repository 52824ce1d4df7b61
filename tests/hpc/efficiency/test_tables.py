"""Efficiency and the parts of a step, from measurements whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hpc.efficiency.measure import Measurement
from hpc.efficiency.tables import caution, tables
from tests.hpc.efficiency.measurements import (
    ALONE_B,
    ALONE_D,
    APART,
    TOGETHER,
    measurement,
    rows_of,
)


def test_efficiency_is_the_rate_over_that_of_each_host_alone_and_over_that_of_both_apart() -> None:
    found = rows_of({ALONE_D: [100], ALONE_B: [60], APART: [150], TOGETHER: [120]})
    together, apart = found["horovod", 2], found["independent", 2]
    assert together.against_solo and together.against_solo.median == pytest.approx(120 / 160)
    assert together.against_independent
    assert together.against_independent.median == pytest.approx(120 / 150)
    assert apart.against_solo and apart.against_solo.median == pytest.approx(150 / 160)
    assert apart.against_independent is None
    assert found["single", 1].against_solo is None


def test_a_machine_that_slows_down_between_repetitions_does_not_show_as_scaling() -> None:
    rates = {ALONE_D: [100, 50, 10], ALONE_B: [100, 50, 10], APART: [200, 100, 20]}
    row = rows_of({**rates, TOGETHER: [180, 90, 18]})["horovod", 2]
    assert row.against_solo and row.against_independent
    for share in (row.against_solo, row.against_independent):
        assert [share.median, share.low, share.high] == pytest.approx([0.9] * 3)
        assert share.num_values == 3
    assert (row.rate.median, row.rate.low, row.rate.high) == (90, 54, 135)


def test_a_repetition_whose_reference_is_missing_gives_no_efficiency() -> None:
    row = rows_of({ALONE_D: [100, 100], ALONE_B: [100], TOGETHER: [150, 10]})["horovod", 2]
    assert row.against_solo and row.against_solo.median == pytest.approx(0.75)
    assert row.against_independent is None


def test_shares_of_a_step_add_up_and_the_allreduce_is_set_against_it() -> None:
    row = rows_of({TOGETHER: [150]})["horovod", 2]
    assert sum(row.parts.values()) == pytest.approx(1.0)
    assert row.parts["step"] == pytest.approx(0.9)
    assert row.allreduce_share == pytest.approx(0.25)
    assert row.gigabytes_per_second == 0.4


def test_tables_tell_the_formula_and_both_efficiencies() -> None:
    found = rows_of({ALONE_D: [100], ALONE_B: [60], APART: [150], TOGETHER: [120]})
    efficiency, times = (table.to_markdown() for table in tables(list(found.values())))
    assert "rate_n / (n x rate_1)" in efficiency
    assert "| horovod | 2 | dorchester + bath | 8 | 120 | 60 | 75.0% | 80.0% | 1 |" in efficiency
    assert "| weak | horovod | 2 | 100.0 ms | 1.0% | 90.0% | 4.0% | 5.0% | 25.0 ms |" in times


def test_an_efficiency_above_one_is_remarked_upon() -> None:
    honest = rows_of({ALONE_D: [100], ALONE_B: [60], APART: [150], TOGETHER: [150]})
    assert "Above 100%" not in tables(list(honest.values()))[0].to_markdown()
    found = rows_of({ALONE_D: [100], ALONE_B: [60], APART: [150], TOGETHER: [168]})
    told = tables(list(found.values()))[0].to_markdown()
    assert "Above 100% (horovod, 2 workers): no strategy makes n workers faster" in told


def test_a_measurement_beside_other_programs_is_named_in_the_report() -> None:
    idle = {(TOGETHER, n): measurement(TOGETHER, n, 120) for n in (1, 2, 3)}
    assert caution(idle) is None
    before = measurement(TOGETHER, 2, 120).to_json()
    del before["busy"]  # as older versions wrote it
    assert Measurement.from_json(before).busy is None
    busy = {**idle, (TOGETHER, 2): replace(idle[TOGETHER, 2], busy=0.63)}
    told = caution(busy)
    assert told and "1 of 3 measurements" in told and "63%" in told
    assert "idle" in told
