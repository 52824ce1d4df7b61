"""Where a result comes from: the commit and the versions of libraries."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def commit() -> str:
    """The first 12 digits of the program's commit, and '+' where files differ from it.

    'unknown' where git is missing or the program does not lie in a repository.
    """
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
