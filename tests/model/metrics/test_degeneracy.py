"""What counts as degenerate, and that real music does not."""

from __future__ import annotations

from model.metrics.degeneracy import degeneracies, loop_length
from pipeline.scores.notes import Score, make_notes


def melody(pitches: list[int]) -> Score:
    """Quarter notes."""
    return Score(make_notes([(4 * i, 0, pitch, 4, 80) for i, pitch in enumerate(pitches)]), 4)


def test_three_pitches_are_too_few_and_four_are_enough() -> None:
    assert degeneracies(melody([60, 62, 64])) == ["only 3 different pitches"]
    assert degeneracies(melody([60, 62, 64, 65])) == []


def test_a_loop_is_found_with_its_length_even_when_it_begins_late() -> None:
    loop = [60, 62, 64, 65, 67]
    assert loop_length(melody(loop * 10)) == 5
    free = [(7 * i) % 48 + 36 for i in range(24)]
    assert loop_length(melody(free + loop * 6)) == 5
    assert degeneracies(melody(loop * 10)) == ["its later half repeats one loop of 5 notes"]


def test_a_piece_played_twice_is_no_loop() -> None:
    tune = [(7 * i) % 24 + 60 for i in range(24)]
    assert loop_length(melody(tune * 2)) == 0


def test_chorales_are_not_degenerate(tiny_scores: dict[str, Score]) -> None:
    for name, score in tiny_scores.items():
        assert degeneracies(score) == [], name
