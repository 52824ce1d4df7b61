"""No music is in two splits of a data set: copies share one, tunes of a book are split apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset.manifest import SPLITS, Manifest
from pipeline.dataset.records import read_pieces
from pipeline.preprocess import main as preprocess
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import Score, make_notes
from pipeline.sources.piece import Piece
from pipeline.sources.splits import assign_splits
from tests.pipeline.sources.data_sets import COMMU_ROW, write_table

NUM_TUNES = 20


def tune(number: int, *, velocity: int = 80, program: int = 0, move: int = 0, stretch: int = 1):
    random = np.random.default_rng(number)
    pitches = random.integers(55, 80, 24)
    rows = [
        (6 * stretch * i, program, int(pitch) + move, 6 * stretch, velocity)
        for i, pitch in enumerate(pitches)
    ]
    return Score(make_notes(rows), 12)


COPIES = {
    "loud": {"velocity": 120},
    "flute": {"program": 73},
    "high": {"move": 5},
    "alla-breve": {"stretch": 2},
}


def split_of_each_piece(data: Path) -> dict[str, str]:
    manifest = Manifest.load(data)
    return {name: split for split in SPLITS for name, _ in read_pieces(data, manifest, split)}


def test_a_copy_in_another_velocity_program_key_or_note_value_shares_the_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "scores"
    folder.mkdir()
    for number in range(NUM_TUNES):
        write_midi(tune(number), folder / f"{number}.mid")
        for name, change in COPIES.items():
            write_midi(tune(number, **change), folder / f"{number}-{name}.mid")
    flags = ["--velocity-bins", "8", "--instruments", "--num-lanes", "2", "--processes", "1"]
    assert preprocess([str(folder), "--out", str(tmp_path / "data"), *flags]) == 0
    splits = split_of_each_piece(tmp_path / "data")
    assert len(splits) == NUM_TUNES * (1 + len(COPIES))
    assert set(splits.values()) == set(SPLITS)
    apart = {
        name
        for name, split in splits.items()
        if split != splits[name.removesuffix(".mid").partition("-")[0] + ".mid"]
    }
    assert apart == set()
    assert (
        f"{NUM_TUNES * len(COPIES)} pieces are copies of others (in another key, velocity, program "
        f"or note value): {NUM_TUNES} groups of copies each stay in one split"
    ) in capsys.readouterr().out


@pytest.mark.parametrize(("official", "ours"), [("train", "train"), ("val", "valid")])
def test_a_copy_of_a_piece_with_an_official_split_goes_to_that_split(
    official: str, ours: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commu, folder, data = tmp_path / "commu", tmp_path / "scores", tmp_path / "data"
    rows = [
        COMMU_ROW | {"id": f"commu{number:05}", "split_data": official}
        for number in range(NUM_TUNES)
    ]
    write_table(commu / "commu_meta.csv", rows)
    raw = commu / "commu_midi" / official / "raw"
    raw.mkdir(parents=True)
    folder.mkdir()
    for number in range(NUM_TUNES):
        write_midi(tune(number), raw / f"commu{number:05}.mid")
        write_midi(tune(number, **COPIES["loud"]), folder / f"{number}.mid")
        write_midi(tune(100 + number), folder / f"{100 + number}.mid")
    flags = ["--out", str(data), "--num-lanes", "1", "--processes", "1", "--velocity-bins", "8"]
    assert preprocess([f"commu:{commu}", str(folder), *flags]) == 0
    splits = split_of_each_piece(data)
    assert {splits[f"{number}.mid"] for number in range(NUM_TUNES)} == {ours}
    assert {splits[f"{100 + number}.mid"] for number in range(NUM_TUNES)} == set(SPLITS)
    assert f"{NUM_TUNES} pieces are copies of others" in capsys.readouterr().out
    assert Manifest.load(data).copies == {"pieces": NUM_TUNES, "groups": NUM_TUNES}


def test_a_group_with_a_copy_of_an_official_piece_goes_with_it() -> None:
    pieces = [
        Piece("official", Path(), split="test"),
        *(Piece(name, Path(), group="game") for name in ("copy", "other")),
        *(Piece(f"free {number}", Path()) for number in range(9)),
    ]
    digests = {piece.id: piece.id for piece in pieces} | {"copy": "official"}
    shares = {"train": 0.8, "valid": 0.2, "test": 0.0}
    for seed in range(5):
        splits = assign_splits(pieces, digests, shares, seed)
        assert {splits["copy"], splits["other"]} == {"test"}
        assert {splits[f"free {number}"] for number in range(9)} == {"train", "valid"}


def test_of_two_official_splits_of_one_piece_its_copy_goes_to_the_first() -> None:
    pieces = [Piece("a", Path(), split="test"), Piece("b", Path(), split="train")]
    splits = assign_splits([*pieces, Piece("c", Path())], dict.fromkeys("abc", "x"), {}, seed=0)
    assert splits == {"a": "test", "b": "train", "c": "train"}


def test_a_data_set_without_copies_says_nothing_of_them(tmp_path: Path) -> None:
    for number in range(4):
        write_midi(tune(number), tmp_path / f"{number}.mid")
    flags = ["--num-lanes", "1", "--processes", "1"]
    assert preprocess([str(tmp_path), "--out", str(tmp_path / "data"), *flags]) == 0
    assert '"copies"' not in (tmp_path / "data" / "manifest.json").read_text()


def test_a_small_collection_has_the_lanes_that_it_carries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scores").mkdir()
    for number in range(8):
        write_midi(tune(number), tmp_path / "scores" / f"{number}.mid")
    flags = [str(tmp_path / "scores"), "--out", str(tmp_path / "data"), "--processes", "1"]
    assert preprocess(flags) == 0
    said = capsys.readouterr().out
    manifest = Manifest.load(tmp_path / "data")
    assert [manifest.num_pieces(split) for split in SPLITS] == [6, 1, 1]
    assert manifest.num_lanes == 4  # the largest power of two that 6 pieces fill
    assert all(shards[0].num_pieces for shards in manifest.lanes("train"))
    assert "lanes: 4 instead of 16" in said
    assert preprocess(flags) == 0
    assert "holds this data set already" in capsys.readouterr().out
    assert preprocess([*flags[:2], str(tmp_path / "other"), "--num-lanes", "16"]) == 1
    assert "6 train pieces for 16 lanes" in capsys.readouterr().err


def test_the_tunes_of_a_book_are_split_apart(tmp_path: Path) -> None:
    letters = np.array(list("CDEFGABcdefgab"))
    book = "".join(
        f"X:{number}\nT:Tune {number}\nM:4/4\nL:1/4\nK:C\n"
        + "|".join("".join(row) for row in np.random.default_rng(number).choice(letters, (4, 4)))
        + "|]\n\n"
        for number in range(1, 31)
    )
    (tmp_path / "book.abc").write_text(book)
    flags = ["--num-lanes", "1", "--processes", "1", "--no-cache"]
    assert preprocess([str(tmp_path / "book.abc"), "--out", str(tmp_path / "data"), *flags]) == 0
    splits = split_of_each_piece(tmp_path / "data")
    assert len(splits) == 30
    assert set(splits.values()) == set(SPLITS)


def test_an_empty_valid_split_is_said_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        write_midi(tune(number), tmp_path / f"{number}.mid")
    flags = ["--num-lanes", "1", "--processes", "1", "--valid", "0"]
    assert preprocess([str(tmp_path), "--out", str(tmp_path / "data"), *flags]) == 0
    said = capsys.readouterr().err
    assert said.count("warning: ") == 1
    assert "goes without evaluation" in said
    assert "the valid split is empty" in said and "--valid" in said
