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
    assert "the valid split is empty" in said and "--valid" in said
