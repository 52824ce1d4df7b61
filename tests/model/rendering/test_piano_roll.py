"""The piano roll: every note drawn once where it belongs, rows of bars, names of octaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from model.rendering.piano_roll import piano_roll, save_piano_roll
from pipeline.scores.notes import DRUMS, Score, make_notes
from pipeline.scores.parts import Parts


def quarters(num_quarters: int, program: int = 0) -> Score:
    """Quarter notes going up and down two octaves."""
    rows = [(4 * i, program, 60 + i % 24, 4, 80) for i in range(num_quarters)]
    return Score(make_notes(rows), 4)


def num_boxes(score: Score) -> list[int]:
    """Notes drawn in each row."""
    return [
        sum(len(c.get_paths()) for c in axes.collections if c.get_gid() == "notes")
        for axes in piano_roll(score, "title").axes
    ]


def test_sixty_four_bars_are_four_rows_and_four_bars_are_one() -> None:
    assert num_boxes(quarters(4 * 64)) == [64] * 4
    assert num_boxes(quarters(4 * 4)) == [16]


def test_a_note_over_the_end_of_a_row_is_seen_in_both_rows() -> None:
    score = Score(make_notes([(0, 0, 60, 4, 80), (62 * 4, 0, 64, 16, 80), (276, 0, 60, 4, 80)]), 4)
    assert num_boxes(score) == [2, 2]


def test_a_long_piece_gets_longer_rows_instead_of_an_endless_picture() -> None:
    assert len(num_boxes(quarters(4 * 16 * 40 + 1))) == 38


def test_octaves_and_bars_are_named() -> None:
    figure = piano_roll(quarters(12), "a title", parts=Parts(beats_per_bar=3))
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["C4", "C5"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3", "4"]
    assert figure.get_suptitle() == "a title"
    assert "3 beats" in axes.get_xlabel()


def test_bars_of_the_scores_own_metre_are_named_and_an_upbeat_is_bar_0() -> None:
    signatures = [(0, 3, 4), (1, 3, 4), (7, 2, 4)]  # quarters
    score = Score(quarters(11).notes, 4, time_signatures=signatures)
    axes = piano_roll(score, "a title", parts=Parts(beats_per_bar=5)).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2", "3", "4"]
    assert axes.get_xticks().tolist() == [0, 4, 16, 28, 36]
    assert not axes.patches  # nothing before the upbeat is shaded as a primer


def test_instruments_and_the_primer_are_told_apart() -> None:
    notes = np.concatenate([quarters(8).notes, quarters(4, program=DRUMS).notes])
    figure = piano_roll(Score(notes, 4), "title", primer_end=16)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["Piano", "Percussion", "primer"]


def test_the_picture_is_a_png_with_something_on_it(tmp_path: Path) -> None:
    save_piano_roll(quarters(16), tmp_path / "roll.png", "title")
    picture = imread(tmp_path / "roll.png")
    assert picture.shape[0] > 150
    assert picture.shape[1] > 800
    assert picture.std() > 0.05
    assert [path.name for path in tmp_path.iterdir()] == ["roll.png"]


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        save_piano_roll(quarters(4), tmp_path / "nowhere" / "roll.png", "title")
    assert not list(tmp_path.iterdir())
