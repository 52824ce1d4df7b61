"""The metrics on scores whose values are known by hand, and on the chorales' published ones."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from model.metrics.score_metrics import (
    METRICS,
    compare_table,
    empty_beat_rate,
    groove_consistency,
    groove_consistency_16ths,
    mean_metrics,
    measure_score,
    pitch_class_entropy,
    pitch_entropy,
    pitch_range,
    pitches_used,
    polyphony,
    polyphony_rate,
    scale_consistency,
)
from pipeline.scores.notes import DRUMS, Score, make_notes

# MusPy 0.5.0 on the JSB chorales' test split, every held or repeated pitch of a voice one note.
CHORALES = {
    "pitch-class entropy": 3.026,
    "pitch entropy": 4.356,
    "scale consistency": 0.930,
    "groove consistency": 0.802,
    "polyphony": 3.923,
    "polyphony rate": 0.997,
    "empty-beat rate": 0.000,
    "pitches used": 26.8,
    "pitch range": 34.4,
}


def score_of(*rows: tuple[int, int, int], program: int = 0, resolution: int = 4) -> Score:
    """A score of (onset, pitch, duration)."""
    return Score(make_notes([(o, program, p, d, 80) for o, p, d in rows]), resolution)


C_MAJOR = score_of(*((4 * i, pitch, 4) for i, pitch in enumerate((60, 62, 64, 65, 67, 69, 71, 72))))


def test_a_scale_uses_its_pitches_evenly() -> None:
    assert pitches_used(C_MAJOR) == 8
    assert pitch_range(C_MAJOR) == 12
    assert pitch_entropy(C_MAJOR) == pytest.approx(3.0)
    # Six classes of 1/8 and the tonic of 2/8.
    assert pitch_class_entropy(C_MAJOR) == pytest.approx(6 / 8 * 3 + 2 / 8 * 2)
    assert scale_consistency(C_MAJOR) == 1.0


def test_a_note_outside_every_scale_counts_against_consistency() -> None:
    chromatic = score_of(*((4 * i, 60 + i, 4) for i in range(12)))
    assert scale_consistency(chromatic) == pytest.approx(7 / 12)


def test_polyphony_counts_pitches_where_something_sounds() -> None:
    chord = score_of((0, 60, 4), (0, 64, 4), (0, 67, 2), (8, 60, 4))
    assert polyphony(chord) == pytest.approx((2 * 3 + 2 * 2 + 4 * 1) / 8)
    assert polyphony_rate(chord) == pytest.approx(2 / 12)  # three pitches in 2 of 12 steps


def test_one_pitch_struck_by_two_voices_sounds_once() -> None:
    assert polyphony(score_of((0, 60, 4), (0, 60, 2), (2, 60, 6))) == 1.0


def test_a_beat_that_no_note_touches_is_empty() -> None:
    # Beats 0 to 4; the first note's end touches beat 1, the last one's beat 4.
    assert empty_beat_rate(score_of((0, 60, 4), (14, 60, 2))) == pytest.approx(1 / 5)


def test_groove_compares_the_onsets_of_neighbouring_bars() -> None:
    steady = [(4 * i, 60, 2) for i in range(8)]
    assert groove_consistency(score_of(*steady)) == 1.0
    moved = [*steady[:-1], (29, 60, 2)]
    assert groove_consistency(score_of(*moved)) == pytest.approx(1 - 2 / 16)


def test_groove_in_sixteenths_does_not_depend_on_the_grid() -> None:
    coarse = [(0, 60, 2), (6, 60, 2), (16, 60, 2), (24, 60, 6)]
    fine = [(3 * onset, pitch, 3 * duration) for onset, pitch, duration in coarse]
    expected = groove_consistency(score_of(*coarse))
    assert groove_consistency_16ths(score_of(*fine, resolution=12)) == expected
    assert groove_consistency(score_of(*fine, resolution=12)) != expected


def test_percussion_has_no_pitch() -> None:
    drums = score_of((0, 36, 4), (4, 38, 4), program=DRUMS)
    both = Score(np.concatenate([C_MAJOR.notes, drums.notes]), 4)
    for metric in (pitch_entropy, scale_consistency, polyphony, pitches_used, pitch_range):
        assert metric(both) == metric(C_MAJOR)
    assert math.isnan(pitch_entropy(drums))
    assert pitch_range(drums) == 0


def test_an_empty_score_has_no_values_and_does_not_spoil_the_mean() -> None:
    empty = Score(make_notes([]), 4)
    values = measure_score(empty)
    assert math.isnan(values["polyphony"])
    assert math.isnan(values["empty-beat rate"])
    assert mean_metrics([empty, C_MAJOR])["polyphony"] == polyphony(C_MAJOR)


def test_the_table_has_a_row_for_each_metric_and_a_column_for_each_set() -> None:
    table = compare_table(
        {"1 composed": measure_score(C_MAJOR), "229 train": measure_score(C_MAJOR)}
    )
    lines = table.splitlines()
    assert lines[0].split() == ["1", "composed", "229", "train"]
    assert [line.rsplit(maxsplit=2)[0].strip() for line in lines[1:]] == list(METRICS)
    assert len({len(line) for line in lines}) == 1
    assert lines[-1].split()[-2:] == ["12.000", "12.000"]


def voices_score(frames: list[list[int]]) -> Score:
    """A chorale of 16th frames, every held or repeated pitch of a voice one note."""
    rows = []
    for voice in np.array(frames).T:
        starts = np.flatnonzero(np.diff(voice, prepend=-2))
        for start, end in zip(starts, [*starts[1:], voice.size], strict=True):
            if voice[start] >= 0:
                rows.append((int(start), int(voice[start]), int(end - start)))
    return score_of(*rows)


def test_the_chorales_have_the_values_that_muspy_gives(shared_data: Path) -> None:
    pieces = json.loads((shared_data / "jsb" / "Jsb16thSeparated.json").read_text())["test"]
    means = mean_metrics(voices_score(piece) for piece in pieces)
    for name, value in CHORALES.items():
        digits = 1 if name in ("pitches used", "pitch range") else 3
        assert round(means[name], digits) == value, name
