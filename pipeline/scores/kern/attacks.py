"""How many notes are struck in a kern file, counted without the reader and without time."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.scores.kern.tokens import without_links

STEPS = dict(zip("cdefgab", (0, 2, 4, 5, 7, 9, 11), strict=True))


@dataclass
class _Column:
    kind: str
    ties: list[list[object]] = field(default_factory=list)  # that its last note leaves open


def count_attacks(text: str) -> list[int]:
    """The notes struck in each piece of a file: in all **kern spines, grace notes too.

    A piece ends where all spines end. Notes that continue a tie are left out. A tie ends at a note
    of its pitch (] or _) that stands no lower than the next note of its own spine, or anywhere
    below where its signs are doubled (]] or __) or linked. Repeats are counted once.
    """
    attacks: list[int] = []
    columns: list[_Column] = []
    distant: list[list[object]] = []  # open ties of doubled signs; a closed tie is emptied
    for line in without_links(text).replace("\r", "\n").split("\n"):
        fields = [name for name in line.rstrip().split("\t") if name]
        if not fields or line[0] in "!=":
            continue
        if not columns:
            columns, distant = [_Column(kind) for kind in fields], []
            attacks.append(0)
        elif line[0] == "*":
            columns = _columns_after(columns, fields)
        else:
            attacks[-1] += _struck(columns, fields, distant)
    return attacks


def _columns_after(columns: list[_Column], fields: list[str]) -> list[_Column]:
    after: list[_Column] = []
    paths = list(zip(columns, fields, strict=False))
    exchanged = [column for column, path in paths if path == "*x"]
    previous = ""
    for column, path in paths:
        if path.startswith("**"):
            after.append(_Column(path))
        elif path == "*x":  # two neighbours: the second comes first
            after.append(exchanged.pop(1 if len(exchanged) % 2 == 0 else 0))
        elif path == "*v" == previous:
            after[-1].ties = after[-1].ties + column.ties
        elif path == "*^":
            after += [_Column(column.kind, column.ties), _Column(column.kind, column.ties)]
        elif path == "*+":
            after += [column, _Column("")]
        elif path != "*-":
            after.append(_Column(column.kind, column.ties))
        previous = path
    return after


def _struck(columns: list[_Column], fields: list[str], distant: list[list[object]]) -> int:
    """The attacks in a record of data; the columns' ties are those after it."""
    attacks = 0
    open_ties = [tie for column in columns for tie in column.ties]
    for column, chord in zip(columns, fields, strict=False):
        notes = [note for note in chord.split() if column.kind == "**kern" and note != "."]
        nearest = column.ties + open_ties
        if any("q" not in note for note in notes):
            column.ties = []
        for note in notes:
            pitch = _pitch(note)
            if pitch is None:
                continue
            fitting = nearest + (distant[::-1] if "]]" in note or "__" in note else [])
            tie = next((tie for tie in fitting if tie == [pitch]), None)
            if tie is not None and ("]" in note or "_" in note) and "q" not in note:
                tie.clear()
            else:
                attacks += 1
            if ("[" in note or "_" in note) and "q" not in note:
                column.ties.append([pitch])
                distant += column.ties[-1:] if "[[" in note or "__" in note else []
    return attacks


def _pitch(note: str) -> int | None:
    letters = [letter for letter in note if letter in "abcdefgABCDEFG"]
    if not letters or "r" in note:
        return None
    octave = len(letters) if letters[0].islower() else 1 - len(letters)
    return 12 * octave + STEPS[letters[0].lower()] + note.count("#") - note.count("-")
