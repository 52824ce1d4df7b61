"""ComMU: its twelve fields, its split, the track of chords, its table and its tar."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from pipeline.dataset.manifest import Manifest
from pipeline.dataset.records import read_features, read_pieces
from pipeline.preprocessing.build import Settings, build_data_set
from pipeline.preprocessing.encoder import Encoded, Encoder
from pipeline.scores.labels import Features, summarise
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import Score, make_notes
from pipeline.sources.collect import content_digests, label_digests, open_sources
from pipeline.sources.commu import COLUMNS as COMMU_COLUMNS
from pipeline.sources.piece import Piece
from pipeline.vocabulary.events import EventVocabulary
from tests.pipeline.sources.data_sets import (
    COMMU_ROW,
    pieces_of,
    write_commu,
    write_table,
    write_tune,
)

COMMU_FEATURES = Features(
    key="A minor",
    chords=("Am", "Am", "C/E", "C/E"),
    pitch_range="mid_high",
    num_measures=9,
    tempo=130.0,
    genre="newage",
    role="main_melody",
    instrument="acoustic_piano-1",
    rhythm="standard",
    metre="4/4",
    min_velocity=40,
    max_velocity=95,
)


@pytest.fixture(scope="module")
def commu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_commu(tmp_path_factory.mktemp("commu"))


@pytest.fixture(scope="module")
def commu_data(commu: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder that the preprocessor makes of it."""
    out = tmp_path_factory.mktemp("out") / "commu"
    build_data_set(Settings((f"commu:{commu}",), out, num_lanes=2, num_processes=1))
    return out


def test_commu_keeps_its_twelve_fields_and_its_split_in_the_records(commu_data: Path) -> None:
    manifest = Manifest.load(commu_data)
    train = dict(read_features(commu_data, manifest, "train"))
    valid = dict(read_features(commu_data, manifest, "valid"))
    assert sorted(train) == ["commu/commu00001", "commu/commu00002"]
    assert train["commu/commu00001"] == COMMU_FEATURES
    assert train["commu/commu00002"].key == "Bb major"
    assert list(valid) == ["commu/commu00003"]
    assert manifest.num_pieces("test") == 0
    assert manifest.features == summarise([*train.values(), *valid.values()])
    assert manifest.features["tempo"] == {"pieces": 3, "min": 60.0, "max": 130.0}
    assert manifest.features["chords"] == {"pieces": 3, "values": {"Am": 6, "C/E": 6}}


def chords_of(folder: Path, **changes: str) -> tuple[str, ...]:
    """The chords of the first track, as a symbol for each eighth note of its file."""
    return pieces_of(f"commu:{write_commu(folder, **changes)}")["commu/commu00001"].features.chords


FOUR_BARS = "[[" + ", ".join(f"'{symbol}'" for symbol in "CFGA" for _ in range(8)) + "]]"


@pytest.mark.parametrize("num_measures", ["5", "5.0"])
def test_the_chords_of_a_track_with_a_pick_up_begin_one_bar_in(
    num_measures: str, tmp_path: Path
) -> None:
    """Such a track has 4 n + 1 bars, and chords for all but the first."""
    expected = ("NN",) * 8 + tuple("CCCCCCCCFFFFFFFFGGGGGGGGAAAAAAAA")
    assert chords_of(tmp_path, chord_progressions=FOUR_BARS, num_measures=num_measures) == expected


@pytest.mark.parametrize(
    ("metre", "bars", "eighths"), [("3/4", 9, 6), ("6/8", 17, 6), ("12/8", 5, 12)]
)
def test_the_bar_of_a_pick_up_is_as_long_as_the_metre_says(
    metre: str, bars: int, eighths: int, tmp_path: Path
) -> None:
    written = str([["C"] * (bars - 1) * eighths])
    changes = {"num_measures": str(bars), "time_signature": metre}
    found = chords_of(tmp_path, chord_progressions=written, **changes)
    assert found == ("NN",) * eighths + ("C",) * (bars - 1) * eighths


@pytest.mark.parametrize("num_measures", ["4", "3", "6"])
def test_without_a_pick_up_the_chords_begin_with_the_file(
    num_measures: str, tmp_path: Path
) -> None:
    found = chords_of(tmp_path, chord_progressions=FOUR_BARS, num_measures=num_measures)
    assert found == tuple("CCCCCCCCFFFFFFFFGGGGGGGGAAAAAAAA")


