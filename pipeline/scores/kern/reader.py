"""The notes that sound in a Humdrum **kern file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from pipeline.scores.bars import signatures_of_bars
from pipeline.scores.counted_rules import by_repeats
from pipeline.scores.kern.attacks import count_attacks
from pipeline.scores.kern.piece import KernPiece, Strike
from pipeline.scores.kern.repeats import Passage, jumps_in, played_order
from pipeline.scores.kern.spines import KERN, KernError, spine_records
from pipeline.scores.kern.tokens import DISTANT, without_links
from pipeline.scores.notes import DEFAULT_VELOCITY, CountError, Refusal, Score
from pipeline.scores.quarters import Key, NotatedRow, grace_rows, score_in_quarters

UNREAD = ("**mens", "**ekern", "**bekern", "**kern-")  # other spines with notes of their own


def read_kern(path: Path, *, expand_repeats: bool = False) -> list[Score | Refusal]:
    """The pieces of a file; refused is one whose notes differ in number from `count_attacks`.

    Raises ValueError naming what cannot be read and its line.
    """
    contents = path.read_bytes()
    try:
        text = contents.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = contents.decode("latin-1")  # of old files; it concerns the comments only
    attacks, written = count_attacks(text), kern_scores(text)
    if len(written) != len(attacks):
        raise ValueError(f"{len(written)} pieces were read, but the file has {len(attacks)}")
    played = kern_scores(text, expand_repeats=True) if expand_repeats else written
    return [
        _counted(num_attacks, *scores)
        for num_attacks, *scores in zip(attacks, written, played, strict=True)
    ]


def _counted(num_attacks: int, written: Score, played: Score) -> Score | Refusal:
    """The piece as it is played, if it has as many notes as are struck."""
    if written.notes.size != num_attacks:
        return Refusal.of(CountError(num_attacks, written.notes.size))
    repeats = by_repeats(num_attacks, played.notes.size)
    return replace(played, adjustments=repeats, notes_read=num_attacks)


def kern_scores(text: str, *, expand_repeats: bool = False) -> list[Score]:
    """The sounding notes of each piece in the text of a kern file.

    - Spines are split, joined, exchanged, added and ended as the file says; only **kern ones are
      read. A piece ends where all spines end.
    - Notes that start in one record start together. Where durations disagree about when that is,
      the file is refused; so is all that cannot be read, by name and line.
    - Tied notes are one note, within chords and across spines; a doubled sign ([[ and ]]) ties over
      notes in between, and so does a linked one (!!!RDF**kern: N = linked). A tie that leads
      nowhere is no tie.
    - Grace notes (q) come right before the beat, a twelfth of a quarter each, or shorter where the
      piece has no room before it. Cue-sized notes (Q, *cue) and hidden ones (yy) sound.
    - Pitches are those written: kern notates transposing instruments as they sound.
    - A spine has the program of its instrument (*I, else *IC) in force, else 0; a drum sounds on
      its own percussion key.
    - What stands between repeat signs is played once, or as often as the expansion list (*>[...])
      or else the signs say with `expand_repeats`.
    - Dynamics and ornaments are not realised. The first tempo (*MM) is the score's, of several at
      one time the last.
    """
    scores: list[Score] = []
    piece = KernPiece()
    jumps = jumps_in(text) if expand_repeats else []
    kinds: set[str] = set()
    for line, spines, tokens in spine_records(without_links(text)):
        for kind in {spine.kind for spine in spines} - kinds:
            if kind.startswith(UNREAD):
                raise KernError(line, f"a spine of kind {kind}, whose notes are not read")
            kinds.add(kind)
        if all(token == "*-" for token in tokens):
            end = max((spine.due for spine in spines if spine.is_kern), default=Fraction(0))
            own_jumps = [jump for jump in jumps if jump[0] <= line]
            scores.append(_score(piece, end, own_jumps, expand_repeats=expand_repeats))
            piece, jumps = KernPiece(), jumps[len(own_jumps) :]
        elif tokens[0].startswith("*"):
            piece.interpret(line, spines, tokens)
        elif tokens[0].startswith("="):
            piece.pass_bar(line, spines, tokens)
        else:
            piece.strike(line, spines, tokens)
    if KERN not in kinds:
        raise ValueError(f"no {KERN} spine in it, but {' '.join(sorted(kinds)) or 'no spine'}")
    return scores


def _score(
    piece: KernPiece, end: Fraction, jumps: list[tuple[int, str]], *, expand_repeats: bool
) -> Score:
    passages = [Passage(0, len(piece.strikes), Fraction(0), end)]
    if expand_repeats:
        passages = played_order(piece.marks, len(piece.strikes), end, jumps)
    score = score_in_quarters(_rows(_played(piece, passages)), piece.tempos)
    bars = piece.bars(end)
    return replace(
        score,
        time_signatures=signatures_of_bars(
            (min(stop, passage.end) - max(start, passage.start), metre)
            for passage in passages
            for start, stop, metre in bars
            if start < passage.end and stop > passage.start
        ),
    )


def _played(piece: KernPiece, passages: Iterable[Passage]) -> Iterator[Strike]:
    start = Fraction(0)
    for passage in passages:
        for strike in piece.strikes[passage.first : passage.stop]:
            yield strike._replace(onset=strike.onset - passage.start + start)
        start += passage.end - passage.start


class _Tie(NamedTuple):
    row: int  # of the note that it begins at
    part: object
    reach: int


def _rows(strikes: Iterable[Strike]) -> list[NotatedRow]:
    """One row for each note that is struck."""
    rows: list[NotatedRow] = []
    ties: dict[int, list[_Tie]] = defaultdict(list)  # those still open, by pitch
    graces: dict[tuple[object, Fraction], dict[int, list[Key]]] = {}
    for strike in strikes:
        if not strike.length:
            chords = graces.setdefault((strike.part, strike.onset), {})
            key = (strike.program, strike.pitch, DEFAULT_VELOCITY)
            chords.setdefault(strike.line, []).append(key)
            continue
        place = _tied_from(rows, ties[strike.pitch], strike) if strike.ends_tie else None
        if place is None:
            place = len(rows)
            rows.append(
                (strike.onset, strike.program, strike.pitch, strike.length, DEFAULT_VELOCITY)
            )
        else:
            onset, program, pitch, _, velocity = rows[place]
            length = strike.onset + strike.length - onset
            rows[place] = (onset, program, pitch, length, velocity)
        if strike.begins_tie:
            ties[strike.pitch].append(_Tie(place, strike.part, strike.begins_tie))
    for (_, beat), chords in graces.items():
        rows += grace_rows({beat: list(chords.values())})
    return rows


def _tied_from(rows: list[NotatedRow], ties: list[_Tie], strike: Strike) -> int | None:
    """The row of the open tie that ends at this note, in its own part if there is one."""

    def end(tie: _Tie) -> Fraction:
        return rows[tie.row][0] + rows[tie.row][3]

    fitting = [tie for tie in ties if end(tie) == strike.onset]
    if not fitting and strike.ends_tie == DISTANT:
        fitting = [tie for tie in reversed(ties) if tie.reach == DISTANT]
    if not fitting:
        return None
    tie = min(fitting, key=lambda tie: tie.part is not strike.part)
    ties.remove(tie)
    return tie.row
