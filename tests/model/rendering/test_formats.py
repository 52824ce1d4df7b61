"""The files that generate.py writes on request: MusicXML as music21 reads it, printed scores."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from model.generate import main
from model.rendering.engraving import Engraver, find_engraver
from pipeline.scores.musicxml.writer import write_musicxml
from pipeline.scores.notes import DRUMS, Score, make_notes, one_note_per_key
from pipeline.scores.parts import Parts
from pipeline.scores.reading import read_score
from pipeline.vocabulary.grid import GridVocabulary
from tests.model.tiny_run import write_tiny_run

IDENTITY = ["onset", "pitch", "duration", "program"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_run(tmp_path_factory.mktemp("runs") / "tiny")


def in_quarters(score: Score, fields: list[str] = IDENTITY) -> list[tuple[float, ...]]:
    """Rows of these fields, times in quarters, to a millionth."""
    times = ("onset", "duration")
    columns = [
        np.round(score.notes[name] / (score.resolution if name in times else 1), 6)
        for name in fields
    ]
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def test_a_chorale_as_musicxml_is_read_back_note_for_note_by_voice(
    tiny_scores: dict[str, Score], tmp_path: Path
) -> None:
    score = GridVocabulary().fit(tiny_scores["bwv255"])[0]
    write_musicxml(score, tmp_path / "piece.musicxml", "A title & more")
    assert [path.name for path in tmp_path.iterdir()] == ["piece.musicxml"]
    again = read_score(tmp_path / "piece.musicxml")
    assert in_quarters(again) == in_quarters(score)
    assert len(set(again.notes["program"].tolist())) == 4
    assert again.tempo == score.tempo
    text = (tmp_path / "piece.musicxml").read_text()
    assert "A title &amp; more" in text
    assert text.count("<beats>4</beats>") == 4


def test_overlaps_triplets_and_percussion_reach_musicxml(tmp_path: Path) -> None:
    rows = [(0, 0, 60, 30, 80), (4, 0, 64, 4, 80), (8, 0, 67, 4, 80), (8, 0, 72, 17, 80)]
    rows += [(0, DRUMS, 36, 12, 80), (12, DRUMS, 38, 12, 80), (55, 0, 61, 5, 80)]
    score = Score(one_note_per_key(make_notes(rows))[0], 12, 90.0)
    write_musicxml(score, tmp_path / "piece.musicxml", "piece", parts=Parts(beats_per_bar=3))
    again = read_score(tmp_path / "piece.musicxml")
    assert in_quarters(again) == in_quarters(score)
    assert again.tempo == 90


def test_only_the_formats_asked_for_are_written_and_hold_the_same_notes(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--bars", "2", "--seed", "1", "--out", str(tmp_path / "out")]
    assert main([str(run_dir), *flags, "--formats", "musicxml,mid"]) == 0
    files = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in files] == ["piece-001.mid", "piece-001.musicxml"]
    midi, musicxml = map(read_score, files)
    assert in_quarters(midi) == in_quarters(musicxml)
    creator = f'<creator type="composer">chorale, model {run_dir.name}</creator>'
    assert creator in files[1].read_text()
    said = capsys.readouterr().out
    assert all(str(path) in said for path in files)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--formats", "midi"], "did you mean mid?"),
        (["--formats", "mid,ogg"], "no format 'ogg'; there are mid, wav, png, mp3, musicxml"),
        (["--formats", "wav", "--no-wav"], "--no-wav leaves none of the --formats"),
        (["--page", "index.html", "--no-wav"], "it goes with wav files"),
        (["--page", "index.html", "--live", "stdout"], "it goes with wav files"),
    ],
)
def test_formats_that_do_not_fit_are_refused_before_anything_begins(
    capsys: pytest.CaptureFixture[str], flags: list[str], named: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["nowhere", *flags])
    assert named in capsys.readouterr().err


# Printed scores: stand-ins for MuseScore and LilyPond show their arguments, and the real programs
# print where they are installed -----------------------------------------------------------------


def stand_in(folder: Path, name: str, script: str) -> None:
    """An executable of this name in the folder."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    for tool in ("cp", "head", "sh"):  # what the scripts need, and no other engraver
        if (found := shutil.which(tool, path="/usr/bin:/bin")) and not (folder / tool).exists():
            (folder / tool).symlink_to(found)


def test_without_an_engraver_a_printed_score_is_refused_with_what_to_install(
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    out = tmp_path / "out"
    for kind in ("pdf", "score.png"):
        assert main([str(run_dir), "--out", str(out), "--formats", kind]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: neither MuseScore nor LilyPond is installed")
        assert "apt install musescore3" in error
        assert error.count("\n") == 1
    assert not out.exists()


def test_musescore_prints_a_file_for_each_page(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As MuseScore 3 does: -r DPI -o FILE INPUT, and for PNG a number before the suffix.
    script = 'base="${4%.*}"; head -c 5 "$5" > "$base-1.png"; echo two > "$base-2.png"'
    stand_in(tmp_path / "bin", "mscore", script)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    flags = ["--bars", "1", "--seed", "1", "--out", str(tmp_path / "out")]
    assert main([str(run_dir), *flags, "--formats", "score.png"]) == 0
    pages = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert pages == {"piece-001.score.png": "<?xml", "piece-001.score-2.png": "two\n"}


def test_lilypond_prints_what_its_converter_made_and_its_errors_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bin"
    stand_in(folder, "musicxml2ly", 'cp "$3" "$2"')  # --output FILE INPUT
    stand_in(folder, "lilypond", 'cp "$5" "$4.pdf"')  # --pdf -dresolution=N -o BASE INPUT
    monkeypatch.setenv("PATH", str(folder))
    (tmp_path / "piece.musicxml").write_text("music")
    printed = find_engraver().engrave(tmp_path / "piece.musicxml", tmp_path / "piece.pdf")
    assert printed == [tmp_path / "piece.pdf"]
    assert printed[0].read_text() == "music"
    stand_in(folder, "lilypond", "echo no such glyph >&2; exit 3")
    with pytest.raises(RuntimeError, match="lilypond could not print the score: no such glyph"):
        find_engraver().engrave(tmp_path / "piece.musicxml", tmp_path / "other.pdf")
    assert not (tmp_path / "other.pdf").exists()


@pytest.mark.parametrize("programs", [["mscore3"], ["lilypond", "musicxml2ly"]])
def test_the_installed_program_prints_a_score(programs: list[str], tmp_path: Path) -> None:
    paths = [Path(found) for name in programs if (found := shutil.which(name))]
    if len(paths) < len(programs):
        pytest.skip(f"{programs[0]} is not installed: apt install musescore3 lilypond")
    rows = [(0, 0, 60, 5, 80), (5, 0, 64, 43, 80), (24, 40, 72, 7, 80), (48, DRUMS, 38, 6, 80)]
    write_musicxml(Score(make_notes(rows), 12, 90.0), tmp_path / "piece.musicxml", "A piece")
    printed = Engraver(*paths).engrave(tmp_path / "piece.musicxml", tmp_path / "piece.pdf")
    assert printed == [tmp_path / "piece.pdf"]
    assert printed[0].read_bytes().startswith(b"%PDF-")
