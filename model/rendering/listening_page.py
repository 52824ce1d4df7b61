"""One HTML file to see and hear composed pieces, without the internet: to send to a friend."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from model.rendering.audio import as_mp3
from model.rendering.piano_roll import BLACK_KEYS, colours_of_programs, pitch_limits
from model.rendering.piece_files import RenderedPiece, Renderer
from pipeline.runtime.files import new_file
from pipeline.scores.bars import measures_of, usual_length
from pipeline.scores.notes import DRUMS, Score
from pipeline.scores.parts import key_of, spelled

TEMPLATE = Path(__file__).with_name("listening_page.html")
EMBEDDED_MIB = 16  # of MP3 in total, half an hour: as base64 it is 22 MB, and mail takes 25
QUARTER_WIDTH, KEY_HEIGHT = 26, 9  # pixels
NARROWEST = 1120  # pixels: a short piece is stretched to fill the page
NAME_WIDTH = 7  # pixels of a character of a note's name
NAMES_WIDTH = 26  # pixels of the column with the names of the white keys
DARK_ON = ("#CC79A7", "#56B4E9", "#E69F00")  # colours on which a name is dark


@dataclass(frozen=True)
class Page:
    """A page that was written."""

    path: Path
    beside: tuple[Path, ...]  # sound files that the page needs beside it; none if it contains them

    def report(self) -> str:
        """The place and size of the page, and the files that have to be sent with it."""
        size = f"{self.path.stat().st_size / 1e6:.1f} MB"
        if not self.beside:
            return f"page: {self.path} ({size}, the sound is in it)"
        return f"page: {self.path} ({size}); send the {len(self.beside)} MP3 files beside it, too"


def write_page(
    path: Path,
    pieces: Sequence[tuple[RenderedPiece, Score]],
    settings: Mapping[str, object],
    renderer: Renderer,
) -> Page:
    """Write the page of pieces with WAV files: whole or not at all.

    Their sound is in the page as MP3, up to `EMBEDDED_MIB`. If there is more, it is written to MP3
    files beside the WAV files, which the page finds by relative paths. MIDI files are in the page.
    Settings that are None are left out. Raises OSError.
    """
    mp3s = [as_mp3(Path(piece.wav)) for piece, _ in pieces if piece.wav]
    beside: list[Path] = []
    if sum(map(len, mp3s)) > EMBEDDED_MIB << 20:
        beside = [Path(piece.wav).with_suffix(".mp3") for piece, _ in pieces if piece.wav]
        for file, mp3 in zip(beside, mp3s, strict=True):
            with new_file(file) as partial:
                partial.write_bytes(mp3)
    sources = [_relative(file, path) for file in beside] or [
        data_url("audio/mpeg", m) for m in mp3s
    ]
    articles = [
        _article(number, piece, score, source, renderer)
        for number, ((piece, score), source) in enumerate(zip(pieces, sources, strict=True), 1)
    ]
    parts = {
        "title": f"{len(pieces)} composed piece{'s' if len(pieces) > 1 else ''}",
        "settings": _terms({name: value for name, value in settings.items() if value is not None}),
        "pieces": "\n".join(articles),
    }
    write_from_template(path, TEMPLATE, parts)
    return Page(path, tuple(beside))


def write_from_template(path: Path, template: Path, parts: Mapping[str, str]) -> None:
    """Write a template with a part for each {{name}}: whole or not at all. Raises OSError."""
    text = template.read_text(encoding="utf-8")
    for name, value in parts.items():
        text = text.replace("{{" + name + "}}", value)
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _relative(file: Path, page: Path) -> str:
    return quote(Path(os.path.relpath(file, page.parent)).as_posix())


def data_url(kind: str, contents: bytes) -> str:
    """A URL that holds the contents themselves."""
    return f"data:{kind};base64,{base64.b64encode(contents).decode()}"


def _article(
    number: int, piece: RenderedPiece, score: Score, source: str, renderer: Renderer
) -> str:
    """The HTML of one piece: its roll, its player, its files, its figures and its warnings."""
    measures = measures_of(score, renderer.parts.beats_per_bar)
    bar_seconds = usual_length(measures) / score.resolution * 60 / score.tempo
    num_bars = len(measures) - (measures[0].before > 0)
    # The script gives the MP3 link the player's address: the sound is in the page only once.
    downloads = f'<a class="sound" href="#" download="{escape(piece.name)}.mp3">MP3</a>'
    if piece.midi:
        midi = data_url("audio/midi", Path(piece.midi).read_bytes())
        downloads += f', <a href="{midi}" download="{escape(piece.name)}.mid">MIDI</a>'
    figures = {
        "notes": piece.num_notes,
        **{key: "-" if value is None else f"{value:.3g}" for key, value in piece.metrics.items()},
    }
    warnings = "".join(f"<p>Please note: {escape(warning)}</p>\n" for warning in piece.warnings)
    return f"""<article data-seconds="{piece.seconds:.3f}" data-bar="{bar_seconds:.4f}">
