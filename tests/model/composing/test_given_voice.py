"""generate.py --given: the given voice stays as it is, the model composes the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.composing.composer import Composer
from model.composing.given_voice import read_given_voice
from model.composing.harmonising import harmonise
from model.composing.pieces import Length
from model.composing.sampling import Sampling
from model.generate import main
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import DRUMS, Score, make_notes
from pipeline.scores.reading import read_score
from pipeline.vocabulary.frames import FIRST_PROGRAM
from pipeline.vocabulary.grid import GridVocabulary
from tests.model.tiny_run import VOCABULARY, write_tiny_run

CHORALES = Path(__file__).resolve().parents[3] / "model" / "pretrained" / "chorales"
TUNE = [(0, 69), (4, 71), (8, 72), (12, 72)]  # quarters, the last one repeated


def line(rows: list[tuple[int, int]], length: int = 4, program: int = 0) -> Score:
    """Notes of one voice from (step, pitch), four steps a quarter."""
    return Score(make_notes([(onset, program, pitch, length, 80) for onset, pitch in rows]), 4)


@pytest.fixture(scope="module")
def tune(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("given") / "soprano.mid"
    write_midi(line(TUNE), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("name", "index"), [("1", 0), ("bass", 3)])
def test_the_given_voice_sounds_unchanged_among_three_others(
    name: str, index: int, tune: Path, tmp_path: Path
) -> None:
    octaves = 0 if index == 0 else -24
    file = tmp_path / "given.mid"
    write_midi(line([(onset + 8, pitch + octaves) for onset, pitch in TUNE]), file)
    flags = ["--given", str(file), "--given-voice", name, "--seed", "2", "--formats", "mid"]
    assert main([str(CHORALES), *flags, "--out", str(tmp_path / "out")]) == 0
    score = read_score(tmp_path / "out" / "piece-001.mid")
    voices = [score.notes[score.notes["program"] == FIRST_PROGRAM + voice] for voice in range(4)]
    step = score.resolution // 4
    sung = voices[index][["onset", "pitch", "duration"]].tolist()
    assert sung == [(onset * step, pitch + octaves, 4 * step) for onset, pitch in TUNE]
    assert all(voice.size > 1 for voice in voices)
    assert score.end == 16 * step


def test_notes_that_the_grid_changes_are_counted(tune: Path, tmp_path: Path) -> None:
    said: list[str] = []
    read_given_voice(tune, "soprano", GridVocabulary(), said.append)
    assert said == []

    # In twelfths: a crotchet, three triplets (0, 1/3 and 2/3 of a quarter), a crotchet, a drum.
    rows = [(12, 0, 60, 12, 80), (24, 0, 62, 4, 80), (28, 0, 64, 4, 80), (32, 0, 65, 4, 80)]
    rows += [(36, 0, 67, 12, 80), (36, DRUMS, 38, 12, 80)]
    file = tmp_path / "triplets.mid"
    write_midi(Score(make_notes(rows), 12), file)
    given = read_given_voice(file, "soprano", GridVocabulary(), said.append)
    # In 16ths: 4 4/3 4/3 4/3 4 from 0, 4, 16/3, 20/3, 8.
    steps = given.line.notes[["onset", "duration"]].tolist()
    assert steps == [(0, 4), (4, 1), (5, 2), (7, 1), (8, 4)]
    assert said == [
        "given voice: percussion left out: 1 of 6 notes",
        "given voice: moved, or changed in length, to fit the grid of 4 steps a quarter: 3 of 5 "
        "notes, by up to 0.167 quarters",
    ]


@pytest.mark.slow
def test_pieces_differ_by_number_and_a_seed_gives_them_again(tune: Path) -> None:
    composer = Composer.load(CHORALES)
    given = read_given_voice(tune, "soprano", composer.vocabulary)
    both = harmonise(composer, [0, 1], Sampling(), given, seed=3, drafts=4)
    again = harmonise(composer, [1], Sampling(), given, seed=3, drafts=4)
    assert both[1].ids.tolist() == again[0].ids.tolist() != both[0].ids.tolist()
    frames = composer.vocabulary.decode_frames(both[0].ids)
    assert frames[:, 0].tolist() == np.repeat([pitch for _, pitch in TUNE], 4).tolist()


def test_nothing_that_composes_is_left_to_autograph(
    untrained: Path, tune: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Autograph writes files to the temp folder; a process that is killed leaves them there."""
    from tensorflow.python.autograph.pyct import loader

    monkeypatch.setattr(
        loader, "load_source", lambda source, *_: pytest.fail(f"autograph wrote {source}")
    )
    composer = Composer.load(untrained)
    given = read_given_voice(tune, "soprano", composer.vocabulary)
    assert harmonise(composer, [0], Sampling(), given, seed=3, drafts=4)
    assert composer.compose([0], Sampling(), Length(max_tokens=20), seed=3)


# Refusals ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_run(tmp_path_factory.mktemp("runs") / "grid", GridVocabulary())


def refused(capsys: pytest.CaptureFixture[str], run: Path, given: Path, *flags: str) -> str:
    """The one line of a command that fails and writes nothing."""
    out = run.parent / "refused"
    assert main([str(run), "--given", str(given), "--out", str(out), "--no-wav", *flags]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not out.exists()
    return error


def test_a_file_that_is_no_voice_is_refused_in_one_line(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "given.mid"
    assert "does not exist" in refused(capsys, untrained, file)
    file.write_text("words")
    assert "not a MIDI file" in refused(capsys, untrained, file)
    write_midi(line([(0, 60), (4, 62), (4, 65)]), file)
    assert "begin together, first at quarter 1;" in refused(capsys, untrained, file)
    write_midi(Score(make_notes([(0, 0, 60, 1, 80), (1, 0, 62, 11, 80)]), 12), file)
    assert "too fast for this model, first at quarter 0: its grid has 4" in refused(
        capsys, untrained, file
    )
    write_midi(line([(0, 60), (4, 90)]), file)
    assert "from MIDI key 60 to 90; this model sings from 36 to 81" in refused(
        capsys, untrained, file
    )
    write_midi(line([(0, 36)], program=DRUMS), file)
    assert "only percussion" in refused(capsys, untrained, file)


def test_a_voice_or_a_model_that_does_not_fit_is_refused(
    untrained: Path, tune: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, untrained, tune, "--given-voice", "descant")
    assert "'descant'; this model's voices are soprano, alto, tenor, bass, 1, 2, 3, 4" in error
    events = write_tiny_run(tmp_path / "events", VOCABULARY)
    assert "--given needs a model of several voices" in refused(capsys, events, tune)


@pytest.mark.parametrize("flags", [["--bars", "4"], ["--primer", "C4"], ["--live", "stdout"]])
def test_flags_that_contradict_a_given_voice_are_refused(
    tune: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["nowhere", "--given", str(tune), *flags])
    assert "--given" in capsys.readouterr().err


def test_an_overlap_is_cut_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "given.mid"
    write_midi(line([(0, 60), (4, 62), (8, 64)], length=5), file)
    given = read_given_voice(file, "2", GridVocabulary())
    assert given.line.notes["duration"].tolist() == [4, 4, 5]
    assert "cut where the next begins: 2 of 3 notes" in capsys.readouterr().out
