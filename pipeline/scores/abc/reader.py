"""ABC text -> tunes: a score each, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.scores.abc.body import read_body
from pipeline.scores.abc.performance import score_of_rows, sounding_rows
from pipeline.scores.abc.repeats import playing_orders
from pipeline.scores.abc.tunes import TuneText, split_tunes
from pipeline.scores.notes import Score


@dataclass(frozen=True)
class Tune:
    """What a tune of a file gave: its score, perhaps without notes, or why it was refused."""

    number: str  # of its X: field, as written
    line: int  # of the file, counted from 1
    score: Score | None
    refusal: str = ""  # names the construct and the line


def decode(contents: bytes) -> str:
    """The text of a file: UTF-8, or Latin-1 as files before ABC 2.0 are. No note depends on it."""
    try:
        return contents.decode("utf-8-sig")
    except UnicodeDecodeError:
        return contents.decode("latin-1")


def read_tunes(text: str, *, expand_repeats: bool = False) -> list[Tune]:
    """All tunes of an ABC file in its order, by ABC 2.1.

    - Tied notes are one note; grace notes come right before the beat, as `sounding_rows` says.
    - What stands between repeat signs is played once, or as often as the signs and the order of
      parts say with `expand_repeats`.
    - Chord symbols are not played, dynamics and ornaments not realised.
    - The first tempo (Q:) in numbers is the score's.
    - `%%MIDI program`, `channel 10`, `transpose` and `ratio` are obeyed as by abc2midi.
    - What changes notes and is not known here refuses the tune: `refusal` says what and where.
    """
    return [_read_tune(tune, expand_repeats) for tune in split_tunes(text)]


def _read_tune(tune: TuneText, expand_repeats: bool) -> Tune:
    try:
        if tune.error:
            raise tune.error
        body = read_body(tune)
        voices = list(body.voices.values())
        if expand_repeats:
            orders = playing_orders(voices, body.part_order)
        else:
            orders = [list(range(len(voice.bars))) for voice in voices]
        rows = [
            row
            for voice, order in zip(voices, orders, strict=True)
            for row in sounding_rows(voice.bars, order)
        ]
        return Tune(tune.number, tune.line, score_of_rows(rows, body.tempo))
    except ValueError as error:
        return Tune(tune.number, tune.line, None, str(error))
