"""One HTML file to see and hear composed pieces, without the internet: to send to a friend."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from model.rendering.piano_roll import BLACK_KEYS, colours_of_programs, pitch_limits
from model.rendering.piece_files import RenderedPiece, Renderer
from pipeline.runtime.files import new_file
from pipeline.scores.notes import Score

TEMPLATE = Path(__file__).with_name("listening_page.html")
EMBEDDED_MIB = 32  # of WAV in total; a larger page would be slow to open and hard to send
QUARTER_WIDTH, KEY_HEIGHT = 24, 6  # pixels
NARROWEST = 1150  # pixels: a short piece is stretched to fill the page


@dataclass(frozen=True)
class Page:
    """A page that was written."""

    path: Path
    beside: tuple[Path, ...]  # sound files that the page needs beside it; none if it contains them

    def report(self) -> str:
        """The place of the page, and the files that have to be sent with it."""
        if not self.beside:
            return f"page: {self.path} (the sound is in it)"
        return f"page: {self.path}, with the sound beside it: send its {len(self.beside)} WAV, too"


def write_page(
    path: Path,
    pieces: Sequence[tuple[RenderedPiece, Score]],
    settings: Mapping[str, object],
    renderer: Renderer,
) -> Page:
    """Write the page of pieces with WAV files: whole or not at all.

    Up to `EMBEDDED_MIB` of sound is in the page. If there is more, all sound stays in files beside
    it, with their paths relative to the page. Settings that are None are left out. Raises OSError.
    """
    sounds = [Path(piece.wav) for piece, _ in pieces if piece.wav]
    embedded = sum(sound.stat().st_size for sound in sounds) <= EMBEDDED_MIB << 20
    articles = [
        _article(piece, score, _source(path, sound, embedded), renderer)
        for (piece, score), sound in zip(pieces, sounds, strict=True)
    ]
    parts = {
        "title": f"{len(pieces)} composed piece{'s' if len(pieces) > 1 else ''}",
        "settings": _terms({name: value for name, value in settings.items() if value is not None}),
        "pieces": "\n".join(articles),
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, value in parts.items():
        text = text.replace("{{" + name + "}}", value)
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return Page(path, () if embedded else tuple(sounds))


def _source(page: Path, sound: Path, embedded: bool) -> str:
    """The URL of a sound: its data, or its path relative to the page."""
    if not embedded:
        return quote(Path(os.path.relpath(sound, page.parent)).as_posix())
    return "data:audio/wav;base64," + base64.b64encode(sound.read_bytes()).decode()


def _article(piece: RenderedPiece, score: Score, source: str, renderer: Renderer) -> str:
    """The HTML of one piece: its roll, its player, its facts and its warnings."""
    name = escape(piece.name)
    bar_seconds = renderer.parts.beats_per_bar * 60 / score.tempo
    facts: dict[str, object] = {
        "notes": piece.num_notes,
        "length": f"{piece.seconds:.1f} s",
        **{key: "-" if value is None else f"{value:.3g}" for key, value in piece.metrics.items()},
    }
    warnings = "".join(f"<p>Warning: {escape(warning)}</p>\n" for warning in piece.warnings)
    return f"""<article data-seconds="{piece.seconds:.3f}" data-bar="{bar_seconds:.4f}">
<h2>{name}</h2>
<div class="roll" role="slider" tabindex="0" aria-label="Piano roll of {name}" aria-valuemin="0"
aria-valuemax="{piece.seconds:.1f}" aria-valuenow="0.0" aria-valuetext="bar 1, paused">
{_roll(score, renderer.parts.beats_per_bar, renderer.primer_end)}
</div>
<audio controls preload="metadata" aria-label="Player of {name}" src="{escape(source)}"></audio>
{_terms(facts)}
{warnings}</article>"""


def _terms(facts: Mapping[str, object]) -> str:
    rows = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in facts.items()
    )
    return "<dl>\n" + "\n".join(rows) + "\n</dl>"


def _roll(score: Score, beats_per_bar: int, primer_end: int) -> str:
    """The score as SVG, whose horizontal axis is proportional to time."""
    lowest, highest = pitch_limits(score)
    step = max(QUARTER_WIDTH / score.resolution, NARROWEST / score.end)
    width, height = score.end * step, (highest - lowest + 1) * KEY_HEIGHT

    def box(x: float, pitch: int, length: float, kind: str) -> str:
        y = (highest - pitch) * KEY_HEIGHT
        return f'<rect x="{x:g}" y="{y}" width="{length:g}" height="{KEY_HEIGHT}" {kind}/>'

    shapes = [
        box(0, pitch, width, 'fill="var(--key)"')
        for pitch in range(lowest, highest + 1)
        if pitch % 12 in BLACK_KEYS
    ]
    if primer_end:
        shaded = f'width="{primer_end * step:g}" height="{height}" fill="var(--given)"'
        shapes.insert(0, f'<rect x="0" y="0" {shaded}/>')
    for beat in range(-(-score.end // score.resolution)):
        colour = "--line" if beat % beats_per_bar else "--bar"
        x = beat * score.resolution * step
        shapes.append(f'<path d="M{x:g} 0V{height}" stroke="var({colour})" stroke-width=".6"/>')
        if beat % beats_per_bar == 0:
            shapes.append(f'<text x="{x + 2:g}" y="9">{beat // beats_per_bar + 1}</text>')
    for colour, program in colours_of_programs(score):
        for note in score.notes[score.notes["program"] == program]:
            length = max(note["duration"] * step - 0.8, 0.8)  # repeats look apart
            kind = f'rx="1" fill="{colour}" class="note"'
            shapes.append(box(note["onset"] * step, int(note["pitch"]), length, kind))
    cursor = f'<line class="cursor" x1="0" x2="0" y1="0" y2="{height}" stroke="var(--cursor)" '
    shapes.append(cursor + 'stroke-width="2"/>')
    return (
        f'<svg viewBox="0 0 {width:g} {height}" width="{width:g}" height="{height}" '
        'aria-hidden="true">\n' + "\n".join(shapes) + "\n</svg>"
    )
