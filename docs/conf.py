"""Sphinx: the site of README, docs/, notebooks/ and the results, as `make docs` builds it."""

import json
from pathlib import Path

from sphinx.application import Sphinx

project = "chorale"
root_doc = "docs/index"
# Pages lie where GitHub shows them, so that their links are the same in both places.
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/**.md",
    "notebooks/*.ipynb",
    "hpc/results/*.md",
    "model/pretrained/chorales/README.md",
]
exclude_patterns = [".*", "data", "runs", "out", "build"]
extensions = ["myst_nb"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # make notebooks executes them: that trains for minutes
nb_render_markdown_format = "myst"  # its default knows no tables
highlight_language = "text"
html_theme = "furo"
html_title = project


def with_outputs(app: Sphinx, page: str, source: list[str]) -> None:
    """Show a notebook with the outputs of make notebooks, if its cells are still the same."""
    executed = Path(app.srcdir, "build", page).with_suffix(".ipynb")
    if not page.startswith("notebooks/") or not executed.is_file():
        return
    books = [json.loads(text) for text in (source[0], executed.read_text())]
    cells = [[cell["source"] for cell in book["cells"]] for book in books]
    if cells[0] == cells[1]:
        source[0] = executed.read_text()


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", with_outputs)
