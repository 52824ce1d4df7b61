"""JSON files of frames: notes give the frames back, official splits stay, errors say why."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.manifest import SPLITS, Manifest
from pipeline.dataset.records import read_pieces
from pipeline.preprocessing.build import Settings, build_data_set
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import Score, make_notes
from pipeline.sources.collect import content_digests, open_sources
from pipeline.sources.json_frames import NUM_KEYS, SILENT, piano_roll, read_frames
from pipeline.sources.piece import Piece
from pipeline.sources.splits import assign_splits
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.frames import FIRST_PROGRAM

# As the official files: where, voices, steps per quarter, pieces and frames of each split.
OFFICIAL = {
    "jsb:jsb/Jsb16thSeparated.json": (4, 4, (229, 76, 77), (55228, 18408, 18900)),
    "jsb:jsb/jsb-chorales-quarter.json": (0, 1, (229, 76, 77), (13807, 4602, 4725)),
    "nottingham:nottingham/nottingham-8th.json": (
        *(0, 2, (694, 173, 170)),
        (176561, 45513, 44463),
    ),
    "musedata:polyphony/musedata-8th.json": (0, 2, (524, 135, 124), (245202, 82755, 64339)),
    "pianomidi:polyphony/pianomidi-8th.json": (0, 2, (87, 12, 25), (75911, 8540, 19036)),
}

VOICES = [[60, 55, 52, 48], [60, 55, -1, 48], [62, 55, 55, 48], [-1, -1, -1, 48]]


def write(folder: Path, name: str, pieces: dict[str, list] | str) -> Path:
    path = folder / name
    path.write_text(pieces if isinstance(pieces, str) else json.dumps(pieces))
    return path


def splits_of(*pieces: list) -> dict[str, list]:
    """Every split with the same pieces."""
    return {split: list(pieces) for split in SPLITS}


def pieces_of(source: str) -> list[Piece]:
    with open_sources([source]) as pieces:
        return pieces


def frames_of_score(score: Score, num_voices: int = 0, num_frames: int = 0) -> np.ndarray:
    """Frames [num_frames, width] int16 of a score on its own grid, as `FrameSet.splits` has them.

    With `num_voices` one column a voice, by the programs of `FrameSet.score`; else the sounding
    pitches, lowest first. `num_frames` is the length of a piece whose last frames may be silent.
    """
    length = max(score.end, num_frames)
    if num_voices:
        frames = np.full((length, num_voices), SILENT, np.int16)
        for onset, program, pitch, duration, _ in score.notes.tolist():
            frames[onset : onset + duration, program - FIRST_PROGRAM] = pitch
        return frames
    roll = np.zeros((length, NUM_KEYS), bool)
    for onset, _, pitch, duration, _ in score.notes.tolist():
        roll[onset : onset + duration, pitch] = True
    frames = np.full((length, roll.sum(1).max(initial=0)), SILENT, np.int16)
    for frame, row in zip(frames, roll, strict=True):
        frame[: row.sum()] = np.flatnonzero(row)
    return frames


@pytest.mark.parametrize("source", OFFICIAL)
def test_the_notes_of_every_official_piece_give_its_frames_back(
    source: str, shared_data: Path
) -> None:
    num_voices, steps, num_pieces, num_frames = OFFICIAL[source]
    path = shared_data / source.partition(":")[2]
    if not path.is_file():
        pytest.skip(f"no {path}")
    found = read_frames(path)
    assert found.steps_per_quarter == steps
    assert tuple(len(found.splits[split]) for split in SPLITS) == num_pieces
    assert tuple(sum(map(len, found.splits[split])) for split in SPLITS) == num_frames
    for split in SPLITS:
        for index, frames in enumerate(found.splits[split][:40]):
            score = found.score(split, index)
            np.testing.assert_array_equal(
                frames_of_score(score, num_voices, len(frames)), frames, f"{split} {index}"
            )


@pytest.mark.parametrize("source", OFFICIAL)
def test_the_official_splits_and_the_scores_reach_the_preprocessor(
    source: str, shared_data: Path
) -> None:
    name, _, place = source.partition(":")
    path = shared_data / place
    if not path.is_file():
        pytest.skip(f"no {path}")
    pieces = pieces_of(f"{name}:{path}")
    digests = content_digests(pieces)
    splits = assign_splits(pieces, digests, {"train": 1.0}, seed=0)
    counts = tuple(list(splits.values()).count(split) for split in SPLITS)
    assert counts == OFFICIAL[source][2]
    piece = pieces[-1]
    assert piece.id.startswith(f"{name}/valid/")
    assert piece.reader is not None
    (score,) = piece.reader(piece.path)
    expected = read_frames(path).splits["valid"][-1]
    roll = piano_roll(frames_of_score(score, OFFICIAL[source][0], len(expected)))
    np.testing.assert_array_equal(roll, piano_roll(expected))


def test_a_pitch_that_stays_is_one_held_note_of_the_voice_that_has_it(tmp_path: Path) -> None:
    path = write(tmp_path, "some-16th.json", splits_of(VOICES))
    score = read_frames(path).score("train", 0)
    rows = [note[:4] for note in score.notes.tolist()]
    assert rows == [
        (0, FIRST_PROGRAM, 60, 2),
        (0, FIRST_PROGRAM + 1, 55, 3),
        (0, FIRST_PROGRAM + 2, 52, 1),
        (0, FIRST_PROGRAM + 3, 48, 4),
        (2, FIRST_PROGRAM, 62, 1),
        (2, FIRST_PROGRAM + 2, 55, 1),  # in unison with the voice above
    ]


def test_a_voice_that_is_silent_all_along_leaves_the_others_their_tracks(tmp_path: Path) -> None:
    without_alto = [[soprano, -1, tenor, bass] for soprano, _, tenor, bass in VOICES]
    path = write(tmp_path, "some-16th.json", splits_of(without_alto))
    score = read_frames(path).score("test", 0)
    assert set(score.notes["program"]) == {FIRST_PROGRAM + voice for voice in (0, 2, 3)}
    assert frames_of_score(score, 4).tolist() == without_alto


pitches = st.integers(0, 127)
voices = st.lists(st.lists(st.just(-1) | pitches, min_size=3, max_size=3), min_size=1, max_size=30)
chords = st.lists(st.lists(pitches, unique=True, max_size=6).map(sorted), min_size=1, max_size=30)


@given(frames=voices | chords)
def test_frames_written_read_and_turned_into_notes_come_back(
    frames: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("frames"), "x-8th.json", splits_of(frames))
    found = read_frames(path)
    num_voices = 3 if found.has_voices else 0
    np.testing.assert_array_equal(
        frames_of_score(found.score("valid", 0), num_voices, len(frames)), found.splits["valid"][0]
    )
    assert [{*row} - {-1} for row in found.splits["valid"][0].tolist()] == [
        {*frame} - {-1} for frame in frames
    ]


def test_a_data_set_of_frames_has_the_official_splits_whatever_the_shares(tmp_path: Path) -> None:
    melody = [[[60 + (i * k) % 7] for i in range(8)] for k in range(1, 7)]
    contents = {"train": melody[:3], "valid": melody[3:4], "test": melody[4:]}
    source = f"nottingham:{write(tmp_path, 'tunes-8th.json', contents)}"
    out = tmp_path / "data"
    build_data_set(Settings((source,), out, num_lanes=2, num_processes=1, valid=0.4))
    manifest = Manifest.load(out)
    for split, pieces in contents.items():
        found = dict(read_pieces(out, manifest, split))
        assert sorted(found) == [f"nottingham/{split}/{i:04d}" for i in range(len(pieces))]
        for index, frames in enumerate(pieces):
            score = EventVocabulary().decode(found[f"nottingham/{split}/{index:04d}"])
            steps = score.resolution // 2
            assert frames_of_score(score)[::steps].tolist() == frames


def test_an_official_split_stays_whole_and_a_copy_from_elsewhere_goes(tmp_path: Path) -> None:
    tune = [[60], [62], [64]]
    source = f"nottingham:{write(tmp_path, 'tunes-8th.json', splits_of(tune, tune))}"
    notes = [(i, 0, 60 + 2 * i, 1, 80) for i in range(3)]
    write_midi(Score(make_notes(notes), 2), tmp_path / "a copy.mid")  # by id before the others
    settings = Settings((str(tmp_path / "a copy.mid"), source), tmp_path / "out", num_lanes=2)
    summary = build_data_set(settings)
    assert summary["pieces"] == {"train": 2, "valid": 2, "test": 2}
    assert summary["rejects"] == {"duplicate": 1}
    assert (
        "a copy.mid,duplicate,the same notes as nottingham/test/0000"
        in (tmp_path / "out" / "rejects.csv").read_text()
    )


def test_a_piece_of_silence_is_rejected_as_empty_and_the_others_stay(tmp_path: Path) -> None:
    contents = splits_of([[60], [62]]) | {"test": [[[], []]], "valid": [[[65]]]}
    source = f"jsb:{write(tmp_path, 'tunes-quarter.json', contents)}"
    out = tmp_path / "data"
    summary = build_data_set(
        Settings((source,), out, num_lanes=1, num_processes=1, max_rejects=1.0)
    )
    assert summary["rejects"] == {"empty": 1}
    assert summary["pieces"] == {"train": 1, "valid": 1, "test": 0}


@pytest.mark.parametrize(
    ("name", "contents", "said"),
    [
        ("frames.json", splits_of([[60]]), "must say how long a frame is, by one of: 16th, 8th"),
        ("a-8th.json", "{", "is not JSON"),
        ("a-8th.json", "[" * 100_000, "is not JSON"),
        ("a-8th.json", {"train": []}, "holds ['train']; needed: the splits train, valid, test"),
        ("a-8th.json", "7", "holds int; needed: the splits"),
        ("a-8th.json", splits_of([60]), "train 0: frame 60 is no list of pitches"),
        ("a-8th.json", splits_of([[60], [200]]), "train 0: 200 is no pitch from -1 to 127"),
        ("a-8th.json", splits_of([[True]]), "train 0: True is no pitch"),
        (
            "a-8th.json",
            splits_of([[60], [60, 50]]),
            "frames of 1 to 2 numbers, and frame 1 of train 0, [60, 50], is not ascending",
        ),
        ("a-8th.json", dict.fromkeys(SPLITS, 5), "train is no list of pieces"),
    ],
)
def test_a_file_of_another_form_is_one_clear_error(
    name: str, contents: dict | str, said: str, tmp_path: Path
) -> None:
    path = write(tmp_path, name, contents)
    with pytest.raises(ValueError, match=re.escape(str(path))) as error:
        pieces_of(f"jsb:{path}")
    assert said in str(error.value)


def test_a_folder_stands_for_its_only_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds these \.json files: none"):
        pieces_of(f"jsb:{tmp_path}")
    write(tmp_path, "a-8th.json", splits_of([[60]]))
    assert len(pieces_of(f"jsb:{tmp_path}")) == 3
    write(tmp_path, "b-8th.json", splits_of([[60]]))
    with pytest.raises(ValueError, match=r"a-8th\.json, b-8th\.json; name the one to read"):
        pieces_of(f"jsb:{tmp_path}")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("jsb", "source jsb needs PATH, Jsb16thSeparated.json or .*: write it as jsb:PATH"),
        ("jsb:", "write it as jsb:PATH"),
        ("jsb:absent.json", r"absent\.json does not exist; jsb:PATH needs .*, from github\.com"),
        ("bach:here", "source bach needs no path: write it as bach"),
    ],
)
def test_a_name_without_its_path_or_with_one_too_many_is_one_clear_error(
    source: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        pieces_of(source)
