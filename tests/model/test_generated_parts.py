"""What files of generate.py say beside the notes: parts, metre, key; and which part of a piece."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import mido
import numpy as np
import pytest

from model.composing.primer import without_primer
from model.generate import main
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import DRUMS, NOTE, Score, make_notes
from pipeline.scores.reading import read_score
from pipeline.vocabulary.grid import GridVocabulary
from tests.model.tiny_run import write_tiny_run

FLAGS = ["--bars", "3", "--beats-per-bar", "3", "--seed", "4"]


@pytest.fixture(scope="module")
def grid_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_run(tmp_path_factory.mktemp("runs") / "grid", GridVocabulary())


@pytest.fixture(scope="module")
def written(grid_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("written")
    assert main([str(grid_run), *FLAGS, "--out", str(out), "--formats", "mid,musicxml"]) == 0
    return out


def metas(midi: Path, kind: str) -> list[mido.MetaMessage]:
    return [event for track in mido.MidiFile(midi).tracks for event in track if event.type == kind]


def quarters(score: Score) -> list[tuple[float, ...]]:
    """Onset, program, pitch, duration, velocity of each note, times in quarters."""
    rows = score.notes.tolist()
    return [(o / score.resolution, p, k, d / score.resolution, v) for o, p, k, d, v in rows]


def test_four_voices_are_named_and_metre_and_key_are_those_of_the_printed_score(
    written: Path,
) -> None:
    midi, printed = written / "piece-001.mid", written / "piece-001.musicxml"
    names = ["Soprano", "Alto", "Tenor", "Bass"]
    assert [meta.name for meta in metas(midi, "track_name")] == names
    root = ElementTree.parse(printed).getroot()
    assert [part.text for part in root.iter("part-name")] == names
    (metre,) = metas(midi, "time_signature")
    assert (metre.numerator, metre.denominator) == (3, 4) == (int(root.findtext(".//beats")), 4)
    (key,) = metas(midi, "key_signature")
    tonic = key.key.removesuffix("m")
    fifths = "FCGDAEB".index(tonic[0]) - 1 + 7 * (tonic.count("#") - tonic.count("b"))
    assert fifths - 3 * key.key.endswith("m") == int(root.findtext(".//fifths"))
    assert quarters(read_score(midi)) == quarters(read_score(printed))
    assert {velocity for *_, velocity in quarters(read_score(midi))} - {80}


def test_a_program_plays_all_voices_and_changes_nothing_else(
    grid_run: Path, written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*FLAGS, "--formats", "mid", "--out", str(tmp_path), "--program"]
    assert main([str(grid_run), *flags, "19"]) == 0
    midi = mido.MidiFile(tmp_path / "piece-001.mid")
    programs = [event.program for event in midi if event.type == "program_change"]
    assert programs == [19] * 4
    found, usual = (read_score(folder / "piece-001.mid") for folder in (tmp_path, written))
    assert set(found.notes["program"].tolist()) == {19}
    usual.notes["program"] = 19
    assert Counter(found.notes.tolist()) == Counter(usual.notes.tolist())
    assert main([str(grid_run), *flags, "128"]) == 1
    assert "--program is 128; General MIDI has 0 to 127" in capsys.readouterr().err


def test_more_voices_than_four_are_all_played_by_the_piano(tmp_path: Path) -> None:
    run = str(write_tiny_run(tmp_path / "six", GridVocabulary(voices=6)))
    assert main([run, *FLAGS, "--formats", "mid,musicxml", "--out", str(tmp_path / "out")]) == 0
    file = tmp_path / "out/piece-001.mid"
    assert {event.program for event in mido.MidiFile(file) if event.type == "program_change"} == {0}
    names = [meta.name for meta in metas(file, "track_name")]
    assert names == [f"Voice {number}" for number in range(1, 7)]
    printed = ElementTree.parse(file.with_suffix(".musicxml"))
    assert {part.text for part in printed.iter("midi-program")} == {"1"}
    assert main([run, *FLAGS, "--formats", "mid", "--out", str(tmp_path), "--program", "48"]) == 0
    played = mido.MidiFile(tmp_path / "piece-001.mid")
    assert {event.program for event in played if event.type == "program_change"} == {48}


def test_bars_of_a_primer_and_the_part_that_is_new(
    grid_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(4 * beat, 0, 60 + beat, 4, 80) for beat in range(12)]  # three bars of quarters
    rows += [(at, DRUMS, 38, 2, 80) for at in (0, 32, 36)]  # one in these two bars
    write_midi(Score(make_notes(rows), 4), tmp_path / "tune.mid")
    flags = [str(grid_run), "--primer", str(tmp_path / "tune.mid"), "--primer-bars", "2"]
    flags += ["--bars", "2", "--seed", "1", "--formats", "mid", "--out"]
    assert main([*flags, str(tmp_path / "whole")]) == 0
    assert main([*flags, str(tmp_path / "new"), "--new-part-only"]) == 0
    assert capsys.readouterr().out.count("primer: percussion left out: 1 of 9 notes\n") == 2
    whole, new = (
        quarters(read_score(tmp_path / part / "piece-001.mid")) for part in ("whole", "new")
    )
    # Two of the three bars are continued: the third one is not there.
    assert [key for o, _, key, _, _ in whole if o < 8] == list(range(60, 68))
    after = [(o - 8, p, k, d) for o, p, k, d, _ in whole if o >= 8]
    assert [row[:4] for row in new if row[:2] != (0, 40)] == [
        row for row in after if row[:2] != (0, 40)
    ]
    assert all(0 <= o < 8 for o, *_ in new)
    assert main([*flags, str(tmp_path / "x"), "--primer-bars", "9"]) == 0
    assert "primer: it has 3 bars; all are taken" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([str(grid_run), "--new-part-only"])
    assert "--primer-bars and --new-part-only go with --primer" in capsys.readouterr().err


def test_what_is_new_starts_at_a_bar_line_and_a_held_note_begins_anew() -> None:
    primer = Score(make_notes([(0, 40, 60, 20, 80), (0, 41, 55, 20, 80)]), 4)
    rows = [(0, 40, 60, 28, 80), (0, 41, 55, 20, 80), (20, 41, 57, 4, 80)]
    new = without_primer(Score(make_notes(rows), 4), primer, bar=16)
    assert new.notes.tolist() == [(4, 40, 60, 8, 80), (4, 41, 57, 4, 80)]
    np.testing.assert_array_equal(new.notes.dtype, NOTE)
