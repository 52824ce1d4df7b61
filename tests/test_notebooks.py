"""The notebooks: stored without outputs, executed from top to bottom, shown on the site."""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import REPOSITORY
from tests.executed import execution, kinds, texts

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(notebook: Path) -> None:
    book = json.loads(notebook.read_text())
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tour, executed; its folder, with data/, runs/ and out/, is two above it."""
    command, environment, result = execution("tour", tmp_path_factory.mktemp("tour"))
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=890
    )
    assert done.returncode == 0, done.stderr
    return result


needs_all = pytest.mark.skipif(
    importlib.util.find_spec("nbclient") is None or shutil.which("fluidsynth") is None,
    reason="needs FluidSynth, and pip install -e '.[notebooks]'",
)


@needs_all
@pytest.mark.mpi
def test_the_tour_goes_from_chorales_to_music_by_one_process_and_two(tour: Path) -> None:
    said = texts(tour)
    assert "recommended: --sequence-length" in said
    assert "; 1 worker on " in said and "; 2 workers on " in said
    assert said.count("done. Step 10 of 10") == 2
    assert "tour-two" in said and "best valid loss" in said  # the table of the comparison
    assert "http://localhost:" in said
    assert "━" not in said  # no progress bar, which would fill pages
    shown = kinds(tour)
    assert shown.count("text/html") == 1  # the player; tables are text, where they belong
    assert shown.count("image/png") == 3  # the data set, the curves, the piano roll
    [player] = [
        output["data"]["text/html"]
        for cell in json.loads(tour.read_text())["cells"]
        for output in cell.get("outputs", [])
        if "<audio" in "".join(output.get("data", {}).get("text/html", ""))
    ]
    assert "audio/mpeg;base64," in "".join(player)
    assert (tour.parents[1] / "out/tour/piece.mid").is_file()


@needs_all
@pytest.mark.mpi
def test_the_site_shows_an_executed_notebook_only_while_its_cells_are_those_of_now(
    tour: Path, tmp_path: Path
) -> None:
    with_outputs = runpy.run_path(str(REPOSITORY / "docs/conf.py"))["with_outputs"]
    stored = (REPOSITORY / "notebooks/tour.ipynb").read_text()
    app = SimpleNamespace(srcdir=str(tmp_path))

    def shown() -> str:
        source = [stored]
        with_outputs(app, "notebooks/tour", source)
        return source[0]

    assert shown() == stored
    executed = tmp_path / "build/notebooks/tour.ipynb"
    executed.parent.mkdir(parents=True)
    shutil.copy(tour, executed)
    assert shown() == tour.read_text()
    executed.write_text(tour.read_text().replace("seed=1", "seed=2"))
    assert shown() == stored