def test_chords_for_every_bar_of_five_begin_with_the_file(tmp_path: Path) -> None:
    five_bars = str([["C"] * 40])
    assert chords_of(tmp_path, chord_progressions=five_bars, num_measures="5") == ("C",) * 40


def test_a_chord_after_a_pick_up_stands_before_the_note_of_its_bar(tmp_path: Path) -> None:
    """A note on the last beat of the first bar, and one on the first of the second."""
    commu = write_commu(tmp_path / "commu", chord_progressions=FOUR_BARS, num_measures="5")
    notes = make_notes([(3, 0, 60, 1, 80), (4, 0, 62, 4, 80), (8, 0, 64, 4, 80)])
    write_midi(Score(notes, 1), commu / "commu_midi" / "train" / "raw" / "commu00001.mid")
    vocabulary = EventVocabulary(conditions=("chords",))
    settings = Settings((f"commu:{commu}",), tmp_path / "out", vocabulary, num_lanes=2)
    build_data_set(settings)
    pieces = dict(read_pieces(settings.out, Manifest.load(settings.out), "train"))
    ids = pieces["commu/commu00001"]
    said = zip(vocabulary.times(ids).tolist(), map(vocabulary.token_name, ids), strict=True)
    quarter = vocabulary.steps_per_quarter
    chords = [(step / quarter, name) for step, name in said if name.startswith("CHORDS ")]
    assert chords == [  # in quarters after the first note; all conditions come every four quarters
        *((0, "CHORDS ?"), (1, "CHORDS C"), (4, "CHORDS C"), (5, "CHORDS F")),
    ]


def test_chords_are_counted_from_the_step_to_which_the_first_note_is_rounded(
    tmp_path: Path,
) -> None:
    """A first note half a step late is rounded to step 1: the second eighth is 5 steps later."""
    notes = make_notes([(1, 0, 60, 11, 80), (12, 0, 62, 12, 80)])  # in 24ths of a quarter
    score = Score(notes, 24, notes_read=2)
    encoder = Encoder(EventVocabulary(conditions=("chords",)), reader=lambda path: [score])
    piece = Piece("piece", tmp_path, features=Features(chords=("C", "G")))
    [found] = encoder(piece)
    assert isinstance(found, Encoded)
    said = [encoder.vocabulary.token_name(token) for token in found.ids.tolist()]
    assert said[1:] == [
        *("CHORDS C", "NOTE 60", "DURATION 5", "SHIFT 5"),
        *("CHORDS G", "NOTE 62", "DURATION 6", "END"),
    ]


def test_an_id_that_two_rows_have_is_named_and_the_first_row_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    commu = write_commu(tmp_path)
    rows = [COMMU_ROW, COMMU_ROW | {"genre": "cinematic"}]
    write_table(commu / "commu_meta.csv", rows)
    [piece] = pieces_of(f"commu:{commu}").values()
    assert piece.features.genre == "newage"
    assert (
        "note: commu_meta.csv has two rows for a piece, the first is used: commu00001"
    ) in capsys.readouterr().err.splitlines()


def test_of_two_files_of_one_name_the_one_in_the_folder_of_the_split_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    commu = write_commu(tmp_path)
    midi = commu / "commu_midi"
    write_tune(midi / "val" / "raw" / "commu00001.mid", 70)
    write_tune(midi / "train" / "raw" / "commu00003.mid", 71)
    pieces = pieces_of(f"commu:{commu}")
    assert pieces["commu/commu00001"].path == midi / "train" / "raw" / "commu00001.mid"
    assert pieces["commu/commu00003"].path == midi / "val" / "raw" / "commu00003.mid"
    assert capsys.readouterr().err.splitlines() == [
        f"note: two files have one name, that of the piece's split is used: {name}"
        for name in ("commu00001", "commu00003")
    ]


def test_the_track_of_chords_is_no_part_of_the_music(commu_data: Path) -> None:
    ids = dict(read_pieces(commu_data, Manifest.load(commu_data), "train"))["commu/commu00001"]
    assert EventVocabulary().decode(ids).notes["pitch"].tolist() == [60, 62, 64, 66]
    # Of each of the three tracks four notes of the tune, three of a chord.
    left_out = {"notes of the chord track left out": 9}
    assert Manifest.load(commu_data).notes == {"read": 21, "kept": 12, "dropped": left_out}


