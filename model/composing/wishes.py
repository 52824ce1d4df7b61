"""The flags by which a user asks for a key, an emotion, chords or a metre."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from fractions import Fraction

from pipeline.runtime.command import flag_type
from pipeline.scores.bars import bar_length
from pipeline.scores.labels import Features
from pipeline.vocabulary.conditions import (
    metre_of,
    parse_chords,
    parse_emotion,
    parse_key,
    parse_metre,
)


def add_wish_flags(group: argparse._ArgumentGroup) -> None:
    """Add --key, --emotion, --chords, --chords-per and --metre."""
    add = group.add_argument
    add("--key", type=flag_type(parse_key), help="'A minor', Bb, f#m; --tempo is a condition too")
    add(
        "--emotion",
        type=flag_type(parse_emotion),
        metavar="V,A",
        help="valence and arousal, each -1 to 1; only the sign counts, 0 is no wish",
    )
    add(
        "--chords",
        type=flag_type(parse_chords),
        metavar="'C G Am F'",
        help="a symbol a bar, repeated; N.C. is no wish",
    )
    add("--chords-per", choices=("bar", "beat"), default="bar", help="(default: bar)")
    add("--metre", type=flag_type(parse_metre), metavar="6/8", help="the time signature")


def join_emotion(argv: Sequence[str]) -> list[str]:
    """The arguments with '--emotion -1,1' as one word: argparse takes '-1,1' for a flag."""
    words = list(argv)
    for place in range(len(words) - 1, 0, -1):
        if words[place - 1] == "--emotion" and re.match(r"-[\d.]", words[place]):
            words[place - 1 : place + 1] = [f"--emotion={words[place]}"]
    return words


def check_metre(flags: argparse.Namespace) -> None:
    """Raise ValueError if --metre and --beats-per-bar differ, or --live cannot count its bars."""
    if not flags.metre:
        return
    quarters = bar_length(*metre_of(flags.metre))
    if flags.beats_per_bar not in (None, quarters):
        raise ValueError(
            f"--metre {flags.metre} has bars of {float(quarters):g} quarters, and --beats-per-bar "
            f"is {flags.beats_per_bar}: leave --beats-per-bar out"
        )
    if flags.live and quarters.denominator > 1:
        raise ValueError(
            f"--metre {flags.metre}: --live counts bars in whole quarters, and these have "
            f"{float(quarters):g}. Ask for another metre, or write files"
        )


def quarters_per_bar(flags: argparse.Namespace) -> Fraction:
    """The quarters in a bar of the metre asked for, else of --beats-per-bar."""
    return bar_length(*metre_of(flags.metre)) if flags.metre else Fraction(flags.beats_per_bar)


def wishes_of(flags: argparse.Namespace, conditions: Sequence[str]) -> Features:
    """The wishes of the flags for a model with these conditions.

    The tempo is a wish only for a model with that condition; every piece has a tempo anyway.
    """
    valence, arousal = flags.emotion or (None, None)
    eighths = 2 * (quarters_per_bar(flags) if flags.chords_per == "bar" else 1)
    if flags.chords and eighths.denominator > 1:
        raise ValueError(
            f"--metre {flags.metre}: its bars are no whole number of eighths, on which chords "
            "change. Use --chords-per beat, or another metre"
        )
    return Features(
        key=flags.key,
        tempo=flags.tempo if "tempo" in conditions else None,
        valence=valence or None,
        arousal=arousal or None,
        chords=tuple(symbol for symbol in flags.chords or () for _ in range(int(eighths))),
        metre=flags.metre,
    )
