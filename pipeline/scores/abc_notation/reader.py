"""The tunes of an ABC file: a score each, or the reason why there is none.

Source: ABC 2.1, https://abcnotation.com/wiki/abc:standard:v2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.scores.abc_notation.attacks import count_attacks
from pipeline.scores.abc_notation.body import read_body
from pipeline.scores.abc_notation.performance import sounding_rows
from pipeline.scores.abc_notation.repeats import playing_orders
from pipeline.scores.abc_notation.tunes import TuneText, split_tunes
from pipeline.scores.abc_notation.voice import Voice
from pipeline.scores.bars import signatures_of_bars
from pipeline.scores.counted_rules import by_repeats
from pipeline.scores.notes import CountError, Refusal, Score
from pipeline.scores.quarters import NotatedRow, score_in_quarters


@dataclass(frozen=True)
class Tune:
    """What a tune of a file gave: its score, perhaps without notes, or why it was refused."""

    number: str  # of its X: field, as written
    line: int  # of the file, counted from 1
    score: Score | None
    refusal: str = ""  # names the construct and the line
    num_attacks: int | None = 0  # by `count_attacks`, repeats not expanded; None: not clear
    num_notes: int | None = None  # that were read, where they differ from `num_attacks`


def decode(contents: bytes) -> str:
    """The text of a file: UTF-8, or Latin-1 as files before ABC 2.0 are. No note depends on it."""
    try:
        return contents.decode("utf-8-sig")
    except UnicodeDecodeError:
        return contents.decode("latin-1")


def read_abc(contents: bytes, *, expand_repeats: bool = False) -> list[Score | Refusal]:
    """The score of each tune of a file, or why it is refused.

    Raises ValueError if the file has no tunes.
    """
    text = decode(contents)
    tunes = read_tunes(text, expand_repeats=expand_repeats)
    if text.strip() and not tunes:
        raise ValueError("not ABC: it has neither a tune number (X:) nor a key (K:)")
    return [tune.score or _refusal(tune) for tune in tunes]


def _refusal(tune: Tune) -> Refusal:
    kind = Refusal.kind if tune.num_notes is None else CountError.kind
    return Refusal(f"X:{tune.number}: {tune.refusal}", kind, tune.num_attacks, tune.num_notes)


def read_tunes(text: str, *, expand_repeats: bool = False) -> list[Tune]:
    """All tunes of an ABC file in its order, read by ABC 2.1.

    - Tied notes are one note; a tie without its other end is ignored.
    - Grace notes come right before the beat, a twelfth of a quarter each, or shorter where the
      piece has no room before it.
    - Repeated sections are read once. With `expand_repeats` they are read as often as they are
      played, endings and the order of parts (P:) included.
    - Accidentals hold for all octaves until the bar line, unless I:propagate-accidentals differs.
    - Each note of a chord has its own length; the first one says when the next note begins.
    - Chord symbols are not played; dynamics and ornaments are not realised.
    - The first tempo (Q:) that is a number is the tempo of the score.
    - `%%MIDI program`, `channel 10`, `transpose`, `ratio` and `nobarlines` have their meaning in
      abc2midi. In the header they are the voice's whose V: stands above them, else all voices'.

    A tune is refused where something that changes notes is not known here or not defined by the
    standard, and where the notes read differ in number from those that `count_attacks` finds.
    """
    tunes = split_tunes(text)
    attacks: list[int | None] = [*count_attacks(text)]
    if len(attacks) != len(tunes):
        attacks = [None] * len(tunes)  # the file is not clear: no tune is believed
    return [
        _read_tune(tune, num_attacks, expand_repeats)
        for tune, num_attacks in zip(tunes, attacks, strict=True)
    ]


def _read_tune(tune: TuneText, num_attacks: int | None, expand_repeats: bool) -> Tune:
    try:
        if tune.error:
            raise tune.error
        body = read_body(tune)
        voices = list(body.voices.values())

        # As written: this is what the count is of.
        as_written = [list(range(len(voice.bars))) for voice in voices]
        rows = _rows(voices, as_written)
        if num_attacks is None:
            raise ValueError("it is not clear where the tunes of the file begin")
        if len(rows) != num_attacks:
            raise CountError(num_attacks, len(rows))

        orders = playing_orders(voices, body.part_order) if expand_repeats else as_written
        if orders != as_written:
            rows = _rows(voices, orders)
        tempos = [(0.0, body.tempo)] if body.tempo else []
        score = replace(
            score_in_quarters(rows, tempos),
            adjustments=by_repeats(num_attacks, len(rows)),
            notes_read=num_attacks,
            time_signatures=signatures_of_bars(
                (voice.bars[place].length, voice.bars[place].metre.written)
                for voice, order in zip(voices[:1], orders, strict=False)
                for place in order
            ),
        )
        return Tune(tune.number, tune.line, score, "", num_attacks)
    except ValueError as error:
        num_notes = getattr(error, "notes_by_reader", None)
        return Tune(tune.number, tune.line, None, str(error), num_attacks, num_notes)


def _rows(voices: Sequence[Voice], orders: Sequence[Sequence[int]]) -> list[NotatedRow]:
    return [
        row
        for voice, order in zip(voices, orders, strict=True)
        for row in sounding_rows(voice.bars, order)
    ]
