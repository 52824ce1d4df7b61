"""The formats of a composed piece, by the ends of the files' names."""

from __future__ import annotations

from pipeline.runtime.command import meant

DEFAULT_FORMATS = ("mid", "wav", "png")  # png: the piano roll
SOUND = ("wav", "mp3")
PRINTED = ("pdf", "score.png")  # need MuseScore or LilyPond
FORMATS = (*DEFAULT_FORMATS, "mp3", "musicxml", *PRINTED)


def parse_formats(text: str) -> tuple[str, ...]:
    """The formats of a list like 'mid,wav', in the order in which they are written.

    Raises ValueError naming one that is unknown.
    """
    asked = [name.strip() for name in text.split(",")]
    if unknown := [name for name in asked if name not in FORMATS]:
        close = meant(unknown[0], FORMATS)
        raise ValueError(f"no format {unknown[0]!r}; there are {', '.join(FORMATS)}{close}")
    return tuple(name for name in FORMATS if name in asked)
