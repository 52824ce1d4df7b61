"""The SoundFont that FluidSynth plays with: the one asked for, or an installed one."""

from __future__ import annotations

import os
from pathlib import Path

SOUNDFONT_VARIABLE = "SOUNDFONT"
SOUNDFONT_FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
)
# Tried first, in this order; then all other files of the folders, sorted by name.
PREFERRED = ("FluidR3_GM.sf2", "default.sf2", "default-GM.sf2", "TimGM6mb.sf2")
SUFFIXES = (".sf2", ".sf3")


def find_soundfont(asked: Path | None = None, or_else: str = "") -> Path:
    """The SoundFont to play with: the one asked for, else $SOUNDFONT, else an installed one.

    Raises ValueError if it is missing or no SoundFont: another one never replaces the one asked
    for. `or_else` says what else the command can do.
    """
    if asked is not None:
        return _checked(asked, "--soundfont")
    if os.environ.get(SOUNDFONT_VARIABLE):
        return _checked(Path(os.environ[SOUNDFONT_VARIABLE]), f"${SOUNDFONT_VARIABLE}")
    for folder in map(Path, SOUNDFONT_FOLDERS):
        files = sorted(file for file in folder.glob("*") if file.suffix.lower() in SUFFIXES)
        for file in sorted(files, key=_preference):
            if _is_soundfont(file):
                return file
    raise ValueError(
        f"no SoundFont found in {', '.join(SOUNDFONT_FOLDERS)}. Install one (Debian, Ubuntu: "
        f"apt install timgm6mb-soundfont), or name one with ${SOUNDFONT_VARIABLE}{or_else}"
    )


def _checked(path: Path, origin: str) -> Path:
    """The path. Raises ValueError, naming its origin, unless it is a SoundFont."""
    if not path.is_file():
        raise ValueError(f"SoundFont {path} ({origin}) does not exist. Name an .sf2 or .sf3 file")
    if not _is_soundfont(path):
        raise ValueError(
            f"{path} ({origin}) is not a SoundFont: it does not start with RIFF....sfbk. Name an "
            ".sf2 or .sf3 file"
        )
    return path


def _is_soundfont(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            header = stream.read(12)
    except OSError:
        return False
    return header[:4] == b"RIFF" and header[8:] == b"sfbk"


def _preference(file: Path) -> tuple[int, str]:
    """The sort key of a SoundFont: `PREFERRED` first."""
    known = PREFERRED.index(file.name) if file.name in PREFERRED else len(PREFERRED)
    return known, file.name
