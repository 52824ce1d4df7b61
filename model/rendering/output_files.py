"""The files that generate.py reads and will write: looked at before anything is composed."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.runtime.files import fresh_path
from pipeline.runtime.tables import print_line
from pipeline.scores.formats import SCORE_SUFFIXES

OUT = Path("out")
PIECE, LIVE = "piece-", "live.wav"  # how the names of pieces begin; what --audio-driver file writes


def piece_name(index: int) -> str:
    """The name of the files of a piece, without suffix; `index` counts from 0."""
    return f"{PIECE}{index + 1:03d}"


def choose_folder(flags: argparse.Namespace) -> None:
    """Set `out`, unless --out is given, to a folder without music of an earlier call.

    `another_folder` is then the line that names it, where it is not the usual one; else empty.
    """
    flags.another_folder = ""
    if flags.out is not None:
        return
    music = LIVE if flags.live else f"{PIECE}*"
    flags.out = fresh_path(OUT, lambda folder: any(folder.glob(music)))
    if flags.out != OUT and any(path.parent == flags.out for path in files_to_write(flags)):
        what = LIVE if flags.live else "pieces"
        flags.another_folder = (
            f"{OUT} holds {what} of an earlier call: this one writes to {flags.out}"
        )


def warn_of_replacing(files: Sequence[Path]) -> None:
    """Say on stderr which of the files exist: before anything is written, Ctrl-C still helps."""
    found = [path for path in files if path.exists()]
    if not found:
        return
    names = [str(found[0]), *(path.name for path in found[1:])]
    if len(names) > 3:
        names = [*names[:2], f"{len(names) - 2} more files"]
    shown = " and ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])
    print_line(
        f"warning: {shown} of an earlier call will be replaced; Ctrl-C keeps what is there",
        sys.stderr,
    )


def files_to_write(flags: argparse.Namespace) -> list[Path]:
    """The files that the flags ask for; of a printed score the first page."""
    files = [path for path in (flags.json, flags.page) if path]
    if flags.live:
        return [*files, *([sound] if (sound := live_sound(flags)) else [])]
    names = [piece_name(index) for index in range(flags.num_pieces)]
    return [flags.out / f"{name}.{kind}" for name in names for kind in flags.formats] + files


def is_recorded(flags: argparse.Namespace) -> bool:
    """Does --live synth write a sound file, in place of playing to a sound card?"""
    return bool(flags.live == "synth" and flags.audio_driver == "file")


def live_sound(flags: argparse.Namespace) -> Path | None:
    """The sound file that --live synth writes; None where it writes none."""
    if not is_recorded(flags):
        return None
    sound: Path = flags.audio_file or flags.out / LIVE
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
