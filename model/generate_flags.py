"""The flags of `generate.py`: what they are, and which combinations and values are refused."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model.composing.wishes import add_wish_flags, check_metre, join_emotion
from model.live.session import add_live_flags
from model.rendering.formats import SOUND, parse_formats
from model.rendering.output_files import is_recorded
from model.rendering.write_pieces import add_file_flags, require_libraries
from pipeline.runtime.command import described_parser, flag_type
from pipeline.scores.formats import SCORE_SUFFIXES
from pipeline.scores.metre import MOST_BEATS
from pipeline.scores.midi.writer import FASTEST, SLOWEST

# The extra `compose`: absent on a training node.
LIBRARIES = ("mido", "midi2audio", "music21", "soundfile")
LONGEST_SECONDS = 24 * 3600
SHORTEST_LOOK_AHEAD, LONGEST_LOOK_AHEAD = 0.05, 60.0  # seconds


def parse_arguments(argv: Sequence[str] | None, text: str | None = None) -> argparse.Namespace:
    """The flags; ends the program for flags that do not go together. `text` is what --help says."""
    parser = described_parser(text)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", nargs="?", help="a run folder or a checkpoint")
    add("--seed", type=int, help="the same seed gives the same pieces (default: a new one)")
    add("--temperature", type=float, default=1.0, help="0: the likeliest token (default: 1)")
    apart = "; does not apply to the end of a grid model's piece"
    add("--top-k", type=int, default=0, help=f"the K likeliest tokens (default: all){apart}")
    add("--top-p", type=float, default=1.0, help=f"the likeliest of this total probability{apart}")
    guidance = "of a model of frames: ranges, keys and parallel motion count G times (default: 1)"
    add("--guidance", type=float, default=1.0, metavar="G", help=guidance)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--length-tokens", type=int, metavar="N", help="at most N tokens")
    bars = "end within bar N; with --infill the bars to compose, as 5:8"
    length.add_argument("--bars", type=flag_type(parse_bars), metavar="N", help=bars)
    length.add_argument("--seconds", type=float, metavar="S", help="end within a bar of S seconds")
    beats = "quarters in a bar (default: those of the score file that is read, else 4)"
    add("--beats-per-bar", type=int, help=beats)
    add("--tempo", type=float, help="quarters a minute (default: the primer's, else 100)")
    add("--primer", help="a score file to continue, or notes: 'C4 E4 G4'")
    add("--primer-bars", type=int, metavar="N", help="only the first N bars of the primer")
    add("--given", type=Path, metavar="FILE", help="a score file of one voice: compose the others")
    add("--given-voice", default="1", metavar="NAME", help="soprano ... or 1 ... (the highest, 1)")
    add("--infill", type=Path, metavar="FILE", help="a score file to compose anew in part")
    add("--voices", metavar="NAME,...", help="with --infill: soprano ... or 1 ... (default: all)")
    add_wish_flags(parser.add_argument_group("conditions, for a model trained with --conditions"))
    add("--soundfont", type=Path, help="default: $SOUNDFONT, else an installed one")
    add("--json", type=Path, help="write the result here for programs")
    add_file_flags(parser.add_argument_group("pieces as files"))
    add_live_flags(parser.add_argument_group("played while they are composed"))
    flags = parser.parse_args(join_emotion(sys.argv[1:] if argv is None else argv))
    _refuse_combinations(flags, parser)
    return flags


def _refuse_combinations(flags: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """End the program for flags that do not go together; turn `formats` into a tuple."""
    try:
        flags.formats = parse_formats(flags.formats)
    except ValueError as error:
        parser.error(f"--formats: {error}")
    if flags.no_wav:
        flags.formats = tuple(kind for kind in flags.formats if kind not in SOUND)

    given = "--given" if flags.given else "--infill"
    is_given = flags.given or flags.infill
    wishes = flags.key or flags.emotion or flags.chords or flags.metre
    is_gap, has_primer = isinstance(flags.bars, tuple), flags.primer is not None
    length = flags.length_tokens or flags.seconds or (flags.bars and not flags.infill)
    refusals = (
        (
            flags.run is None and not flags.list_ports,
            "which run? Give a run folder or a checkpoint",
        ),
        (flags.input and not flags.live, "--input is answered by --live OUTPUT"),
        (
            flags.seconds and flags.input and Path(flags.input).suffix.lower() in SCORE_SUFFIXES,
            "--input FILE is answered to its end: leave --seconds out, or give an --input PORT",
        ),
        (flags.bars and flags.input, "--input is answered bar for bar: leave --bars out"),
        (flags.given and flags.infill, "--given and --infill: give one of them"),
        (
            is_given and wishes,
            f"{given} keeps to the given music: it does not go with --key, --emotion, --chords or "
            "--metre",
        ),
        (
            is_given and (flags.live or has_primer),
            f"{given} composes whole pieces: it does not go with --live or --primer",
        ),
        (
            is_given and length,
            f"with {given} a piece is as long as the given one; leave the length out",
        ),
        (
            flags.infill and not (flags.bars or flags.voices),
            "--infill needs --bars FIRST:LAST, --voices NAME,... or both",
        ),
        (flags.voices and not flags.infill, "--voices are those that --infill composes anew"),
        (
            is_gap and not flags.infill,
            "--bars FIRST:LAST goes with --infill; give the number of bars",
        ),
        (
            not has_primer and (flags.primer_bars or flags.new_part_only),
            "--primer-bars and --new-part-only go with --primer",
        ),
        (
            flags.live and (flags.new_part_only or flags.program is not None),
            "--new-part-only and --program are for files: they do not go with --live",
        ),
        (not flags.formats, "--no-wav leaves none of the --formats"),
        (
            flags.page and (flags.live or "wav" not in flags.formats),
            "--page plays the pieces' sound: it goes with wav files, not with --live",
        ),
        (
            flags.live and flags.length_tokens,
            "--live stops by --bars, --seconds, q or Ctrl-C, not by --length-tokens",
        ),
    )
    for is_wrong, words in refusals:
        if is_wrong:
            parser.error(words)


def parse_bars(text: str) -> int | tuple[int, int]:
    """A number of bars, or the first and the last of some: '16' or '5:8'. Raises ValueError."""
    numbers = text.split(":")
    try:
        if len(numbers) == 1:
            return int(text)
        first, last = map(int, numbers)
        if 1 <= first <= last:
            return first, last
    except ValueError:
        pass
    raise ValueError(
        f"{text!r} names no bars; give how many, such as 16, or the first and the last, such as 5:8"
    )


def check_values(flags: argparse.Namespace) -> None:
    """Raise ValueError for values that no piece can be made with, before anything slow begins."""
    needed = ("mido",) if flags.live and not (flags.primer or flags.input) else LIBRARIES
    require_libraries(*needed, *(("soundfile",) if is_recorded(flags) else ()))
    for name in ("num_pieces", "beats_per_bar", "bars", "length_tokens", "primer_bars"):
        value = getattr(flags, name)
        if isinstance(value, int) and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} is {value}; it must be 1 or more")
    if (flags.beats_per_bar or 1) > MOST_BEATS:
        raise ValueError(f"--beats-per-bar is {flags.beats_per_bar}; it must be 1 to {MOST_BEATS}")
    check_metre(flags)
    if flags.program is not None and not 0 <= flags.program <= 127:
        raise ValueError(
            f"--program is {flags.program}; General MIDI has 0 to 127: 0 piano, 19 church organ, "
            "48 strings, 52 choir"
        )
    if flags.seconds is not None and not 0 < flags.seconds < LONGEST_SECONDS:
        raise ValueError(f"--seconds is {flags.seconds:g}; it must be above 0 and below a day")
    if flags.tempo is not None and not SLOWEST <= flags.tempo <= FASTEST:
        raise ValueError(
            f"--tempo is {flags.tempo:g} quarters a minute; it must be {SLOWEST:g} to {FASTEST:g}"
        )
    if not SHORTEST_LOOK_AHEAD <= flags.look_ahead <= LONGEST_LOOK_AHEAD:
        raise ValueError(
            f"--look-ahead is {flags.look_ahead:g} s; it must be {SHORTEST_LOOK_AHEAD:g} to "
            f"{LONGEST_LOOK_AHEAD:g}"
        )
