"""Velocities for a score that has none: by the place in the bar, and louder for the tune."""

from __future__ import annotations

from model.rendering.dynamics import with_dynamics
from pipeline.scores.notes import Score, make_notes


def test_downbeats_are_loudest_and_notes_between_beats_softest() -> None:
    onsets = (0, 2, 4, 8, 12, 16)  # a grid of 16ths in bars of three quarters
    rows = [(onset, 0, 60, 2, 80) for onset in onsets] + [(12, 1, 48, 2, 80)]
    shaped = with_dynamics(Score(make_notes(rows), 4, 90.0), beats_per_bar=3)
    assert shaped.notes[["onset", "pitch", "velocity"]].tolist() == [
        (0, 60, 90),
        (2, 60, 78),
        (4, 60, 84),
        (8, 60, 84),
        (12, 60, 90),
        (12, 48, 82),  # below the highest note of the second bar's first beat
        (16, 60, 84),
    ]
    assert shaped.tempo == 90


def test_velocities_that_were_learned_or_played_stay() -> None:
    score = Score(make_notes([(0, 0, 60, 4, 80), (4, 0, 62, 4, 81)]), 4)
    assert with_dynamics(score, 4).notes.tolist() == score.notes.tolist()


def test_beats_of_six_eighths_are_dotted_quarters_and_an_upbeat_is_no_downbeat() -> None:
    # An eighth, then a bar in 6/8 of six of them; a grid of 16ths.
    rows = [(2 * eighth, 0, 60, 2, 80) for eighth in range(8)]
    signatures = [(0, 6, 8), (0.5, 6, 8)]
    shaped = with_dynamics(Score(make_notes(rows), 4, time_signatures=signatures), beats_per_bar=4)
    assert shaped.notes["velocity"].tolist() == [78, 90, 78, 78, 84, 78, 78, 90]
    assert shaped.time_signatures == signatures
