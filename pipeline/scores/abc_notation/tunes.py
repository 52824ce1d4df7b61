"""The text of an ABC file -> its tunes: numbered lines without comments, header and body apart."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.scores.formats import LINE_END


class AbcError(ValueError):
    """What cannot be read, and the line of the file that it stands in."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")


class Line(NamedTuple):
    """A line of the file: of music, or of a field."""

    number: int  # counted from 1 in the file
    text: str
    field: str = ""  # the letter before the colon; empty for music


@dataclass
class TuneText:
    """One tune's lines; `error` says why they cannot be read."""

    number: str  # of its X: field
    line: int
    header: list[Line] = field(default_factory=list)  # the file's own header first
    body: list[Line] = field(default_factory=list)
    error: AbcError | None = None


# A line of music may begin with a note and a bar line: `E:|` and `F::` are no fields.
FIELD = re.compile(r"([A-GXZa-gxz](?=:(?![|:]))|[H-WYh-wy+](?=:)):\s*(.*)")
COMMENT = re.compile(r"(?<!\\)%.*")
TEXT_BLOCK = re.compile(r"%%begin(\w+)")
MUSIC_AFTER_THE_END = re.compile(r"[A-Ga-gz][,'\d/]*\s*(\||:\|)|^(\[?V|K):")
# Fields that change notes: their continuation on a `+:` line would do so too.
DECISIVE_FIELDS = frozenset("KLMPQUVmI")


def split_tunes(text: str) -> list[TuneText]:
    """The tunes of a file in its order. A text without X: fields is one tune if it has a key.

    A tune ends at an empty line. What follows up to the next X: is free text by the standard; if it
    looks like music, the tune is refused, since it seems to go on.
    """
    tunes: list[TuneText] = []
    file_header: list[Line] = []
    lines = list(_lines(text))
    if not any(line.field == "X" for line in lines) and any(line.field == "K" for line in lines):
        tunes.append(TuneText("", 1))
    tune = tunes[-1] if tunes else None
    ended = in_key = False
    for line in lines:
        if line.field == "X":
            tune = TuneText(line.text, line.number, header=list(file_header))
            tunes.append(tune)
            ended = in_key = False
        elif tune is None:
            ended = ended or (not line.text and not line.field and bool(file_header))
            if line.field and not ended:
                file_header.append(line)
        elif not line.text and not line.field:
            ended = bool(tune.body or tune.header[len(file_header) :])
        elif ended:
            if tune.error is None and MUSIC_AFTER_THE_END.search(_written(line)):
                tune.error = AbcError(line.number, "music after an empty line, which ends a tune")
        elif in_key:
            tune.body.append(line)
        else:
            tune.header.append(line)
            in_key = line.field == "K"
    return tunes


def _written(line: Line) -> str:
    return f"{line.field}:{line.text}" if line.field else line.text


def _lines(text: str) -> list[Line]:
    """Lines without comments; stylesheet directives (`%%name`) as the `I:name` they stand for."""
    lines: list[Line] = []
    block = ""
    for number, raw in enumerate(LINE_END.split(text.removeprefix("\ufeff").rstrip()), 1):
        written = raw.strip()
        if block:
            if written == f"%%end{block}":
                block = ""
        elif start := TEXT_BLOCK.match(written):
            block = start[1]
        elif written.startswith("%%"):
            lines.append(Line(number, COMMENT.sub("", written[2:]).strip(), "I"))
        elif not written.startswith("%"):
            written = COMMENT.sub("", written).strip()
            found = FIELD.match(written)
            lines.append(Line(number, found[2], found[1]) if found else Line(number, written))
    return lines
