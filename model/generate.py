"""Command: a trained run composes: MIDI, WAV and a piano roll of each piece.

python model/generate.py runs/a --out out/ --num-pieces 4 --bars 16
python model/generate.py runs/a --primer "C4 E4 G4" --temperature 0.9 --seed 7
python model/generate.py model/pretrained/chorales --given examples/old_hundredth.musicxml
python model/generate.py model/pretrained/chorales --infill piece.mid --bars 5:8 --voices alto,tenor
python model/generate.py runs/a --infill piece.mid --bars 5:8
python model/generate.py runs/a --live synth
python model/generate.py runs/a --live port:Piano --input Keyboard

A piece lasts until the model ends it. --length-tokens is an upper bound: the piece may end before.
With --bars and --seconds it ends within the last bar: of up to 128 drafts the first one that the
model ends there is taken. If there is none, a draft is cut at the exact length, and a line says so.
A piece in which two bars pass without a new note is composed again. With a primer, --bars and
--seconds count what is added to it; the bar in which the primer ends is the first one added.

--given is one voice, from its first note to its last; a model of several voices composes the
others. --infill is a whole piece, of which a model of several voices composes the named bars or
voices anew, and a model of events the named bars; all other notes stay as they are in the file.
--page writes one file that holds the pictures, the sound (MP3) and the MIDI. More than 16 MiB of
sound goes into MP3 files beside it: send these too.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):  # run as a script: import from the root, not from model/
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from pipeline.runtime.interpreter import explain_missing_libraries

    explain_missing_libraries()

from model.composing.wishes import quarters_per_bar, wishes_of
from model.generate_flags import check_values, parse_arguments
from model.live.session import run_live
from model.networks.checkpoint import require_checkpoint
from model.rendering.formats import SOUND
from model.rendering.output_files import (
    choose_folder,
    files_to_write,
    input_files,
    keep_inputs,
    require_folders,
    warn_of_replacing,
)
from model.rendering.write_pieces import (
    choose_engraver,
    choose_soundfont,
    require_notes,
    write_pieces,
)
from pipeline.dataset.manifest import Manifest
from pipeline.runtime.command import run_command
from pipeline.runtime.tables import print_line, print_lines
from pipeline.runtime.tensorflow_loading import load_tensorflow
from pipeline.scores.metre import quarters_per_bar as quarters_of_file
from pipeline.scores.notes import Score
from pipeline.scores.parts import Parts
from pipeline.vocabulary.conditions import METRE

if TYPE_CHECKING:
    from model.composing.composer import Composer
    from model.composing.pieces import ComposedPiece
    from model.composing.request import Request


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    flags = parse_arguments(argv, __doc__)
    return run_command(lambda: run(flags))


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
    flags.own_metre = flags.beats_per_bar is None  # that of the music, not of --beats-per-bar
    flags.remarks = []
    flags.beats_per_bar = flags.beats_per_bar or _beats_per_bar(flags)
    if flags.live:
        run_live(flags)
    else:
        generate(flags)


def _beats_per_bar(flags: argparse.Namespace) -> int:
    """Quarters in a bar of the metre asked for, else of the score file that is read, else 4."""
    if flags.metre:
        return math.ceil(quarters_per_bar(flags))
    # With --live standard output may carry the music. Else the model decides whether it holds.
    say = partial(print_line, stream=sys.stderr) if flags.live else flags.remarks.append
    files = input_files(flags).values()
    return next((quarters_of_file(path, say) for path in files), 4)


def generate(flags: argparse.Namespace) -> None:
    """Compose, write and report. Raises ValueError or OSError, with advice."""
    # Look for everything that may be missing before the seconds of loading TensorFlow.
    soundfont = choose_soundfont(flags) if set(SOUND) & set(flags.formats) else None
    engraver = choose_engraver(flags)
    if flags.data:
        Manifest.load(flags.data)

    load_tensorflow()
    from model.composing.composer import Composer
    from model.composing.request import Request
    from model.rendering.piece_files import Renderer

    # Compose; the time for compiling does not count.
    composer = Composer.load(flags.run)
    composer = composer.asked(wishes_of(flags, composer.vocabulary.conditions))
    if METRE not in composer.vocabulary.conditions:  # those count the bars that they compose
        print_lines(flags.remarks)
    request = Request.of(flags, composer.vocabulary)
    if flags.another_folder:
        print_line(flags.another_folder)
    request.prepare(composer)
    started = time.perf_counter()
    pieces = request.compose(composer, range(flags.num_pieces))
    elapsed = time.perf_counter() - started
    scores = _scores(flags, composer, request, pieces)
    require_notes(pieces, scores, flags.length_tokens is not None)
    num_tokens = sum(piece.num_drawn for piece in pieces)
    num_drafts = sum(piece.num_drafts for piece in pieces)
    print_line(
        f"composed {num_tokens} tokens in {elapsed:.1f} s ({num_tokens / elapsed:.0f} tokens/s), "
        f"{num_drafts} draft{'s' if num_drafts > 1 else ''} from {composer.checkpoint}, "
        f"seed {request.seed}"
    )

    # Write.
    primer = request.primer
    renderer = Renderer(
        flags.out,
        soundfont,
        Parts(composer.vocabulary.part_names, flags.program, flags.beats_per_bar),
        primer.end if primer and not flags.new_part_only else 0,
        flags.formats,
        engraver,
        composer=f"chorale, model {flags.run.resolve().name}",  # its name, no path of this machine
    )
    speed = {"num_tokens": num_tokens, "tokens_per_second": num_tokens / elapsed}
    settings = {
        **asdict(request.sampling),
        "seed": request.seed,
        "tempo": request.tempo,
        "primer": flags.primer,
        "given": str(flags.given) if flags.given else None,
        "infill": str(flags.infill) if flags.infill else None,
        "wishes": composer.wishes.known() or None,
    }
    write_pieces(flags, renderer, pieces, scores, composer.checkpoint, settings, speed)


def _scores(
    flags: argparse.Namespace,
    composer: Composer,
    request: Request,
    pieces: Sequence[ComposedPiece],
) -> list[Score]:
    """The pieces as notes, with dynamics; the given music as it was given, with its metre."""
    from model.composing.primer import without_primer
    from model.rendering.dynamics import with_dynamics

    scores = [composer.score(piece, request.length, request.tempo) for piece in pieces]
    composes_metre = METRE in composer.vocabulary.conditions
    if request.primer and flags.own_metre and not composes_metre:
        metre = request.primer.time_signatures
        scores = [replace(score, time_signatures=metre) for score in scores]
    scores = [with_dynamics(score, flags.beats_per_bar) for score in scores]
    if request.given:
        scores = [request.given.put_back(score) for score in scores]
    if request.primer and flags.new_part_only:
        scores = [without_primer(score, request.primer, request.bar) for score in scores]
    if not flags.own_metre and not composes_metre:
        scores = [replace(score, time_signatures=()) for score in scores]
    return scores


if __name__ == "__main__":
    sys.exit(main())
