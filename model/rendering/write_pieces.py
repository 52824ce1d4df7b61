"""Composed pieces as files, and the report of them."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.rendering.formats import DEFAULT_FORMATS, FORMATS
from model.rendering.output_files import OUT, piece_name
from pipeline.dataset.manifest import SPLITS, Manifest
from pipeline.runtime.tables import print_line, print_lines
from pipeline.scores.notes import Score

if TYPE_CHECKING:
    from model.composing.pieces import ComposedPiece
    from model.rendering.engraving import Engraver
    from model.rendering.piece_files import RenderedPiece, Renderer


def add_file_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags of pieces that are written to files."""
    add = group.add_argument
    add("--out", type=Path, help=f"folder for the pieces (default: {OUT}, {OUT}-2, ...: a new one)")
    add("--num-pieces", type=int, default=1, help="composed side by side (default: 1)")
    add(
        "--formats",
        default=",".join(DEFAULT_FORMATS),
        metavar="NAME,...",
        help=f"of {', '.join(FORMATS)}; png is the piano roll (default: %(default)s)",
    )
    add("--no-wav", action="store_true", help="write no sound")
    add("--new-part-only", action="store_true", help="leave the primer out of the files")
    add(
        "--program",
        type=int,
        metavar="N",
        help="play all voices with this General MIDI program: 0 piano, 19 organ, 52 choir",
    )
    add("--page", type=Path, metavar="FILE", help="a page to see and hear the pieces (.html)")
    add("--data", type=Path, help="print music metrics beside those of this data set's pieces")


def require_libraries(*names: str) -> None:
    """Raise ValueError for a library of the extra `compose` that is not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"{', '.join(missing)} not installed; composing needs it. Run: pip install "
            "-c constraints.txt -e '.[compose]'"
        )


def choose_soundfont(flags: argparse.Namespace) -> Path:
    """The SoundFont to render with. Raises ValueError without one, or without FluidSynth."""
    from model.rendering.audio import check_synthesizer
    from model.rendering.soundfonts import find_soundfont

    silent = ", or leave sound out with --no-wav" if "no_wav" in flags else ""
    check_synthesizer(silent)
    return find_soundfont(flags.soundfont, f" or --soundfont FILE{silent}")


def choose_engraver(flags: argparse.Namespace) -> Engraver | None:
    """The program that prints scores; None if no printed score is asked for."""
    from model.rendering.formats import PRINTED

    if not set(PRINTED) & set(flags.formats):
        return None
    from model.rendering.engraving import find_engraver

    return find_engraver()


def require_notes(pieces: Sequence[ComposedPiece], scores: Sequence[Score], bounded: bool) -> None:
    """Raise ValueError for a piece without notes; warn of a piece that is not as it was asked for.

    `bounded`: the pieces were asked for by a number of tokens, which is their end.
    """
    for piece, score in zip(pieces, scores, strict=True):
        name = piece_name(piece.index)
        if not score.notes.size:
            raise ValueError(
                f"{name} holds no whole note after {piece.num_composed} tokens: give it "
                "more room (--length-tokens, --bars), or train longer"
            )
        if not piece.complete and not bounded:
            print_line(
                f"warning: {name}: stopped after {piece.num_composed} tokens, before its end",
                sys.stderr,
            )
        for remark in piece.remarks:
            print_line(f"warning: {name}: {remark}", sys.stderr)


def write_pieces(
    flags: argparse.Namespace,
    renderer: Renderer,
    pieces: Sequence[ComposedPiece],
    scores: Sequence[Score],
    checkpoint: Path | None,
    settings: dict[str, Any],
    speed: dict[str, float],
) -> None:
    """Write the pieces, and what else the flags ask for: a comparison, JSON, a page."""
    rendered = _render(renderer, pieces, scores)
    if flags.data:
        _compare(flags.data, scores)
    if flags.json:
        _write_json(flags.json, checkpoint, settings, speed, rendered)
    if flags.page:
        from model.rendering.listening_page import write_page

        # A page is sent to others: files by their names, without the folders of this machine.
        named = {
            name: Path(str(settings[name])).name
            for name in ("primer", "given", "infill")
            if settings[name]
        }
        shown = {"model": flags.run.resolve().name, **settings, **named}
        page = write_page(flags.page, list(zip(rendered, scores, strict=True)), shown, renderer)
        print_lines(page.report().splitlines())


def _render(
    renderer: Renderer, pieces: Sequence[ComposedPiece], scores: Sequence[Score]
) -> list[RenderedPiece]:
    """The files of each piece, written; prints where they are, and warnings about the music."""
    rendered = []
    for piece, score in zip(pieces, scores, strict=True):
        rendered.append(renderer.render(piece_name(piece.index), score))
        print_lines(rendered[-1].report().splitlines())
        for warning in rendered[-1].warnings:
            print_line(f"warning: {rendered[-1].name}: {warning}", sys.stderr)
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
    print_line(f"music metrics, mean over pieces, beside the real ones in {data_dir}:")
    print(compare_table(columns))


def _write_json(
    path: Path,
    checkpoint: Path | None,
    settings: dict[str, Any],
    speed: dict[str, float],
    rendered: Sequence[RenderedPiece],
) -> None:
    """Write the result for programs."""
    from pipeline.runtime.files import write_json

    contents = {
        "checkpoint": str(checkpoint),
        "settings": settings,
        **speed,
        "pieces": [asdict(piece) for piece in rendered],
    }
    write_json(path, contents)