<h2>Piece {number}</h2>
<p>{num_bars} bars, {_sound_length(piece)} until the last sound has faded, probably in
{escape(piece.key)}. {_legend(score, renderer)}</p>
<div class="staff">{_key_names(score)}
<div class="roll" role="slider" tabindex="0" aria-label="Piano roll of piece {number}"
aria-valuemin="0" aria-valuemax="{piece.seconds:.1f}" aria-valuenow="0.0"
aria-valuetext="bar 1, paused">
{_roll(score, renderer)}
</div></div>
<audio controls preload="metadata" aria-label="Player of piece {number}" src="{escape(source)}">
</audio>
<p>Save it: {downloads} (programs that print or edit music open MIDI).</p>
<details><summary>Figures</summary>
{_terms(figures)}</details>
{warnings}</article>"""


def _sound_length(piece: RenderedPiece) -> str:
    """The length of the sound as players show it: '1:05'."""
    import soundfile

    minutes, seconds = divmod(int(soundfile.info(piece.wav).duration), 60)
    return f"{minutes}:{seconds:02d}"


def _terms(facts: Mapping[str, object]) -> str:
    rows = (
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in facts.items()
    )
    return "<dl>\n" + "\n".join(rows) + "\n</dl>"


def _legend(score: Score, renderer: Renderer) -> str:
    """Which colour is which part, if there are several; and the shade of a primer."""
    programs = colours_of_programs(score)
    entries = [
        (colour, renderer.parts.name(program)) for colour, program in programs if len(programs) > 1
    ]
    if renderer.primer_end:
        entries.append(("var(--given)", "given, not composed"))
    return "\n".join(
        f'<span class="part"><i style="background:{colour}"></i>{escape(name)}</span>'
        for colour, name in entries
    )


def _key_names(score: Score) -> str:
    """The column with the names of the white keys, as SVG of the roll's height."""
    lowest, highest = pitch_limits(score)
    height = (highest - lowest + 1) * KEY_HEIGHT
    names = [
        f'<text x="3" y="{(highest - pitch + 1) * KEY_HEIGHT - 1.5:g}">'
        f"{'C D EF G A B'[pitch % 12]}{pitch // 12 - 1 if pitch % 12 == 0 else ''}</text>"
        for pitch in range(lowest, highest + 1)
        if pitch % 12 not in BLACK_KEYS
    ]
    size = f'width="{NAMES_WIDTH}" height="{height}"'
    return f'<svg class="keys" {size} aria-hidden="true">{"".join(names)}</svg>'


def _roll(score: Score, renderer: Renderer) -> str:
    """The score as SVG, whose horizontal axis is proportional to time."""
    lowest, highest = pitch_limits(score)
    step = max(QUARTER_WIDTH / score.resolution, NARROWEST / score.end)
    width, height = score.end * step, (highest - lowest + 1) * KEY_HEIGHT

    def box(x: float, pitch: int, length: float, kind: str) -> str:
        y = (highest - pitch) * KEY_HEIGHT
        return f'<rect x="{x:g}" y="{y}" width="{length:g}" height="{KEY_HEIGHT}" {kind}/>'

    # What lies behind the notes.
    shapes = [
        box(0, pitch, width, 'fill="var(--key)"')
        for pitch in range(lowest, highest + 1)
        if pitch % 12 in BLACK_KEYS
    ]
    if renderer.primer_end:
        shaded = f'width="{renderer.primer_end * step:g}" height="{height}" fill="var(--given)"'
        shapes.insert(0, f'<rect x="0" y="0" {shaded}/>')
    measures = measures_of(score, renderer.parts.beats_per_bar)
    for number, bar in enumerate(measures, 0 if measures[0].before else 1):  # an upbeat is bar 0
        for beat in sorted({bar.start, *bar.beats(score.resolution)}):
            if beat >= score.end:
                break
            colour = "--line" if beat > bar.start else "--bar"
            x = beat * step
            shapes.append(f'<path d="M{x:g} 0V{height}" stroke="var({colour})" stroke-width=".6"/>')
        shapes.append(f'<text x="{bar.start * step + 2:g}" y="9">{number}</text>')

    # The notes, with their names where there is room.
    names = _note_names(score)
    for colour, program in colours_of_programs(score):
        ink = "#000" if colour in DARK_ON else "#fff"
        for note in score.notes[score.notes["program"] == program]:
            x, pitch = note["onset"] * step, int(note["pitch"])
            length = max(note["duration"] * step - 0.8, 0.8)  # repeats look apart
            shapes.append(box(x, pitch, length, f'rx="1" fill="{colour}" class="note"'))
            name = names.get(pitch, "") if program != DRUMS else ""
            if name and length >= NAME_WIDTH * len(name) + 2:
                y = (highest - pitch + 1) * KEY_HEIGHT - 1.5
                shapes.append(f'<text x="{x + 2:g}" y="{y:g}" style="fill:{ink}">{name}</text>')
    cursor = f'<line class="cursor" x1="0" x2="0" y1="0" y2="{height}" stroke="var(--cursor)" '
    shapes.append(cursor + 'stroke-width="2"/>')
    return (
        f'<svg viewBox="0 0 {width:g} {height}" width="{width:g}" height="{height}" '
        'aria-hidden="true">\n' + "\n".join(shapes) + "\n</svg>"
    )


def _note_names(score: Score) -> dict[int, str]:
    """MIDI key -> its name without the octave, spelled in the likeliest key: F♯, B♭."""
    key: Any = key_of(score.notes)
    return {
        pitch: spelled(pitch, key).name.replace("#", "♯").replace("-", "♭")
        for pitch in set(score.notes["pitch"].tolist())
    }
