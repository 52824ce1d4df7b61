"""Command: a trained run composes: MIDI, WAV and a piano roll of each piece.

python model/generate.py runs/a --out out/ --num-pieces 4 --bars 16
python model/generate.py runs/a --primer "C4 E4 G4" --temperature 0.9 --seed 7
python model/generate.py model/pretrained/chorales --given soprano.mid --page out/index.html
python model/generate.py runs/a --live synth
python model/generate.py runs/a --live port:Piano --input Keyboard

A piece lasts until the model ends it. --length-tokens is a bound: the piece may end before.
--bars and --seconds are kept: the model may not end before, and notes that would sound past the
length are cut there. With a primer, --bars and --seconds count what is added to it; the bar in
which it ends is the first one added.

--given is a voice, from its first note to its last: a model of several voices composes the others.
--page needs nothing beside it but the WAV files, and these only where they are large.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):  # run as a script: import from the root, not from model/
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from model.generate_flags import check, parse_arguments, wishes_of
from pipeline.dataset.manifest import SPLITS, Manifest
from pipeline.runtime.command import run_command
from pipeline.runtime.tensorflow_loading import load_tensorflow
from pipeline.scores.notes import DEFAULT_TEMPO, Score

if TYPE_CHECKING:
    from model.composing.composer import Composer, Length, Piece
    from model.rendering.engraving import Engraver
    from model.rendering.piece_files import RenderedPiece, Renderer


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    flags = parse_arguments(argv, __doc__ or "")
    return run_command(lambda: run(flags))


def run(flags: argparse.Namespace) -> None:
    """What the flags ask for: files, or music at once. Raises ValueError or OSError."""
    if flags.list_ports:
        from model.live.ports import list_ports

        print(list_ports())
        return
    check(flags)
    if flags.live:
        from model.live.session import run_live

        run_live(flags)
    else:
        generate(flags)


def generate(flags: argparse.Namespace) -> None:
    """Compose, write and report. Raises ValueError or OSError, with what to do."""
    soundfont = _soundfont(flags) if "wav" in flags.formats else None
    engraver = _engraver(flags)
    if flags.data:
        Manifest.load(flags.data)  # a data set that is not there is told before the work
    seed = secrets.randbits(32) if flags.seed is None else flags.seed

    load_tensorflow()
    from model.composing.composer import Composer
    from model.composing.given_voice import read_given_voice
    from model.composing.harmonising import harmonise
    from model.composing.primer import read_primer
    from model.composing.sampling import Sampling
    from model.networks.checkpoint import find_checkpoint
    from model.rendering.piece_files import Renderer

    sampling = Sampling(flags.temperature, flags.top_k, flags.top_p)
    checkpoint = find_checkpoint(flags.run)
    composer = Composer.load(checkpoint)
    composer = composer.asked(wishes_of(flags, composer.vocabulary.conditions))
    primer = read_primer(flags.primer, composer.vocabulary) if flags.primer is not None else None
    given = None
    if flags.given:
        given = read_given_voice(flags.given, flags.given_voice, composer.vocabulary)
    known = primer or (given.line if given else None)
    tempo = flags.tempo or (known.tempo if known else DEFAULT_TEMPO)
    length = _length(flags, composer, primer, tempo)

    if not given:
        composer.warm_up(hears=primer is not None)
    started = time.perf_counter()
    numbers = range(flags.num_pieces)
    if given:
        pieces = harmonise(composer, numbers, sampling, given, seed)
    else:
        pieces = composer.compose(numbers, sampling, length, seed, primer)
    elapsed = time.perf_counter() - started
    scores = [composer.score(piece, length, tempo) for piece in pieces]
    if given:
        scores = [given.put_back(score) for score in scores]
    _check_composed(pieces, scores, flags.length_tokens is not None)
    num_tokens = sum(piece.num_composed for piece in pieces)
    print(
        f"composed {num_tokens} tokens in {elapsed:.1f} s ({num_tokens / elapsed:.0f} tokens/s) "
        f"from {checkpoint}, seed {seed}"
    )

    primer_end = primer.end if primer else 0
    renderer = Renderer(
        flags.out, soundfont, flags.beats_per_bar, primer_end, flags.formats, engraver
    )
    speed = {"num_tokens": num_tokens, "tokens_per_second": num_tokens / elapsed}
    settings = {
        **asdict(sampling),
        "seed": seed,
        "tempo": tempo,
        "primer": flags.primer,
        "given": str(flags.given) if flags.given else None,
        "wishes": composer.wishes.known() or None,
    }
    _hand_over(flags, renderer, pieces, scores, checkpoint, settings, speed)


def _hand_over(
    flags: argparse.Namespace,
    renderer: Renderer,
    pieces: Sequence[Piece],
    scores: Sequence[Score],
    checkpoint: Path,
    settings: dict[str, Any],
    speed: dict[str, float],
) -> None:
    """Write the pieces, and what the flags ask for beside them."""
    rendered = _render(renderer, pieces, scores)
    if flags.data:
        _compare(flags.data, scores)
    if flags.json:
        _write_json(flags.json, checkpoint, settings, speed, rendered)
    if flags.page:
        from model.rendering.listening_page import write_page

        told = {"model": checkpoint, **settings}
        page = write_page(flags.page, list(zip(rendered, scores, strict=True)), told, renderer)
        print(page.report())


def _write_json(
    path: Path,
    checkpoint: Path,
    settings: dict[str, Any],
    speed: dict[str, float],
    rendered: Sequence[RenderedPiece],
) -> None:
    from model.rendering.piece_files import write_json

    contents = {
        "checkpoint": str(checkpoint),
        "settings": settings,
        **speed,
        "pieces": [asdict(piece) for piece in rendered],
    }
    write_json(path, contents)


def _engraver(flags: argparse.Namespace) -> Engraver | None:
    """The program that prints scores, where one is asked for."""
    from model.rendering.formats import PRINTED

    if not set(PRINTED) & set(flags.formats):
        return None
    from model.rendering.engraving import find_engraver

    return find_engraver()


def _soundfont(flags: argparse.Namespace) -> Path:
    from model.rendering.audio import check_synthesizer, find_soundfont

    check_synthesizer()
    return find_soundfont(flags.soundfont)


def _length(
    flags: argparse.Namespace, composer: Composer, primer: Score | None, tempo: float
) -> Length:
    """What the length flags mean on the vocabulary's grid."""
    from model.composing.composer import Length

    steps_per_quarter = composer.vocabulary.steps_per_quarter
    primer_end = primer.end if primer else 0
    if flags.bars:
        bar = steps_per_quarter * flags.beats_per_bar
        return Length.of_steps((primer_end // bar + flags.bars) * bar, steps_per_quarter)
    if flags.seconds:
        steps = max(1, round(flags.seconds * tempo / 60 * steps_per_quarter))
        return Length.of_steps(primer_end + steps, steps_per_quarter)
    return Length(flags.length_tokens) if flags.length_tokens else Length()


def _name(piece: Piece) -> str:
    return f"piece-{piece.index + 1:03d}"


def _check_composed(pieces: Sequence[Piece], scores: Sequence[Score], bounded: bool) -> None:
    """Refuse a piece without notes; say where one did not reach the end it was asked for."""
    for piece, score in zip(pieces, scores, strict=True):
        if not score.notes.size:
            raise ValueError(
                f"{_name(piece)} holds no whole note after {piece.num_composed} tokens: give it "
                "more room (--length-tokens, --bars), or train longer"
            )
        if not piece.complete and not bounded:
            print(
                f"warning: {_name(piece)}: stopped after {piece.num_composed} tokens, before its "
                "end",
                file=sys.stderr,
            )


def _render(
    renderer: Renderer, pieces: Sequence[Piece], scores: Sequence[Score]
) -> list[RenderedPiece]:
    """Write the files of each piece, and say where they are and what is odd about it."""
    rendered = []
    for piece, score in zip(pieces, scores, strict=True):
        rendered.append(renderer.render(_name(piece), score))
        print(rendered[-1].report())
        for warning in rendered[-1].warnings:
            print(f"warning: {rendered[-1].name}: {warning}", file=sys.stderr)
    return rendered


def _compare(data_dir: Path, scores: Sequence[Score]) -> None:
    """Print the pieces' mean metrics beside those of the data set's splits."""
    from model.metrics.score_metrics import compare_table, mean_metrics
    from pipeline.dataset.records import read_pieces

    manifest = Manifest.load(data_dir)
    manifest.verify(data_dir)
    vocabulary = manifest.open_vocabulary
    columns = {f"{len(scores)} composed": mean_metrics(scores)}
    for split in SPLITS:
        if manifest.num_pieces(split):
            real = (vocabulary.decode(ids) for _, ids in read_pieces(data_dir, manifest, split))
            columns[f"{manifest.num_pieces(split)} {split}"] = mean_metrics(real)
    print(f"music metrics, mean over pieces, beside the real ones in {data_dir}:")
    print(compare_table(columns))


if __name__ == "__main__":
    sys.exit(main())
