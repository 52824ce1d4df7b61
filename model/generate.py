"""Command: a trained run composes: MIDI, WAV and a piano roll of each piece.

python model/generate.py runs/a --out out/ --num-pieces 4 --bars 16
python model/generate.py runs/a --primer "C4 E4 G4" --temperature 0.9 --seed 7

A piece lasts until the model ends it. --length-tokens is a bound: the piece may end before.
--bars and --seconds are kept: the model may not end before, and notes that would sound past the
length are cut there. With a primer, --bars and --seconds count what is added to it; the bar in
which it ends is the first one added.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):  # run as a script: import from the root, not from model/
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.command import run_command
from pipeline.manifest import SPLITS, Manifest
from pipeline.notes import DEFAULT_TEMPO, Score
from pipeline.quiet import load_tensorflow

if TYPE_CHECKING:
    from model.composer import Composer, Length, Piece
    from model.rendering import RenderedPiece, Renderer

LIBRARIES = ("mido", "midi2audio", "music21")  # the extra `compose`: absent on a training node
SLOWEST, FASTEST = 4.0, 1000.0  # quarters a minute; MIDI says no tempo slower than 3.6


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags."""
    summary, _, rest = (__doc__ or "").removeprefix("Command: ").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary,
        epilog=rest.strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a run folder (its best checkpoint) or a checkpoint")
    add("--out", type=Path, default=Path("out"), help="folder for the pieces (default: out)")
    add("--num-pieces", type=int, default=1, help="composed side by side (default: 1)")
    add("--seed", type=int, help="the same seed gives the same pieces (default: a new one, told)")
    add("--temperature", type=float, default=1.0, help="0: the likeliest token (default: 1)")
    add("--top-k", type=int, default=0, help="choose among so many tokens (default: all)")
    add("--top-p", type=float, default=1.0, help="choose among the likeliest of this probability")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--length-tokens", type=int, metavar="N", help="at most N tokens")
    length.add_argument("--bars", type=int, metavar="N", help="exactly N bars")
    length.add_argument("--seconds", type=float, metavar="S", help="exactly S seconds")
    add("--beats-per-bar", type=int, default=4, help="quarters in a bar (default: 4)")
    add("--tempo", type=float, help="quarters a minute (default: the primer's, else 100)")
    add("--primer", help="a score file to go on from, or notes: 'C4 E4 G4'")
    add("--soundfont", type=Path, help="default: $SOUNDFONT, else an installed one")
    add("--no-wav", action="store_true", help="write no sound")
    add("--data", type=Path, help="print music metrics beside those of this data set's pieces")
    add("--json", type=Path, help="write the result here for programs")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    flags = parse_arguments(argv)
    return run_command(lambda: generate(flags))


def generate(flags: argparse.Namespace) -> None:
    """Compose, write and report. Raises ValueError or OSError, with what to do."""
    _check(flags)
    soundfont = None if flags.no_wav else _soundfont(flags)
    if flags.data:
        Manifest.load(flags.data)  # a data set that is not there is told before the work
    seed = secrets.randbits(32) if flags.seed is None else flags.seed

    load_tensorflow()
    from model.bundle import find_checkpoint
    from model.composer import Composer
    from model.rendering import Renderer
    from model.sampling import Sampling

    sampling = Sampling(flags.temperature, flags.top_k, flags.top_p)
    checkpoint = find_checkpoint(flags.run)
    composer = Composer.load(checkpoint)
    primer = _read_primer(flags.primer, composer)
    tempo = flags.tempo or (primer.tempo if primer else DEFAULT_TEMPO)
    length = _length(flags, composer, primer, tempo)

    composer.warm_up()
    started = time.perf_counter()
    pieces = composer.compose(range(flags.num_pieces), sampling, length, seed, primer)
    elapsed = time.perf_counter() - started
    scores = [composer.score(piece, length, tempo) for piece in pieces]
    _check_composed(pieces, scores, flags.length_tokens is not None)
    num_tokens = sum(piece.num_composed for piece in pieces)
    print(
        f"composed {num_tokens} tokens in {elapsed:.1f} s ({num_tokens / elapsed:.0f} tokens/s) "
        f"from {checkpoint}, seed {seed}"
    )

    renderer = Renderer(flags.out, soundfont, flags.beats_per_bar, primer.end if primer else 0)
    rendered = _render(renderer, pieces, scores)
    if flags.data:
        _compare(flags.data, scores)
    if flags.json:
        contents = {
            "checkpoint": str(checkpoint),
            "settings": {**asdict(sampling), "seed": seed, "tempo": tempo, "primer": flags.primer},
            "num_tokens": num_tokens,
            "tokens_per_second": num_tokens / elapsed,
            "pieces": [asdict(piece) for piece in rendered],
        }
        _write_json(flags.json, contents)


def _check(flags: argparse.Namespace) -> None:
    """Refuse what no piece can be made with, before anything slow begins."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
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


def _soundfont(flags: argparse.Namespace) -> Path:
    from model.audio import check_synthesizer, find_soundfont

    check_synthesizer()
    return find_soundfont(flags.soundfont)


def _read_primer(text: str | None, composer: Composer) -> Score | None:
    """The primer as the vocabulary can say it, from a file or from notes; changes are told."""
    if text is None:
        return None
    from pipeline.scores import notes_from_names, read_score
    from pipeline.sources import SCORE_SUFFIXES

    path = Path(text)
    is_file = path.suffix.lower() in SCORE_SUFFIXES
    if is_file and not path.is_file():
        raise ValueError(f"primer {path} does not exist. Give a score file, or notes: 'C4 E4 G4'")
    try:
        score = read_score(path) if is_file else notes_from_names(text)
    except ValueError as error:
        raise ValueError(f"primer {text!r}: {error}") from None
    fitted, adjustments = composer.vocabulary.fit(score)
    for rule, count in adjustments.items():
        print(f"primer: {rule}: {count} of {score.notes.size} notes")
    return fitted


def _length(
    flags: argparse.Namespace, composer: Composer, primer: Score | None, tempo: float
) -> Length:
    """What the length flags mean on the vocabulary's grid."""
    from model.composer import Length

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
    from model.metrics import compare_table, mean_metrics
    from pipeline.records import read_pieces

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


def _write_json(path: Path, contents: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(contents, indent=2) + "\n")
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
