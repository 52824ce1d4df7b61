"""The flags of model/generate.py, and the refusal of what no piece can be made with."""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from model.rendering.formats import DEFAULT_FORMATS, FORMATS, parse_formats
from pipeline.runtime.command import described_parser, flag_type
from pipeline.scores.labels import Features
from pipeline.vocabulary.conditions import parse_chords, parse_emotion, parse_key

SLOWEST, FASTEST = 4.0, 1000.0  # quarters a minute; MIDI says no tempo slower than 3.6
LIBRARIES = ("mido", "midi2audio", "music21")  # the extra `compose`: absent on a training node


def parse_arguments(argv: Sequence[str] | None, doc: str) -> argparse.Namespace:
    """The flags; `doc` is the command's description."""
    parser = described_parser(doc)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", nargs="?", help="a run folder or a checkpoint")
    add("--seed", type=int, help="the same seed gives the same pieces (default: a new one, told)")
    add("--temperature", type=float, default=1.0, help="0: the likeliest token (default: 1)")
    apart = "; whether a grid model ends is left to it"
    add("--top-k", type=int, default=0, help=f"choose among so many tokens (default: all){apart}")
    add("--top-p", type=float, default=1.0, help=f"among the likeliest of this probability{apart}")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--length-tokens", type=int, metavar="N", help="at most N tokens")
    length.add_argument("--bars", type=int, metavar="N", help="exactly N bars")
    length.add_argument("--seconds", type=float, metavar="S", help="exactly S seconds")
    add("--beats-per-bar", type=int, default=4, help="quarters in a bar (default: 4)")
    add("--tempo", type=float, help="quarters a minute (default: the primer's, else 100)")
    add("--primer", help="a score file to go on from, or notes: 'C4 E4 G4'")
    add("--given", type=Path, metavar="FILE", help="a score file of one voice: compose the others")
    add("--given-voice", default="1", metavar="NAME", help="soprano ... or 1 ... (the highest, 1)")
    _add_wishes(parser.add_argument_group("what a model trained with --conditions may be asked"))
    add("--soundfont", type=Path, help="default: $SOUNDFONT, else an installed one")
    add("--json", type=Path, help="write the result here for programs")
    _add_files(parser.add_argument_group("pieces as files"))
    _add_live(parser.add_argument_group("played while they are composed"))
    flags = parser.parse_args(_emotion_joined(sys.argv[1:] if argv is None else argv))
    if flags.run is None and not flags.list_ports:
        parser.error("which run? Give a run folder or a checkpoint")
    if flags.input and not flags.live:
        parser.error("--input is answered by --live OUTPUT")
    if flags.given and (flags.key or flags.emotion or flags.chords):
        parser.error("--given is for models of voices: they cannot be asked for key or chords")
    if flags.given and (flags.live or flags.primer is not None):
        parser.error("--given composes whole pieces: it does not go with --live or --primer")
    if flags.given and (flags.length_tokens or flags.bars or flags.seconds):
        parser.error("with --given a piece is as long as the given voice; leave the length out")
    try:
        flags.formats = parse_formats(flags.formats)
    except ValueError as error:
        parser.error(f"--formats: {error}")
    if flags.no_wav:
        flags.formats = tuple(kind for kind in flags.formats if kind != "wav")
    if not flags.formats:
        parser.error("--no-wav leaves none of the --formats")
    if flags.page and (flags.live or "wav" not in flags.formats):
        parser.error("--page plays the pieces' sound: it goes with wav files, not with --live")
    if flags.live and flags.length_tokens:
        parser.error("--live stops by --bars, --seconds, q or Ctrl-C, not by --length-tokens")
    return flags


def _add_wishes(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--key", type=flag_type(parse_key), help="'A minor', Bb, f#m; --tempo is asked for, too")
    add(
        "--emotion",
        type=flag_type(parse_emotion),
        metavar="V,A",
        help="valence and arousal, each -1 to 1; of both the sign counts, 0 is no wish",
    )
    add(
        "--chords",
        type=flag_type(parse_chords),
        metavar="'C G Am F'",
        help="a symbol a bar, again and again; N.C. is no wish",
    )
    add("--chords-per", choices=("bar", "beat"), default="bar", help="(default: bar)")


def _emotion_joined(argv: Sequence[str]) -> list[str]:
    """'--emotion -1,1' as one word: argparse takes what begins with a minus for a flag."""
    words = list(argv)
    for place in range(len(words) - 1, 0, -1):
        if words[place - 1] == "--emotion" and re.match(r"-[\d.]", words[place]):
            words[place - 1 : place + 1] = [f"--emotion={words[place]}"]
    return words


def wishes_of(flags: argparse.Namespace, conditions: Sequence[str]) -> Features:
    """What the flags ask of a model with these conditions.

    The tempo is a wish only to a model that knows tempos; music has one anyhow.
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


def _add_files(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--out", type=Path, default=Path("out"), help="folder for the pieces (default: out)")
    add("--num-pieces", type=int, default=1, help="composed side by side (default: 1)")
    add(
        "--formats",
        default=",".join(DEFAULT_FORMATS),
        metavar="NAME,...",
        help=f"of {', '.join(FORMATS)}; png is the piano roll (default: %(default)s)",
    )
    add("--no-wav", action="store_true", help="write no sound")
    add("--page", type=Path, metavar="FILE", help="a page to see and hear the pieces (.html)")
    add("--data", type=Path, help="print music metrics beside those of this data set's pieces")


def _add_live(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--live",
        metavar="OUTPUT",
        help="stdout (a JSON line an event), port:NAME or virtual:NAME (MIDI), synth (FluidSynth)",
    )
    add("--look-ahead", type=float, default=2.0, metavar="S", help="seconds composed ahead (2)")
    add("--audio-driver", metavar="NAME", help="synth: FluidSynth's (pulseaudio, alsa, file, ...)")
    add("--audio-file", type=Path, metavar="FILE", help="what driver file writes (out/live.wav)")
    add("--list-ports", action="store_true", help="print the MIDI ports and end")
    add("--input", metavar="PORT|FILE", help="answer the phrases played there, bar for bar")


def check(flags: argparse.Namespace) -> None:
    """Refuse what no piece can be made with, before anything slow begins."""
    needed = ("mido",) if flags.live and not (flags.primer or flags.input) else LIBRARIES
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"{', '.join(missing)} not installed; composing needs it. Run: pip install '.[compose]'"
        )
    for name in ("num_pieces", "beats_per_bar", "bars", "length_tokens"):
        value = getattr(flags, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} is {value}; it must be 1 or more")
    if flags.seconds is not None and not 0 < flags.seconds < 24 * 3600:
        raise ValueError(f"--seconds is {flags.seconds:g}; it must be above 0 and below a day")
    if flags.tempo is not None and not SLOWEST <= flags.tempo <= FASTEST:
        raise ValueError(
            f"--tempo is {flags.tempo:g} quarters a minute; it must be {SLOWEST:g} to {FASTEST:g}"
        )
    if not 0.05 <= flags.look_ahead <= 60:
        raise ValueError(f"--look-ahead is {flags.look_ahead:g} s; it must be 0.05 to 60")
