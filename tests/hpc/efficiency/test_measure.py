"""One training of a measurement: windows that count, processes that miss each other."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hpc.efficiency.measure import BEGIN, END, measure_cell, summarise
from tests.hpc.efficiency.measurements import APART, record


def test_independent_processes_count_only_while_all_of_them_train() -> None:
    # The first trains from 0 to 5; the second from 1.5 on, at first disturbed, then by itself.
    first = record(0, [(1, 900), (2, 900), (3, 100), (4, 200), (5, 300)])
    second = record(1, [(2.5, 10), (3.5, 20), (4.5, 30), (5.5, 900), (6.5, 900)])
    found = summarise(APART, 1, [second, first])
    assert found.worker_rates == (200, 20)
    assert found.rate == 220
    assert found.step_seconds == 0.5
    assert found.machines == ("host 0 (EPYC)", "host 1 (EPYC)")


def test_processes_that_never_trained_at_the_same_time_are_no_measurement() -> None:
    apart = [record(0, [(1, 100), (2, 100)]), record(1, [(11, 100), (12, 100)])]
    with pytest.raises(RuntimeError, match="Raise --steps"):
        summarise(APART, 1, apart)
    with pytest.raises(RuntimeError, match="1 of 2 workers"):
        summarise(APART, 1, apart[:1])


def test_processes_that_missed_each_other_train_again_and_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = [record(0, [(1, 100), (2, 100)]), record(1, [(11, 100), (12, 100)])]
    together = [record(0, [(1, 100), (2, 100)]), record(1, [(1, 50), (2, 50)])]
    for name, records in (("apart", apart), ("together", together)):
        told = "".join(f"{BEGIN}{json.dumps(entry)}{END}\n" for entry in records)
        (tmp_path / name).write_text(told)
    mpirun = tmp_path / "mpirun"  # stands in for training, which would not miss on demand
    mpirun.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
        f'case "$*" in *--steps=80*) cat {tmp_path}/together;; *) cat {tmp_path}/apart;; esac\n'
    )
    mpirun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = measure_cell(APART, 1, tmp_path / "work", ["--steps=20", "--log-every=2"], share=1)
    assert found.worker_rates == (100, 50)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert all(f"--steps={n}" in call for n, call in zip((20, 40, 80), calls, strict=True))
    with pytest.raises(RuntimeError, match="Raise --steps"):
        measure_cell(APART, 1, tmp_path / "work", ["--steps=2"], share=1)


def test_how_busy_the_machine_is_is_measured_before_a_training_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [record(0, [(1, 100), (2, 100)]), record(1, [(1, 50), (2, 50)])]
    told = "".join(f"{BEGIN}{json.dumps(entry)}{END}\n" for entry in alone)
    (tmp_path / "told").write_text(told)
    (tmp_path / "mpirun").write_text(f"#!/bin/sh\ncat {tmp_path}/told\n")
    (tmp_path / "mpirun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("psutil.cpu_percent", lambda interval: 63.0)
    assert measure_cell(APART, 1, tmp_path / "work", ["--steps=2"], share=1).busy == 0.63
