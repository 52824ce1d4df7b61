"""Command: a trained run composes: MIDI, WAV and a piano roll of each piece.

python model/generate.py runs/a --out out/ --num-pieces 4 --bars 16
python model/generate.py runs/a --primer "C4 E4 G4" --temperature 0.9 --seed 7
python model/generate.py model/pretrained/chorales --given examples/old_hundredth.musicxml
python model/generate.py model/pretrained/chorales --infill piece.mid --bars 5:8 --voices alto,tenor
python model/generate.py runs/a --live synth
python model/generate.py runs/a --live port:Piano --input Keyboard

A piece lasts until the model ends it. --length-tokens is an upper bound: the piece may end before.
With --bars and --seconds it ends within the last bar: of up to 128 drafts the first one that the
model ends there is taken. If there is none, a draft is cut at the exact length, and a line says so.
A piece in which two bars pass without a new note is composed again. With a primer, --bars and
--seconds count what is added to it; the bar in which the primer ends is the first one added.

--given is one voice, from its first note to its last; a model of several voices composes the
others. --infill is a whole piece, of which a model of several voices composes the named bars or
voices anew; all other notes stay as they are in the file.
--page writes one file that holds the pictures, the sound (MP3) and the MIDI. More than 16 MiB of
sound goes into MP3 files beside it: send these too.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):  # run as a script: import from the root, not from model/
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from model.composing.wishes import add_wish_flags, join_emotion, wishes_of
from model.live.session import add_live_flags, run_live
from model.networks.checkpoint import require_checkpoint
from model.rendering.formats import SOUND, parse_formats
from model.rendering.output_files import (
    choose_folder,
    files_to_write,
    input_files,
    is_recorded,
    keep_inputs,
    require_folders,
    warn_of_replacing,
)
from model.rendering.write_pieces import (
    add_file_flags,
    choose_engraver,
    choose_soundfont,
    require_libraries,
    require_notes,
    write_pieces,
)
from pipeline.dataset.manifest import Manifest
from pipeline.runtime.command import described_parser, flag_type, run_command
from pipeline.runtime.tables import print_line
from pipeline.runtime.tensorflow_loading import load_tensorflow
from pipeline.scores.formats import SCORE_SUFFIXES
from pipeline.scores.metre import MOST_BEATS, quarters_per_bar
from pipeline.scores.midi.writer import FASTEST, SLOWEST
from pipeline.scores.notes import DEFAULT_TEMPO, Score
from pipeline.scores.parts import Parts

if TYPE_CHECKING:
    from model.composing.composer import Composer
    from model.composing.pieces import Length


# The extra `compose`: absent on a training node.
LIBRARIES = ("mido", "midi2audio", "music21", "soundfile")
LONGEST_SECONDS = 24 * 3600
SHORTEST_LOOK_AHEAD, LONGEST_LOOK_AHEAD = 0.05, 60.0  # seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    flags = parse_arguments(argv)
    return run_command(lambda: run(flags))


# The flags ----------------------------------------------------------------------------------------


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags; ends the program for flags that do not go together."""
    parser = described_parser(__doc__ or "")
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", nargs="?", help="a run folder or a checkpoint")
    add("--seed", type=int, help="the same seed gives the same pieces (default: a new one)")
    add("--temperature", type=float, default=1.0, help="0: the likeliest token (default: 1)")
    apart = "; does not apply to the end of a grid model's piece"
    add("--top-k", type=int, default=0, help=f"the K likeliest tokens (default: all){apart}")
    add("--top-p", type=float, default=1.0, help=f"the likeliest of this total probability{apart}")
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
    is_given, wishes = flags.given or flags.infill, flags.key or flags.emotion or flags.chords
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
            f"{given} is for models of voices: they cannot be asked for key or chords",
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
    first, colon, last = text.partition(":")
    if not colon:
        return int(text)
    if not 1 <= int(first) <= int(last):
        raise ValueError(f"{text!r} names no bars; give the first and the last, such as 5:8")
    return int(first), int(last)


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


# What they ask for -------------------------------------------------------------------------------


def run(flags: argparse.Namespace) -> None:
    """Print the ports, play live, or write pieces. Raises ValueError or OSError, with advice."""
    if flags.list_ports:
        from model.live.ports import list_ports

        print(list_ports())
        return
    check_values(flags)
    require_checkpoint(flags.run)
    choose_folder(flags)
    keep_inputs(flags)
    require_folders(flags)
    warn_of_replacing(files_to_write(flags))
    flags.beats_per_bar = flags.beats_per_bar or _beats_per_bar(flags)
    if flags.live:
        run_live(flags)
    else:
        generate(flags)


def _beats_per_bar(flags: argparse.Namespace) -> int:
    """Quarters in a bar of the score file that is read; 4 without one."""
    # With --live standard output may carry the music.
    say = partial(print, file=sys.stderr) if flags.live else print
    files = input_files(flags).values()
    return next((quarters_per_bar(path, say) for path in files), 4)


