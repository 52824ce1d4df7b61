"""What older versions wrote still opens: data sets, runs, checkpoints and cached scores.

The files in compatibility/ were made at commit 732af72, before all files moved into their rooms:
data sets of six chorales and of four duets, and a run on each, a network of four units.
expected.json holds what that commit made of them: the losses of steps 5 to 8, two bars of music.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpc import compare, train
from model import generate
from model.composing.composer import Composer
from model.composing.pieces import Length
from model.composing.sampling import Sampling
from pipeline import describe
from pipeline.scores.cache import ScoreCache
from pipeline.scores.formats import AS_WRITTEN
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import Score
from pipeline.scores.reading import read_score, read_scores
from tests.hpc.launching import losses

FIXTURES = Path(__file__).with_name("compatibility")
EXPECTED: dict[str, Any] = json.loads((FIXTURES / "expected.json").read_text())
RUNS = [("run", "lstm"), ("frames-run", "frames")]


@pytest.fixture
def older_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files, as the current folder: the runs name their data by a relative path."""
    folder = shutil.copytree(FIXTURES, tmp_path / "older")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(("run", "kind"), RUNS)
def test_an_older_run_continues_with_the_losses_it_would_have_had(
    run: str, kind: str, older_files: Path
) -> None:
    # By its config.json, or by the settings in its checkpoint.
    flags = ["--config", f"{run}/config.json"] if kind == "lstm" else []
    assert train.main([*flags, "--run", run, "--steps", "8"]) == 0
    for split, expected in (("train", "losses"), ("valid", "valid")):
        continued = losses(older_files / run, split)[-len(EXPECTED[kind][expected]) :]
        np.testing.assert_allclose(continued, EXPECTED[kind][expected], rtol=1e-5)


@pytest.mark.parametrize(("run", "kind"), RUNS)
def test_an_older_checkpoint_composes_the_same_notes(
    run: str, kind: str, older_files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "music"
    flags = [run, "--seed=1", "--bars=2", "--formats=mid", f"--out={out}"]
    assert generate.main(flags) == 0
    composer = Composer.load(older_files / run)
    grid = composer.vocabulary.steps_per_quarter
    length = Length.of_steps(8 * grid, grid)
    (piece,) = composer.compose([0], Sampling(), length, seed=1)
    write_midi(composer.score(piece, length, 100.0), tmp_path / "piece.mid")
    notes = read_score(tmp_path / "piece.mid").notes.tolist()
    assert [list(note) for note in notes] == EXPECTED[kind]["notes"]


@pytest.mark.parametrize(("data", "num_pieces"), [("events", 6), ("grid", 4)])
def test_an_older_data_set_is_described(
    data: str, num_pieces: int, older_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert describe.main([data]) == 0
    said = capsys.readouterr().out
    assert f"{data}: {num_pieces} pieces from 6 sources" in said
    assert "notes:" not in said  # they were not counted


def test_older_runs_are_compared(older_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["run", "frames-run", "--out", "comparison"]) == 0
    assert "dorchester" in capsys.readouterr().out


def test_an_older_cache_entry_is_read(tmp_path: Path) -> None:
    tune = tmp_path / "tune.abc"
    tune.write_text("X:1\nT:A scale\nM:4/4\nL:1/4\nQ:1/4=96\nK:C\nCDEF|GABc|c4|]\n")
    cache = ScoreCache(tmp_path / "scores")
    cache.folder.mkdir()
    [fresh] = cache.read(tune, AS_WRITTEN, read_scores)
    [entry] = [path for path in cache.folder.rglob("*") if path.is_file()]
    entry.write_bytes((FIXTURES / "cache-entry").read_bytes())

    def never(path: Path, *_: object) -> list[Score]:
        raise AssertionError(f"{path} was read again")

    [score] = cache.read(tune, AS_WRITTEN, never)
    assert score.notes["pitch"].tolist() == [60, 62, 64, 65, 67, 69, 71, 72, 72]
    assert np.array_equal(score.notes["onset"] / score.resolution, [0, 1, 2, 3, 4, 5, 6, 7, 8])
    assert score.tempo == fresh.tempo == 96
