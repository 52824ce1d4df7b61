"""The documentation: no link is broken, and the site opens in Chromium."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chromium import open_browser
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("myst_parser") is None,
    reason="not installed: pip install -e '.[docs]'",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it; a link that leads nowhere ends the build."""
    folder = tmp_path_factory.mktemp("site")
    options = ["-q", "-W", "--keep-going", "-c", "docs", "-d", str(folder / "doctrees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, ".", str(folder / "html")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_no_link_is_broken_and_every_page_is_in_the_contents(site: Path) -> None:
    contents = (site / "docs" / "index.html").read_text()
    pages = ("docs/*.md", "hpc/results/*.md", "notebooks/*.ipynb")
    for page in [page for pattern in pages for page in REPOSITORY.glob(pattern)]:
        if page.stem != "index":
            assert f"{page.stem}.html" in contents


def test_the_readme_stays_short() -> None:
    assert len((REPOSITORY / "README.md").read_text().split()) <= 1000


@pytest.mark.browser
def test_a_reader_goes_from_the_contents_to_the_readme_and_sees_its_picture(
    site: Path, tmp_path: Path
) -> None:
    with open_browser(tmp_path) as browser:
        browser.open(f"file://{site}/docs/index.html")
        browser.take_picture("docs-contents")
        browser.run("document.querySelector('article a[href$=\"README.html\"]').click()")
        browser.wait("return document.title.startsWith('chorale') && document.images.length")
        browser.wait("return [...document.images].every(image => image.naturalWidth > 0)")
        browser.take_picture("docs-readme")
        browser.open(f"file://{site}/docs/two-servers.html")
        assert "dorchester" in browser.run("return document.body.innerText")
        browser.take_picture("docs-two-servers")
