"""Scalars for other trackers: one MLflow run for each run folder, and failures that end nothing."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from threading import Event

import pytest

from hpc.distributed.launcher import Place
from hpc.run_folder import trackers
from hpc.run_folder.journal import Journal
from hpc.run_folder.layout import METRICS
from hpc.run_folder.trackers import feed
from hpc.train import main
from pipeline.runtime.files import read_lines
from tests.conftest import REPOSITORY
from tests.hpc.launching import TINY_FLAGS

FACTS = {"strategy": "single", "hosts": ["dorchester"]}
needs_mlflow = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="not installed: pip install -e '.[mlflow]'"
)


@pytest.fixture
def added_tracker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Path:
    """Put the code of a tracker, named `added`, where the program looks for its file."""
    folder = tmp_path / "trackers"
    folder.mkdir()
    (folder / "added.py").write_text(request.param)
    monkeypatch.setattr(trackers, "__path__", [*trackers.__path__, str(folder)])
    monkeypatch.delitem(sys.modules, f"{trackers.__name__}.added", raising=False)
    return folder


def record(
    run_dir: Path, steps: range, tracker: str, ended: str = "done", place: Place | None = None
) -> None:
    """Record the steps of one start of a run."""
    step, place = steps[0] - 1, place or Place()
    journal = Journal(run_dir, place, step=step, evaluated=step, total_steps=9, tracker=tracker)
    journal.stretch(steps[0], FACTS, {"preset": "tiny"})
    for step in steps:
        journal.scalars(step, "train", loss=1.0 / step)
    journal.close(ended)


def example_of_the_page() -> str:
    """The tracker in docs/trackers.md that shows how to add one."""
    page = (REPOSITORY / "docs/trackers.md").read_text()
    return page.split("```python\n")[1].split("```")[0]


@needs_mlflow
def test_a_run_folder_is_one_mlflow_run_however_often_it_is_started(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setattr(feed, "CLOSE_SECONDS", 600.0)  # MLflow makes its tables on a busy machine
    run_dir = tmp_path / "first"
    flags = [*TINY_FLAGS, f"--data={tiny_shards}", f"--run={run_dir}", "--log-every=2"]
    for steps in (2, 6):
        assert main([*flags, f"--steps={steps}", "--tracker=mlflow"]) == 0

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    [experiment] = [e for e in client.search_experiments() if e.name == "chorale"]
    [found] = client.search_runs([experiment.experiment_id])
    assert found.info.run_id == json.loads((run_dir / "mlflow.json").read_text())["run_id"]
    assert (found.info.run_name, found.info.status) == ("first", "FINISHED")
    assert found.data.params["preset"] == "tiny"
    assert found.data.tags["strategy"] == "single"
    lines = read_lines(run_dir / METRICS)
    for split, steps in (("train", [2, 4, 6]), ("valid", [2, 6])):
        history = client.get_metric_history(found.info.run_id, f"{split}/loss")
        kept = [(line["step"], line["loss"]) for line in lines if line["split"] == split]
        assert [(point.step, point.value) for point in history] == kept
        assert [step for step, _ in kept] == steps

    # In a store that does not know the run, as on another host, a new one begins.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'store'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    record(run_dir, range(7, 8), "mlflow", "stopped")
    run = json.loads((run_dir / "mlflow.json").read_text())["run_id"]
    assert run != found.info.run_id
    other = MlflowClient(f"file:{tmp_path / 'store'}")
    assert other.get_run(run).info.status == "KILLED"


def test_of_several_ranks_the_chief_alone_reports(tmp_path: Path) -> None:
    record(tmp_path, range(1, 3), "no-such-tracker", place=Place(rank=1, size=2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("added_tracker", [example_of_the_page()], indirect=True)
def test_the_tracker_that_the_page_shows_works_as_it_stands(
    added_tracker: Path, tmp_path: Path
) -> None:
    feed.require_library("added")
    record(tmp_path, range(1, 3), "added")
    lines = (tmp_path / "scalars.csv").read_text().splitlines()
    assert "1,train/loss,1.0" in lines
    assert "2,train/loss,0.5" in lines


FAILS_TWICE = """
LIBRARY = "csv"
given = []
def open_tracker(run_dir, settings, facts):
    return Failing()
class Failing:
    def scalars(self, step, values):
        if step in (2, 3):
            raise RuntimeError(f"no answer at step {step}")
        given.append(step)
    def close(self, ended):
        given.append(ended)
"""


@pytest.mark.parametrize("added_tracker", [FAILS_TWICE], indirect=True)
def test_a_tracker_that_fails_is_said_once_and_ends_nothing(
    added_tracker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, range(1, 6), "added", "early")
    said = capsys.readouterr().out
    assert said.count("--tracker added failed, training goes on: RuntimeError: no answer") == 1
    assert "added lacks 2 of the 5 records of this start" in said
    assert sys.modules[f"{trackers.__name__}.added"].given == [1, 4, 5, "early"]
    assert len(read_lines(tmp_path / METRICS)) == 5


HANGS = """
LIBRARY = "csv"
import threading
answered = threading.Event()
def open_tracker(run_dir, settings, facts):
    answered.wait()
"""


@pytest.mark.parametrize("added_tracker", [HANGS], indirect=True)
def test_a_tracker_that_never_answers_does_not_hold_up_the_end(
    added_tracker: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "CLOSE_SECONDS", 0.1)
    record(tmp_path, range(1, 4), "added")
    assert "added lacks 3 of the 3 records of this start" in capsys.readouterr().out
    answered: Event = sys.modules[f"{trackers.__name__}.added"].answered
    answered.set()


def test_a_tracker_whose_library_is_missing_is_refused_before_training(
    tmp_path: Path,
    tiny_shards: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hpc.run_folder.trackers import mlflow

    monkeypatch.setattr(mlflow, "LIBRARY", "no_such_library")
    flags = [f"--data={tiny_shards}", f"--run={tmp_path / 'run'}", "--tracker=mlflow"]
    assert main([*TINY_FLAGS, *flags]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --tracker mlflow needs no_such_library, which is not installed")


@pytest.mark.parametrize("added_tracker", ['LIBRARY = "no_such_library"'], indirect=True)
def test_without_an_extra_of_its_name_a_tracker_asks_for_its_library(added_tracker: Path) -> None:
    with pytest.raises(ValueError, match=r"not installed here\. Run: pip install no_such_library$"):
        feed.require_library("added")
