"""MusicXML to a printed score, by MuseScore or LilyPond, whichever is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.runtime.files import new_file

# MuseScore's program has another name in each version and system; the newest first.
MUSESCORE = ("mscore4portable", "musescore4", "musescore", "musescore3", "mscore", "mscore3")
LILYPOND = ("lilypond", "musicxml2ly")  # both are needed, and are installed together
TIME_LIMIT = 300.0  # seconds for a score
DOTS_PER_INCH = 150


@dataclass(frozen=True)
class Engraver:
    """An installed program that prints scores."""

    program: Path
    converter: Path | None = None  # LilyPond's from MusicXML; MuseScore reads it itself

    def engrave(self, musicxml: Path, printed: Path) -> list[Path]:
        """Print the score to `printed`, .pdf or .png; the files written: one PNG for each page.

        Page 2 and so on of NAME.png are NAME-2.png and so on. Raises RuntimeError with the
        last words of the program if it fails.
        """
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder) / "score"
            kind = printed.suffix.removeprefix(".")
            if self.converter:
                self._run(self.converter, "--output", f"{base}.ly", str(musicxml))
                resolution = f"-dresolution={DOTS_PER_INCH}"
                self._run(self.program, f"--{kind}", resolution, "-o", str(base), f"{base}.ly")
            else:
                wanted = f"{base}.{kind}"
                self._run(self.program, "-r", str(DOTS_PER_INCH), "-o", wanted, str(musicxml))
            pages = sorted(Path(folder).glob(f"score*.{kind}"), key=_page)
            if not pages:
                raise RuntimeError(f"{self.program.name} wrote no {kind.upper()} of {musicxml}")
            return [_placed(page, printed, index) for index, page in enumerate(pages, 1)]

    def _run(self, program: Path, *arguments: str) -> None:
        try:
            done = subprocess.run(
                [str(program), *arguments],
                env={"QT_QPA_PLATFORM": "offscreen", **os.environ},  # MuseScore without a display
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIME_LIMIT,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(
                f"{program.name} had not printed the score after {TIME_LIMIT:.0f} s"
            ) from None
        if done.returncode:
            reason = " ".join(done.stderr.split())[-300:] or f"exit code {done.returncode}"
            raise RuntimeError(f"{program.name} could not print the score: {reason}")


def find_engraver() -> Engraver:
    """MuseScore, else LilyPond. Raises ValueError, naming what to install, without either."""
    for name in MUSESCORE:
        if found := shutil.which(name):
            return Engraver(Path(found))
    lilypond, converter = map(shutil.which, LILYPOND)
    if lilypond and converter:
        return Engraver(Path(lilypond), Path(converter))
    raise ValueError(
        "neither MuseScore nor LilyPond is installed, and a printed score (pdf, score.png) needs "
        "one. Install one (Debian, Ubuntu: apt install musescore3, or apt install lilypond), or "
        "ask for --formats musicxml, which every notation program opens"
    )


def _page(path: Path) -> int:
    """The number at the end of a page's name (score-2.png, score-page2.png); 1 without one."""
    digits = path.stem[len(path.stem.rstrip("0123456789")) :]
    return int(digits or 1)


def _placed(page: Path, printed: Path, index: int) -> Path:
    """The path of page `index`, copied there: whole or not at all."""
    numbered = printed if index == 1 else printed.with_name(f"{printed.stem}-{index}.png")
    with new_file(numbered) as partial:
        shutil.copyfile(page, partial)
    return numbered
