"""The flags by which a user asks for a key, an emotion or chords."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from pipeline.runtime.command import flag_type
from pipeline.scores.labels import Features
from pipeline.vocabulary.conditions import parse_chords, parse_emotion, parse_key


def add_wish_flags(group: argparse._ArgumentGroup) -> None:
    """Add --key, --emotion, --chords and --chords-per."""
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


def join_emotion(argv: Sequence[str]) -> list[str]:
    """The arguments with '--emotion -1,1' as one word: argparse takes '-1,1' for a flag."""
    words = list(argv)
    for place in range(len(words) - 1, 0, -1):
        if words[place - 1] == "--emotion" and re.match(r"-[\d.]", words[place]):
            words[place - 1 : place + 1] = [f"--emotion={words[place]}"]
    return words


def wishes_of(flags: argparse.Namespace, conditions: Sequence[str]) -> Features:
    """The wishes of the flags for a model with these conditions.

    The tempo is a wish only for a model with that condition; every piece has a tempo anyway.
    """
    valence, arousal = flags.emotion or (None, None)
    eighths = 2 * (flags.beats_per_bar if flags.chords_per == "bar" else 1)
    return Features(
        key=flags.key,
        tempo=flags.tempo if "tempo" in conditions else None,
        valence=valence or None,
        arousal=arousal or None,
        chords=tuple(symbol for symbol in flags.chords or () for _ in range(eighths)),
    )