def generate(flags: argparse.Namespace) -> None:
    """Compose, write and report. Raises ValueError or OSError, with advice."""
    # Look for everything that may be missing before the seconds of loading TensorFlow.
    soundfont = choose_soundfont(flags) if set(SOUND) & set(flags.formats) else None
    engraver = choose_engraver(flags)
    if flags.data:
        Manifest.load(flags.data)
    seed = secrets.randbits(32) if flags.seed is None else flags.seed

    load_tensorflow()
    from model.composing.composer import Composer
    from model.composing.drafts import compose_pieces
    from model.composing.given_voice import Given, read_given_voice
    from model.composing.harmonising import harmonise
    from model.composing.infilling import read_piece_with_gap
    from model.composing.pieces import Length
    from model.composing.primer import read_primer, without_primer
    from model.composing.sampling import Sampling
    from model.rendering.dynamics import with_dynamics
    from model.rendering.piece_files import Renderer

    # The network, and the music that it starts from.
    sampling = Sampling(flags.temperature, flags.top_k, flags.top_p)
    composer = Composer.load(flags.run)
    composer = composer.asked(wishes_of(flags, composer.vocabulary.conditions))
    bar = flags.beats_per_bar * composer.vocabulary.steps_per_quarter
    primer = None
    given: Given | None = None
    if flags.primer is not None:
        primer = read_primer(
            flags.primer, composer.vocabulary, flags.primer_bars, flags.beats_per_bar
        )
    if flags.given:
        given = read_given_voice(flags.given, flags.given_voice, composer.vocabulary)
    if flags.infill:
        bars = (flags.bars, flags.bars) if isinstance(flags.bars, int) else flags.bars
        voices = flags.voices.split(",") if flags.voices else ()
        given = read_piece_with_gap(
            flags.infill, composer.vocabulary, bars, voices, flags.beats_per_bar
        )
    known = primer or given
    tempo = flags.tempo or (known.tempo if known else DEFAULT_TEMPO)
    length = Length() if given else _length(flags, composer, primer, tempo)

    # Compose; the time for compiling does not count.
    if not given:
        composer.warm_up(primer=primer is not None)
    started = time.perf_counter()
    numbers = range(flags.num_pieces)
    if given:
        pieces = harmonise(composer, numbers, sampling, given, seed)
    else:
        pieces = compose_pieces(composer, numbers, sampling, length, seed, bar, primer)
    elapsed = time.perf_counter() - started
    scores = [
        with_dynamics(composer.score(piece, length, tempo), flags.beats_per_bar) for piece in pieces
    ]
    if primer and flags.new_part_only:
        scores = [without_primer(score, primer, bar) for score in scores]
    if given:
        scores = [given.put_back(score) for score in scores]
    require_notes(pieces, scores, flags.length_tokens is not None)
    num_tokens = sum(piece.num_drawn for piece in pieces)
    num_drafts = sum(piece.num_drafts for piece in pieces)
    line = (
        f"composed {num_tokens} tokens in {elapsed:.1f} s ({num_tokens / elapsed:.0f} tokens/s), "
        f"{num_drafts} draft{'s' if num_drafts > 1 else ''} from {composer.checkpoint}, seed {seed}"
    )
    print_line(line)

    # Write.
    primer_end = primer.end if primer and not flags.new_part_only else 0
    renderer = Renderer(
        flags.out,
        soundfont,
        Parts(composer.vocabulary.part_names, flags.program, flags.beats_per_bar),
        primer_end,
        flags.formats,
        engraver,
        composer=f"chorale, model {flags.run.resolve().name}",  # its name, no path of this machine
    )
    speed = {"num_tokens": num_tokens, "tokens_per_second": num_tokens / elapsed}
    settings = {
        **asdict(sampling),
        "seed": seed,
        "tempo": tempo,
        "primer": flags.primer,
        "given": str(flags.given) if flags.given else None,
        "infill": str(flags.infill) if flags.infill else None,
        "wishes": composer.wishes.known() or None,
    }
    write_pieces(flags, renderer, pieces, scores, composer.checkpoint, settings, speed)


def _length(
    flags: argparse.Namespace, composer: Composer, primer: Score | None, tempo: float
) -> Length:
    """The length that the flags ask for, in steps of the vocabulary's grid."""
    from model.composing.drafts import ROOM, length_of_bars
    from model.composing.pieces import Length

    steps_per_quarter = composer.vocabulary.steps_per_quarter
    primer_end = primer.end if primer else 0
    bar = steps_per_quarter * flags.beats_per_bar
    if flags.bars:
        return length_of_bars(flags.bars, bar, steps_per_quarter, primer_end)
    if flags.seconds:
        steps = max(1, round(flags.seconds * tempo / 60 * steps_per_quarter))
        return Length.of_steps(primer_end + steps, steps_per_quarter, ROOM * bar)
    return Length(flags.length_tokens) if flags.length_tokens else Length()


if __name__ == "__main__":
    sys.exit(main())
