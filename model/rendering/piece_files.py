"""A composed piece as files: MIDI, sound, piano roll, and scores to print."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from model.composing.drafts import longest_gap
from model.metrics.degeneracy import degeneracies
from model.metrics.score_metrics import measure_score
from model.rendering.audio import render_wav, write_mp3
from model.rendering.engraving import Engraver
from model.rendering.formats import DEFAULT_FORMATS, PRINTED, SOUND
from model.rendering.piano_roll import save_piano_roll
from pipeline.runtime.files import is_full
from pipeline.scores.bars import measures_of, usual_length
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import Score
from pipeline.scores.parts import PLAIN, Parts, key_name, key_of


@dataclass(frozen=True)
class RenderedPiece:
    """The files of one piece, and facts about its music."""

    name: str
    midi: str | None  # None for each format that was not asked for
    png: str | None
    wav: str | None
    num_notes: int
    num_pitches: int
    seconds: float
    key: str  # the likeliest, as 'G major'
    bars_without_onset: float  # the longest stretch in which no note begins
    metrics: dict[str, float | None]  # None if a metric has no value
    warnings: list[str] = field(default_factory=list)
    musicxml: str | None = None
    mp3: str | None = None
    printed: list[str] = field(default_factory=list)  # PDF, and PNG page by page

    def report(self) -> str:
        """The facts and the paths of the files, as lines of text."""
        summary = (
            f"{self.name}: {self.num_notes} notes, {self.num_pitches} pitches, "
            f"{self.seconds:.1f} s, {self.key}"
        )
        return "\n  ".join((summary, *self.files()))

    def files(self) -> list[str]:
        """The paths of the files, in the order of the report."""
        files = (self.midi, self.wav, self.mp3, self.png, self.musicxml, *self.printed)
        return list(filter(None, files))


@dataclass(frozen=True)
class Renderer:
    """Writes pieces into a folder, each file whole or not at all."""

    folder: Path
    soundfont: Path | None  # needed for wav and mp3
    parts: Parts = PLAIN
    primer_end: int = 0  # grid steps of the primer, which was not composed
    formats: tuple[str, ...] = DEFAULT_FORMATS
    engraver: Engraver | None = None  # needed for pdf and score.png
    composer: str = "chorale"  # the name in printed scores

    def render(self, name: str, score: Score) -> RenderedPiece:
        """Write NAME.mid, NAME.wav and so on, as `formats` says, of a score with notes.

        Raises OSError if they cannot be written (a full disk, say), ValueError if the sound does
        not match the music.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            files = self._write(name, score)
        except OSError as error:
            reason = str(error.strerror or error)
            advice = "Free some space there, or name" if is_full(error) else "Name"
            raise OSError(
                f"{name} could not be written to {self.folder} ({reason}). {advice} another folder "
                "with --out"
            ) from error
        return RenderedPiece(
            name=name,
            midi=files.get("mid", [None])[0],
            png=files.get("png", [None])[0],
            wav=files.get("wav", [None])[0],
            num_notes=int(score.notes.size),
            num_pitches=int(np.unique(score.notes["pitch"]).size),
            seconds=score.seconds,
            key=key_name(key_of(score.notes)),
            bars_without_onset=longest_gap(score, self.primer_end)
            / usual_length(measures_of(score, self.parts.beats_per_bar)),
            metrics={key: _or_none(value) for key, value in measure_score(score).items()},
            warnings=degeneracies(score),
            musicxml=files.get("musicxml", [None])[0],
            mp3=files.get("mp3", [None])[0],
            printed=[*files.get("pdf", []), *files.get("score.png", [])],
        )

    def _write(self, name: str, score: Score) -> dict[str, list[str]]:
        """The paths written, by format. Intermediate files that nobody asked for are temporary."""
        paths = {kind: self.folder / f"{name}.{kind}" for kind in self.formats}
        files = {kind: [str(path)] for kind, path in paths.items()}
        with tempfile.TemporaryDirectory() as folder:
            midi = paths.get("mid", Path(folder) / f"{name}.mid")
            if paths.keys() & {"mid", *SOUND}:
                write_midi(score, midi, self.parts)
            if "png" in paths:
                save_piano_roll(score, paths["png"], name, self.parts, self.primer_end)
            if paths.keys() & set(SOUND):
                assert self.soundfont
                wav = paths.get("wav", Path(folder) / f"{name}.wav")
                render_wav(midi, wav, self.soundfont, score.seconds)
                if "mp3" in paths:
                    write_mp3(wav, paths["mp3"])
            musicxml = paths.get("musicxml", Path(folder) / f"{name}.musicxml")
            if paths.keys() & {"musicxml", *PRINTED}:
                from pipeline.scores.musicxml.writer import write_musicxml

                write_musicxml(score, musicxml, name, self.parts, self.composer)
            for kind in paths.keys() & set(PRINTED):
                assert self.engraver
                printed = self.engraver.engrave(musicxml, paths[kind])
                files[kind] = [str(page) for page in printed]
        return files


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
