"""scaling.py as a user starts it, and its arithmetic on measurements whose answer is known."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpc.distributed.hosts import find_slots
from hpc.distributed.mpirun import run_to_the_end
from hpc.efficiency.forecast import forecasts
from hpc.efficiency.measure import BEGIN, END, Measurement, measure_cell, summarise
from hpc.efficiency.plan import Cell, cells_of, default_workers, plan
from hpc.efficiency.store import open_store, read_measurements, store
from hpc.efficiency.tables import EfficiencyRow, rows, tables
from hpc.scaling import main, names_of
from tests.conftest import NUM_LANES, REPOSITORY, SEARCH_PATH

BATCHES = {"weak": 8, "strong": 16}
LINK = {"megabytes": 10.0, "seconds": 0.025, "size": 2, "gigabytes_per_second": 0.4}
HOSTS = ("dorchester", "bath")
ALONE_D, ALONE_B = Cell("single", ("dorchester",), 8), Cell("single", ("bath",), 8)
APART, TOGETHER = Cell("single", HOSTS, 8), Cell("horovod", HOSTS, 8)


def measurement(cell: Cell, repetition: int, rate: float) -> Measurement:
    """A measurement of this rate, whose step takes 0.1 s."""
    return Measurement(
        cell=cell,
        repetition=repetition,
        rate=rate,
        worker_rates=(rate,),
        step_seconds=0.1,
        parts={"input": 0.001, "step": 0.09, "save": 0.004, "other": 0.005},
        link=None if cell.is_alone else LINK,
        machines=("dorchester (EPYC)",),
        devices=("CPU, cores 0",),
        sequence_length=32,
        commit="abc",
    )


# What a fit needs: a step together and apart, an allreduce of the gradient and of one number.
STEPS_OF_TWO = {
    (APART, 1): measurement(APART, 1, 160),
    (TOGETHER, 1): replace(
        measurement(TOGETHER, 1, 120), step_seconds=0.12, link={**LINK, "latency_seconds": 0.002}
    ),
}


def rows_of(rates: dict[Cell, Sequence[float]]) -> dict[tuple[str, int], EfficiencyRow]:
    """The rows of weak scaling over the two hosts, by strategy and workers, from rates."""
    measured = {
        (cell, repetition): measurement(cell, repetition, rate)
        for cell, of_cell in rates.items()
        for repetition, rate in enumerate(of_cell, start=1)
    }
    compared = plan(HOSTS, [1, 2], ["horovod"], ["weak"], BATCHES)
    return {(row.strategy, row.workers): row for row in rows(compared, measured)}


def record(rank: int, windows: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """What a worker tells of its windows (end, rate); 100 tokens a step, all of it computing."""
    return {
        "rank": rank,
        "windows": [[end, rate, 0.0, 100 / rate, 0.0, 0.0] for end, rate in windows],
        "tokens_per_step": 100,
        "link": None,
        "machines": [f"host {rank} (EPYC)"],
        "devices": f"CPU, cores {rank}",
        "sequence_length": 32,
        "commit": "abc",
    }


def refusal(capsys: pytest.CaptureFixture[str], *flags: object) -> str:
    """The one line on stderr with which the command refuses."""
    assert main([*map(str, flags)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


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


def test_weak_scaling_holds_the_batch_of_a_worker_and_strong_that_of_all() -> None:
    found = plan(["a"] * 4, [1, 2, 4], ["horovod"], ["weak", "strong"], BATCHES)
    batches = {(c.scaling, c.cell.workers): c.cell.batch for c in found}
    assert batches == {
        ("weak", 1): 8,
        ("weak", 2): 8,
        ("weak", 4): 8,
        ("strong", 1): 16,
        ("strong", 2): 8,
        ("strong", 4): 4,
    }
    assert {c.solo[0].batch for c in found if c.scaling == "strong"} == {16}
    # Two workers of 8 windows are the same training under both, and measured once.
    assert len(cells_of(found)) == 2 + 2 * 3


def test_every_host_is_measured_alone_and_mpirun_is_told_who_goes_where() -> None:
    hosts = find_slots("a:2,b", {}, 1)
    cells = cells_of(plan(hosts, [1, 2, 3], ["horovod"], ["weak"], BATCHES))
    assert [cell.hosts for cell in cells if cell.workers == 1] == [("a",), ("b",)]
    assert [cell.slots for cell in cells if cell.strategy == "horovod"] == ["a:2", "a:2,b:1"]


def test_by_default_the_numbers_of_workers_double_up_to_all_slots() -> None:
    assert [default_workers(n) for n in (1, 2, 4, 6)] == [[1], [1, 2], [1, 2, 4], [1, 2, 4, 6]]


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


def test_a_measurement_comes_back_from_its_folder_as_it_was(tmp_path: Path) -> None:
    assert open_store(tmp_path, {"steps": 40}) == {}
    kept = measurement(TOGETHER, 1, 123.456)
    store(tmp_path, kept)
    with (tmp_path / "measurements.jsonl").open("a") as stream:
        stream.write('{"cell": {"str')  # a kill in the middle of a line
    store(tmp_path, measurement(APART, 2, 1.0))
    found = open_store(tmp_path, {"steps": 40})
    assert found[TOGETHER, 1] == kept
    assert set(found) == {(TOGETHER, 1), (APART, 2)}


def test_measurements_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    open_store(tmp_path, {"steps": 40, "commit": "abc"})
    with pytest.raises(ValueError, match=r"steps 80 \(measured with 40\).*another --out"):
        open_store(tmp_path, {"steps": 80, "commit": "abc"})
    (tmp_path / "measurements.jsonl").write_text('{"loss": 3}\n')
    with pytest.raises(ValueError, match="line 1 of"):
        read_measurements(tmp_path)


def test_tables_tell_the_formula_and_both_efficiencies() -> None:
    found = rows_of({ALONE_D: [100], ALONE_B: [60], APART: [150], TOGETHER: [120]})
    efficiency, times = (table.to_markdown() for table in tables(list(found.values())))
    assert "rate_n / (n x rate_1)" in efficiency
    assert "| horovod | 2 | dorchester + bath | 8 | 120 | 60 | 75.0% | 80.0% | 1 |" in efficiency
    assert "| weak | horovod | 2 | 100.0 ms | 1.0% | 90.0% | 4.0% | 5.0% | 25.0 ms |" in times


def test_tensorboard_reads_efficiency_by_workers_and_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from hpc.efficiency.events import write_events
    from hpc.efficiency.plot import write_plot

    found = rows_of({ALONE_D: [100], ALONE_B: [60], APART: [150], TOGETHER: [120]})
    picture = tmp_path / "scaling.png"
    foreseen = forecasts(STEPS_OF_TWO, link=0.0)
    write_plot(list(found.values()), foreseen, "two hosts", picture)
    for _ in range(2):  # the second time replaces the first
        write_events(list(found.values()), foreseen, "# Scaling", picture, tmp_path / "events")
    events = EventAccumulator(str(tmp_path / "events" / "weak-horovod")).Reload()
    (point,) = events.Tensors("efficiency/against independent")
    assert (point.step, point.tensor_proto.float_val[0]) == (2, pytest.approx(0.8))
    predicted = EventAccumulator(str(tmp_path / "events" / "predicted-horovod-10gbit")).Reload()
    points = predicted.Tensors("efficiency/predicted")
    assert [point.step for point in points] == [4, 8, 16, 32, 64, 128, 256, 512]
    shown = EventAccumulator(str(tmp_path / "events")).Reload()
    (image,) = shown.Tensors("scaling/plot")
    assert "scaling/plot" in shown.PluginTagToContent("images")
    assert "scaling/tables" in shown.PluginTagToContent("text")
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    expected = [str(width).encode(), str(height).encode(), picture.read_bytes()]
    assert list(image.tensor_proto.string_val) == expected


def test_what_cannot_be_measured_is_refused_in_a_line_before_anything_starts(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [f"--data={tiny_shards}", f"--out={tmp_path / 'out'}", "-H", "localhost:2"]
    assert "4 workers for 2 slots" in refusal(capsys, *common, "--workers=1,4")
    assert "one worker only" in refusal(capsys, *common, "--workers=1")
    assert f"{NUM_LANES} lanes" in refusal(capsys, *common, "--local-batch-size=6")
    assert "--steps behind --" in refusal(capsys, *common, "--", "--steps", "3")
    assert "no-such-folder" in refusal(capsys, *common, "--data", tmp_path / "no-such-folder")
    assert "mpirun takes them" in refusal(capsys, *common, "-H", "a:0")
    assert not (tmp_path / "out").exists()


def test_an_unknown_strategy_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--strategies", "horovod,nccl"])
    assert ended.value.code == 2
    assert "there is no nccl" in capsys.readouterr().err
    assert names_of(("a", "b"))("b,a,b") == ["b", "a"]


def test_nothing_that_was_started_outlives_an_interruption() -> None:
    program = (
        "import subprocess, sys; child = subprocess.Popen(['sleep', '60'], start_new_session=True);"
        "print(child.pid, flush=True); child.wait()"
    )
    read, write = os.pipe()
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 1.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_to_the_end([sys.executable, "-c", program], stdout=write)
    finally:
        signal.signal(signal.SIGALRM, before)
    child = int(os.read(read, 100))
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.mpi
@pytest.mark.soak  # on a busy machine the independent processes may never train at one time
@pytest.mark.timeout(900)  # five trainings, on a machine that may have other work
def test_two_workers_are_measured_once_and_the_failure_of_a_run_is_told(
    tiny_shards: Path, tmp_path: Path
) -> None:
    def scale(*flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(REPOSITORY / "hpc" / "scaling.py")]
        command += [f"--data={tiny_shards}", "-H", "localhost:2", "--strategies=horovod"]
        command += ["--scaling=weak", "--local-batch-size=4", "--repetitions=1", "--steps=60"]
        return subprocess.run(
            [*command, *flags],
            # No commit is known then, so that one made while this test runs does not matter.
            env={**os.environ, "PATH": SEARCH_PATH, "GIT_DIR": str(tmp_path / "no repository")},
            capture_output=True,
            text=True,
            timeout=280,
        )

    tiny = ("--", "--preset=tiny", "--sequence-length=16")
    out = tmp_path / "out"
    first = scale(f"--out={out}", f"--json={tmp_path / 'result.json'}", *tiny)
    assert first.returncode == 0, first.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    told = {(row["strategy"], row["workers"]): row for row in result["rows"]}
    assert set(told) == {("single", 1), ("independent", 2), ("horovod", 2)}
    together = told["horovod", 2]
    expected = together["rate"]["median"] / (2 * told["single", 1]["rate"]["median"])
    assert together["against_solo"]["median"] == pytest.approx(expected)
    assert together["against_independent"]["median"] > 0
    assert together["gigabytes_per_second"] > 0
    cores = {m["cell"]["strategy"]: m["devices"] for m in result["measurements"]}
    assert all(device.count(",") == 1 for device in cores["single"])  # one core each
    for words in ("command", "commit", "hardware"):
        assert words in (out / "scaling.md").read_text()
    assert (out / "scaling.png").stat().st_size > 10_000

    again = scale(f"--out={out}", *tiny)
    assert again.returncode == 0, again.stderr
    assert "[1/" not in again.stdout

    failed = scale(f"--out={tmp_path / 'other'}", *tiny, "--sequence-length=100000")
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert "sequence length 100000 does not fit" in line
