"""scaling.py as a user starts it: what it refuses, and two workers measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread

from hpc import scaling
from hpc.efficiency.flags import names_of
from hpc.efficiency.measure import Measurement
from hpc.efficiency.plan import Cell
from hpc.scaling import main
from hpc.scaling import parse_flags as scaling_flags
from hpc.train import main as train
from pipeline.runtime.files import add_line, read_lines
from tests.conftest import NUM_LANES, REPOSITORY, SEARCH_PATH
from tests.hpc.efficiency.measurements import measurement
from tests.hpc.launching import refusal


def test_flags_that_a_notebook_parses_name_the_command_that_does_the_same() -> None:
    flags = scaling_flags(["--workers=1,2", "--", "--preset=tiny"])
    assert flags.command == "python hpc/scaling.py --workers=1,2 -- --preset=tiny"


def test_what_cannot_be_measured_is_refused_in_a_line_before_anything_starts(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [f"--data={tiny_shards}", f"--out={tmp_path / 'out'}", "-H", "localhost:2"]
    assert "4 workers for 2 slots" in refusal(main, capsys, *common, "--workers=1,4")
    assert "one worker only" in refusal(main, capsys, *common, "--workers=1")
    assert f"{NUM_LANES} lanes" in refusal(main, capsys, *common, "--local-batch-size=6")
    assert "--steps behind --" in refusal(main, capsys, *common, "--", "--steps", "3")
    assert "no-such-folder" in refusal(main, capsys, *common, "--data", tmp_path / "no-such-folder")
    assert "mpirun takes them" in refusal(main, capsys, *common, "-H", "a:0")
    assert not (tmp_path / "out").exists()


def test_an_unknown_strategy_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--strategies", "horovod,nccl"])
    assert ended.value.code == 2
    assert "there is no nccl" in capsys.readouterr().err
    assert names_of(("a", "b"))("b,a,b") == ["b", "a"]


def test_a_prediction_refuses_flags_that_it_would_not_use(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for flags, said in (
        (["--step-ms=0"], "--step-ms is 0; give milliseconds above 0"),
        (["--like=runs/a", "--", "--preset=base"], "leave the flags behind -- out"),
        (["--like=runs/a", "--data=data/mine"], "only predict, without --data; leave it out"),
        (["--step-ms=45", "-Hdorchester,bath"], "only predict, without --hosts; leave it out"),
        (["--step-ms=45", "--repetitions=3"], "only predict, without --repetitions"),
        (["--plot=links.png"], "--plot draws a prediction; a measurement is drawn in --out"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(flags)
        assert said in capsys.readouterr().err


def test_from_the_time_of_a_step_it_predicts_what_the_network_leaves(
    tiny_shards: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["--step-ms=45", "--workers=2..8", f"--data={tiny_shards}"]
    files = [f"--json={tmp_path / 'said.json'}", f"--plot={tmp_path / 'links.png'}"]
    assert main([*command, *files, "--", "--preset=base"]) == 0
    assert imread(tmp_path / "links.png").shape[0] > 400  # a whole PNG, this many pixels high
    said = json.loads((tmp_path / "said.json").read_text())
    found = {
        (p["compression"], p["gigabits"], p["workers"], p["local_steps"]): p["efficiency"]
        for p in said["predicted"]
    }
    assert {workers for _, _, workers, _ in found} == {2, 4, 8}
    groups = said["sent"]["none"]
    assert said["sent"]["fp16"] == [num_bytes // 2 for num_bytes in groups]
    num_bytes = sum(groups)
    # Two workers send the whole gradient once, four 1.5 times: 2 (p - 1) / p.
    for workers, times, messages in ((2, 1.0, 2), (4, 1.5, 6)):
        exchange = times * num_bytes * 8 / 10e9 + len(groups) * messages * 30e-6
        assert found["none", 10, workers, 1] == pytest.approx(0.045 / (0.045 + exchange))
        in_half = times * num_bytes / 2 * 8 / 10e9 + len(groups) * messages * 30e-6
        assert found["fp16", 10, workers, 20] == pytest.approx(0.045 / (0.045 + in_half / 20))
    assert "10 Gbit/s" in capsys.readouterr().out

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    told = refusal(main, capsys, *command, f"--plot={tmp_path / 'none.png'}", "--", "--preset=base")
    assert "the picture needs matplotlib, which is not installed here: pip install" in told
    monkeypatch.undo()

    # Of a recorded run: its network, and the time of its own steps.
    flags = [f"--data={tiny_shards}", "--preset=tiny", "--sequence-length=32", "--steps=6"]
    flags += ["--log-every=2", "--global-batch-size=16", f"--run={tmp_path / 'run'}"]
    assert train(flags) == 0
    assert main([f"--like={tmp_path / 'run'}", f"--json={tmp_path / 'like.json'}"]) == 0
    like = json.loads((tmp_path / "like.json").read_text())
    assert 0 < like["step_seconds"] < 600
    assert sum(like["sent"]["none"]) < num_bytes

    stretches = tmp_path / "run" / "stretches.jsonl"
    (entry,) = read_lines(stretches)
    stretches.unlink()
    add_line(stretches, {**entry, "workers": 2})
    assert "trained by 2 workers" in refusal(main, capsys, f"--like={tmp_path / 'run'}")


def test_it_says_how_many_trainings_there_are_the_time_left_and_what_an_interrupt_keeps(
    tiny_shards: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    flags = [f"--data={tiny_shards}", f"--out={out}", "-H", "a,b", "--workers=1,2"]
    flags += ["--scaling=weak", "--strategies=horovod", "--local-batch-size=8"]
    clock = [0.0]

    def train_for_a_minute(cell: Cell, repetition: int, *_: object) -> Measurement:
        if clock[0] == 180:
            raise KeyboardInterrupt
        clock[0] += 60
        return measurement(cell, repetition, 100)

    monkeypatch.setattr(scaling, "monotonic", lambda: clock[0])
    monkeypatch.setattr(scaling, "measure_cell", train_for_a_minute)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "matplotlib", None)
        assert "needs matplotlib" in refusal(main, capsys, *flags)
    assert not clock[0]

    # One process alone on a and one on b, two independent ones, two with Horovod: 4, 5 times.
    assert main(flags) == 130
    said = capsys.readouterr()
    first, *lines = said.out.splitlines()
    assert first.startswith("20 of 20 trainings are to be measured")
    assert lines[0].endswith("100 tokens/s, about 19 min 00 s left")
    assert lines[2].endswith("100 tokens/s, about 17 min 00 s left")
    assert f"3 of 20 trainings are kept in {out}; the same command continues" in said.err

    clock[0] = 240
    assert main(flags) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("17 of 20 trainings are to be measured")
    assert lines[0].endswith("100 tokens/s, about 16 min 00 s left")
    assert lines[16].startswith("[20/20]") and lines[16].endswith("100 tokens/s")


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
