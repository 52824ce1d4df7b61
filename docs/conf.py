"""Sphinx: the site of README, docs/ and the results, as `make docs` builds it."""

project = "chorale"
root_doc = "docs/index"
# Pages lie where GitHub shows them, so that their links are the same in both places.
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/**.md",
    "hpc/results/*.md",
    "model/pretrained/chorales/README.md",
]
exclude_patterns = [".*", "data", "runs", "out", "build"]
extensions = ["myst_parser"]
myst_heading_anchors = 4
highlight_language = "text"
html_theme = "furo"
html_title = project
