"""The order in which the sections of a kern piece are played.

Sections and expansion lists: https://www.humdrum.org/man/thru/. A repeat sign at a bar line is
orthography only (https://www.humdrum.org/rep/kern/, 3.4), and decides where no list does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from pipeline.scores.formats import LINE_END
from pipeline.scores.jump_words import JUMP_WORDS
from pipeline.scores.kern.spines import KernError

LIST = re.compile(r"\*>([^\[\]]*)\[(.*)\]")
ENDS = re.compile(r"=[^|!:]*:")  # a colon before the lines of a bar ends a repeat


class Mark(NamedTuple):
    """Something between two records of notes that decides what is played next."""

    line: int
    token: str
    place: int  # how many strikes stand before it
    quarter: Fraction | None  # None where notes sound on across it


class Passage(NamedTuple):
    """Strikes that are played in a row."""

    first: int
    stop: int
    start: Fraction
    end: Fraction


def marks_of(line: int, tokens: Sequence[str], place: int, dues: set[Fraction]) -> list[Mark]:
    """The marks of a record, given its kern tokens and where these spines are due next."""
    found = [token for token in dict.fromkeys(tokens) if _is_mark(token)]
    quarter = dues.copy().pop() if len(dues) == 1 else None
    return [Mark(line, token, place, quarter) for token in found]


def _is_mark(token: str) -> bool:
    return token.startswith("*>") or (token.startswith("=") and ":" in token)


def jumps_in(text: str) -> list[tuple[int, str]]:
    """Line and words of each printed text that speaks of a da capo or dal segno.

    Texts are layout comments (!LO:TX): https://doc.verovio.humdrum.org/humdrum/text_directions/.
    """
    lines = enumerate(LINE_END.split(text), 1)
    texts = ((number, line) for number, line in lines if re.match(r"!{1,2}(?!!).*\bLO:TX", line))
    return [(number, found[0]) for number, line in texts if (found := JUMP_WORDS.search(line))]


def played_order(
    marks: Sequence[Mark], num_strikes: int, end: Fraction, jumps: Sequence[tuple[int, str]] = ()
) -> list[Passage]:
    """The passages of a piece in the order in which they are played.

    An expansion list without a name decides. Where there is none, what stands between repeat signs
    is played twice; one without its beginning goes back to the last repeat sign, or to the piece's
    start. Raises KernError naming what cannot be followed.
    """
    lists = [mark for mark in marks if LIST.fullmatch(mark.token)]
    labels = [mark for mark in marks if mark.token.startswith("*>") and mark not in lists]
    signs = [mark for mark in marks if mark.token.startswith("=")]
    last = Mark(0, "", num_strikes, end)
    if lists:
        return _by_list(lists, labels, last)
    if jumps:
        raise KernError(
            jumps[0][0],
            f"{jumps[0][1]} with --expand-repeats, but no expansion list (*>[...]) says which "
            "sections it plays",
        )
    if labels and signs:
        raise KernError(
            labels[0].line,
            f"section label {labels[0].token} and repeat signs, but no expansion list (*>[...]): "
            "which sections are endings is not said",
        )
    return _by_signs(signs, last)


def _by_list(lists: Sequence[Mark], labels: Sequence[Mark], last: Mark) -> list[Passage]:
    unnamed = [(mark, found[2]) for mark in lists if not (found := _list_parts(mark))[1]]
    if len(unnamed) != 1:
        raise KernError(lists[0].line, f"{len(unnamed)} expansion lists without a name (*>[...])")
    if labels and labels[0].place:
        raise KernError(labels[0].line, f"notes before the first section, {labels[0].token}")
    sections: dict[str, Passage] = {}
    for label, following in zip(labels, [*labels[1:], last], strict=True):
        name = label.token[2:]
        if name in sections:
            raise KernError(label.line, f"a second section {name!r}")
        sections[name] = _passage(label, following)
    mark, names = unnamed[0]
    for name in names.split(","):
        if name not in sections:
            raise KernError(mark.line, f"{mark.token} names {name!r}, which no section label does")
    return [sections[name] for name in names.split(",")]


def _list_parts(mark: Mark) -> re.Match[str]:
    found = LIST.fullmatch(mark.token)
    assert found
    return found


def _by_signs(signs: Sequence[Mark], last: Mark) -> list[Passage]:
    passages: list[Passage] = []
    begin = Mark(0, "", 0, Fraction(0))
    for sign in signs:
        passages.append(_passage(begin, sign))
        if ENDS.match(sign.token):
            passages.append(passages[-1])
        begin = sign
    return [*passages, _passage(begin, last)]


def _passage(begin: Mark, end: Mark) -> Passage:
    for mark in (begin, end):
        if mark.quarter is None:
            raise KernError(mark.line, f"notes sound on across {mark.token}, where it repeats")
    assert begin.quarter is not None
    assert end.quarter is not None
    return Passage(begin.place, end.place, begin.quarter, end.quarter)
