"""Where a result comes from: the program's version and commit, the versions of libraries."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

VERSION = "0.1.0"  # setup.cfg reads it here, for the distribution
REPOSITORY = Path(__file__).resolve().parents[2]  # installed from a wheel: site-packages
SHIPPED = ("model/pretrained", "hpc/presets")  # data that comes with the program


def shipped(path: Path) -> Path:
    """`path` as it is; if nothing is there and it names data of the program, where that lies.

    So `model/pretrained/chorales` can be opened from any directory, and after `pip install`.
    """
    is_ours = any(path.is_relative_to(folder) for folder in SHIPPED)
    return REPOSITORY / path if is_ours and not path.exists() else path


def version_line() -> str:
    """The program's version and commit, its folder, and the Python that runs it."""
    commit_found = commit()
    known = f" (commit {commit_found})" if commit_found != "unknown" else ""
    return (
        f"chorale {VERSION}{known} in {REPOSITORY}, Python {platform.python_version()} "
        f"({sys.executable})"
    )


def commit() -> str:
    """The first 12 digits of the program's commit, and '+' where files differ from it.

    'unknown' where git is missing or the program does not lie in a repository of its own.
    """
    if not (REPOSITORY / ".git").exists():  # git would find a repository around site-packages
        return "unknown"
    git = ["git", "-C", str(REPOSITORY)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True
        )
    except OSError:
        return "unknown"
    if head.returncode:
        return "unknown"
    return head.stdout.strip()[:12] + ("+" if changed.stdout.strip() else "")


def advice_on_commits(commits: Collection[str]) -> str:
    """What to do about hosts with different commits, as `commit` names them."""
    if len({found.removesuffix("+") for found in commits}) > 1:
        return "check the same commit out on every host"
    return "files were changed where the commit ends in +: git status there"


@functools.cache  # 10 ms in site-packages, as much as all the rest of a small write
def library_versions() -> dict[str, str]:
    """Versions of Python and of the installed libraries that influence a result."""
    versions = {"python": platform.python_version()}
    for name in ("tensorflow", "keras", "horovod", "numpy", "music21"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
