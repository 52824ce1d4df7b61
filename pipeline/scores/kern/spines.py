"""The spine paths of a Humdrum file: which token belongs to which spine.

Source: Huron, "The Humdrum User Guide", chapter 5, https://www.humdrum.org/guide/ch05/.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from pipeline.scores.formats import LINE_END

KERN = "**kern"


class KernError(ValueError):
    """A construct that cannot be read, with the number of its line."""

    def __init__(self, line: int, found: str) -> None:
        super().__init__(f"line {line}: {found}")


@dataclass(eq=False)
class Spine:
    """A column of the file, from where it begins to where it is split, joined or ended."""

    kind: str  # its exclusive interpretation: **kern, **dynam, ...; empty just after *+
    part: object = field(default_factory=object)  # the same for all spines split from one
    program: int = 0  # General MIDI program, or DRUMS
    drum_key: int | None = None  # the key of its instrument, where the program is DRUMS
    has_instrument: bool = False
    # Where the next token is due, in quarters. A spine just split, joined or added has no certain
    # place: its first token may start while the last note of its parent still sounds.
    due: Fraction = Fraction(0)
    is_certain: bool = True

    @property
    def is_kern(self) -> bool:
        """Whether its tokens are notes."""
        return self.kind == KERN


Record = tuple[int, list[Spine], list[str]]  # line number, the spines at it, a token of each


def spine_records(text: str) -> Iterator[Record]:
    """Interpretations, bar lines and data of the file in order, comments left out.

    All spines end together where a piece ends, and another piece may begin. A spine's attributes
    may be changed while its record is held: what it is split into inherits them.
    Raises KernError for a record that does not fit the spines, and where the file is cut off.
    """
    spines: list[Spine] = []
    number = 0
    for number, line in enumerate(LINE_END.split(text.rstrip()), 1):
        # Tabs may be repeated, to line up the columns for the eye.
        tokens = [token for token in line.rstrip().split("\t") if token]
        if not tokens or line.startswith("!"):
            continue
        if not spines:
            spines = _first_spines(number, tokens)
        if len(tokens) != len(spines):
            raise KernError(number, f"{len(tokens)} tokens for {len(spines)} spines")
        yield number, spines, tokens
        if tokens[0].startswith("*"):
            spines = _after(number, spines, tokens)
    if spines:
        raise KernError(number, "cut off: the file ends, its spines do not (*-)")


def _first_spines(number: int, tokens: list[str]) -> list[Spine]:
    for token in tokens:
        if not token.startswith("**"):
            raise KernError(number, f"{token[:20]!r}, where a spine must begin (**kern)")
    return [Spine(token) for token in tokens]


def _after(number: int, spines: list[Spine], tokens: list[str]) -> list[Spine]:
    """The spines that a record of interpretations leaves."""
    after: list[Spine] = []
    place = 0
    while place < len(tokens):
        spine, token = spines[place], tokens[place]
        if not token.startswith("*"):
            raise KernError(number, f"{token[:20]!r} in a record of interpretations")
        if token == "*v":
            first = place
            while tokens[place + 1 : place + 2] == ["*v"]:
                place += 1
            after.append(_joined(number, spines[first : place + 1]))
        elif token == "*x":
            if tokens[place + 1 : place + 2] != ["*x"]:
                raise KernError(number, "*x without a neighbour to change places with")
            after += [spines[place + 1], spine]
            place += 1
        elif token == "*^":
            after += [replace(spine, is_certain=False) for _ in range(2)]
        elif token == "*+":
            after += [spine, Spine("", due=spine.due, is_certain=False)]
        elif token.startswith("**"):
            after.append(replace(spine, kind=token))
        elif token != "*-":
            if not spine.kind:
                raise KernError(number, "a spine added by *+ has no exclusive interpretation")
            after.append(spine)
        place += 1
    return after


def _joined(number: int, spines: list[Spine]) -> Spine:
    if len(spines) < 2:
        raise KernError(number, "*v without a neighbour to join")
    kinds = sorted({spine.kind for spine in spines})
    if len(kinds) > 1:
        raise KernError(number, f"*v joins spines of different kinds: {' '.join(kinds)}")
    due = max(spine.due for spine in spines)
    is_certain = all(spine.is_certain and spine.due == due for spine in spines)
    return replace(spines[0], due=due, is_certain=is_certain)