@pytest.mark.parametrize("holds_table", [False, True])
def test_commu_in_a_tar_is_the_same_as_in_a_folder(
    commu: Path, tmp_path: Path, holds_table: bool
) -> None:
    """As it is published, with the table beside the tar, and as one tar of both."""
    with tarfile.open(tmp_path / "commu_midi.tar", "w") as archive:
        archive.add(commu / "commu_midi", "commu_midi")
        if holds_table:
            archive.add(commu / "commu_meta.csv", "commu_meta.csv")
    if not holds_table:
        (tmp_path / "commu_meta.csv").write_bytes((commu / "commu_meta.csv").read_bytes())

    def labels_and_contents(source: Path) -> tuple[dict, dict]:
        with open_sources([f"commu:{source}"]) as pieces:
            return label_digests(pieces), content_digests(pieces)

    expected = labels_and_contents(commu)
    assert len(expected[0]) == 3
    assert labels_and_contents(tmp_path / "commu_midi.tar") == expected
    if not holds_table:
        assert labels_and_contents(tmp_path) == expected


def test_rows_without_a_file_and_files_without_a_row_are_named_and_the_rest_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_commu(tmp_path)
    raw = tmp_path / "commu_midi" / "train" / "raw"
    (raw / "commu00001.mid").rename(raw / "commu00099.mid")
    assert sorted(pieces_of(f"commu:{tmp_path}")) == ["commu/commu00002", "commu/commu00003"]
    assert capsys.readouterr().err.splitlines() == [
        "note: commu_meta.csv names a piece without a file: commu00001",
        "note: left out, not in commu_meta.csv: commu00099",
    ]


def test_many_gaps_are_counted_and_not_all_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = [COMMU_ROW | {"id": f"commu{number:05d}"} for number in range(30)]
    write_table(tmp_path / "commu_meta.csv", rows)
    write_tune(tmp_path / "commu_midi" / "train" / "raw" / "commu00000.mid")
    assert len(pieces_of(f"commu:{tmp_path}")) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[-1].endswith("and 19 more")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"audio_key": "hmajor"}, "audio_key is 'hmajor': needed: a key such as cmajor"),
        ({"chord_progressions": "[['C'"}, "chord_progressions is \"[['C'\""),
        ({"chord_progressions": "__import__('os')"}, "malformed node"),
        ({"chord_progressions": "[['C'], ['G']]"}, "needed: one list of chord symbols in a list"),
        ({"bpm": "fast"}, "bpm is 'fast': could not convert"),
        ({"bpm": "inf"}, "bpm is 'inf': a finite number is needed"),
        ({"bpm": "0"}, "bpm is '0': a number above 0 is needed"),
        ({"num_measures": "8.5"}, "num_measures is '8.5': a whole number is needed"),
        ({"split_data": "test"}, "split_data is 'test': needed: train or val"),
    ],
)
def test_metadata_of_another_form_are_one_clear_error(
    changes: dict[str, str], said: str, tmp_path: Path
) -> None:
    write_commu(tmp_path, **changes)
    with pytest.raises(ValueError, match=r"commu_meta\.csv, row commu00001: ") as error:
        pieces_of(f"commu:{tmp_path}")
    assert said in str(error.value)


@pytest.mark.parametrize("column", COMMU_COLUMNS)
def test_a_missing_column_is_named(column: str, tmp_path: Path) -> None:
    row = {name: value for name, value in COMMU_ROW.items() if name != column}
    write_table(tmp_path / "commu_meta.csv", [row])
    (tmp_path / "commu_midi").mkdir()
    with pytest.raises(ValueError, match=rf"commu_meta\.csv: row 1 has no {column}; its columns"):
        pieces_of(f"commu:{tmp_path}")


def test_a_folder_without_table_or_midi_says_which_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither a folder commu_midi nor commu_midi\.tar"):
        pieces_of(f"commu:{tmp_path}")
    (tmp_path / "commu_midi").mkdir()
    with pytest.raises(ValueError, match=r"commu_meta\.csv does not exist"):
        pieces_of(f"commu:{tmp_path}")
    write_table(tmp_path / "commu_meta.csv", [COMMU_ROW])
    with pytest.raises(ValueError, match=r"none of the 1 pieces of .*commu_meta\.csv is in"):
        pieces_of(f"commu:{tmp_path}")


def test_other_labels_are_another_data_set(commu_data: Path, tmp_path: Path) -> None:
    changed = write_commu(tmp_path, genre="cinematic")
    with pytest.raises(ValueError, match=r"other settings \(sources differ\)"):
        build_data_set(Settings((f"commu:{changed}",), commu_data, num_lanes=2, num_processes=1))
