"""A composed piece as files: MIDI, piano roll, and WAV."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model.audio import render_wav
from model.degeneracy import degeneracies
from model.metrics import measure
from model.pianoroll import save_piano_roll
from pipeline.midi import write_midi
from pipeline.notes import Score


@dataclass(frozen=True)
class RenderedPiece:
    """The files of one piece, and what is in them."""

    name: str
    midi: str
    png: str
    wav: str | None
    num_notes: int
    num_pitches: int
    seconds: float
    metrics: dict[str, float | None]  # null where a metric has no value
    warnings: list[str] = field(default_factory=list)

    def report(self) -> str:
        """Lines of text: what the piece is, and where its files are."""
        summary = (
            f"{self.name}: {self.num_notes} notes, {self.num_pitches} pitches, {self.seconds:.1f} s"
        )
        files = (file for file in (self.midi, self.wav, self.png) if file)
        return "\n  ".join((summary, *files))


@dataclass(frozen=True)
class Renderer:
    """Writes pieces into a folder, each file whole or not at all."""

    folder: Path
    soundfont: Path | None  # None: no sound
    beats_per_bar: int = 4
    primer_end: int = 0  # grid steps that were given, not composed

    def render(self, name: str, score: Score) -> RenderedPiece:
        """Write NAME.mid, NAME.png and NAME.wav of a score with notes.

        Raises OSError where they cannot be written (the disk is full, say), ValueError where the
        sound is not the music's.
        """
        midi, png, wav = (self.folder / f"{name}{suffix}" for suffix in (".mid", ".png", ".wav"))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_midi(score, midi)
            save_piano_roll(score, png, name, self.beats_per_bar, self.primer_end)
            if self.soundfont:
                render_wav(midi, wav, self.soundfont, score.seconds)
        except OSError as error:
            raise OSError(
                f"{name} could not be written to {self.folder} ({error.strerror or error}). Free "
                "some space there, or name another folder with --out"
            ) from error
        return RenderedPiece(
            name=name,
            midi=str(midi),
            png=str(png),
            wav=str(wav) if self.soundfont else None,
            num_notes=int(score.notes.size),
            num_pitches=int(np.unique(score.notes["pitch"]).size),
            seconds=score.seconds,
            metrics={key: _or_none(value) for key, value in measure(score).items()},
            warnings=degeneracies(score),
        )


def write_json(path: Path, contents: dict[str, Any]) -> None:
    """Write the contents for programs: whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(contents, indent=2) + "\n")
    partial.replace(path)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
