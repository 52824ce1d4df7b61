"""The files that generate.py reads and will write: looked at before anything is composed."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from pipeline.scores.formats import SCORE_SUFFIXES


def piece_name(index: int) -> str:
    """The name of the files of a piece, without suffix; `index` counts from 0."""
    return f"piece-{index + 1:03d}"


def files_to_write(flags: argparse.Namespace) -> list[Path]:
    """The files that the flags ask for; of a printed score the first page."""
    files = [path for path in (flags.json, flags.page) if path]
    if flags.live:
        return [*files, *([sound] if (sound := live_sound(flags)) else [])]
    names = [piece_name(index) for index in range(flags.num_pieces)]
    return [flags.out / f"{name}.{kind}" for name in names for kind in flags.formats] + files


def live_sound(flags: argparse.Namespace) -> Path | None:
    """The sound file that --live synth writes; None where it plays to a sound card."""
    if flags.live != "synth" or flags.audio_driver != "file":
        return None
    sound: Path = flags.audio_file or flags.out / "live.wav"
    return sound


def input_files(flags: argparse.Namespace) -> dict[str, Path]:
    """The score files that exist and are read, by their flags."""
    # --primer may be notes, and --input a port.
    names = ("infill", "given", "primer", "input")
    paths = {f"--{name}": Path(getattr(flags, name) or "") for name in names}
    return {
        flag: path
        for flag, path in paths.items()
        if path.suffix.lower() in SCORE_SUFFIXES and path.is_file()
    }


def keep_inputs(flags: argparse.Namespace) -> None:
    """Raise ValueError where a file that would be written is one that a flag names as its input."""
    for name, path in input_files(flags).items():
        for written in files_to_write(flags):
            if written.exists() and written.samefile(path):
                another = _another(flags, written)
                raise ValueError(f"{name} {path} would be overwritten: name {another}")


def require_folders(flags: argparse.Namespace) -> None:
    """Raise ValueError unless files can be written where the flags say; nothing is left there.

    A folder that is missing is made later: the one in which it will be made is looked at.
    """
    for written in files_to_write(flags):
        for folder in written.parents:
            try:
                if folder.exists() and not folder.is_dir():
                    raise NotADirectoryError("it is a file, and a folder is needed")
                if folder.is_dir():
                    tempfile.TemporaryFile(dir=folder).close()
                    break
            except OSError as error:
                reason = error.strerror or error
                raise ValueError(
                    f"{written.name} cannot be written to {folder} ({reason}): name "
                    f"{_another(flags, written)}"
                ) from None


def _another(flags: argparse.Namespace, written: Path) -> str:
    """What to name in place of a file that cannot be written, and with which flag."""
    named = {
        flags.json: "another file with --json",
        flags.page: "another file with --page",
        flags.audio_file: "another file with --audio-file",
    }
    return named.get(written, "another folder with --out")
