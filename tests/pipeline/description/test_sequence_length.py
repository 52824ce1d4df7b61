from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset.manifest import FILE_NAME, Manifest
from pipeline.dataset.records import write_shard
from pipeline.description.sequence_length import (
    ENOUGH_REPETITION,
    MIN_STEPS,
    Recommendation,
    recommend_sequence_length,
    repetition_profile,
)
from pipeline.scores.notes import Score, make_notes
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.grid import GridVocabulary
from pipeline.vocabulary.registry import Vocabulary


def phrases(num_quarters: int, repeats: int, seed: int) -> Score:
    """A random phrase of quarters with two chord notes each, again and again."""
    pitches = np.random.default_rng(seed).integers(48, 84, (num_quarters, 2))
    rows = [
        (12 * (turn * num_quarters + quarter), 0, int(pitch), 12, 80)
        for turn in range(repeats)
        for quarter, chord in enumerate(pitches)
        for pitch in set(chord.tolist())
    ]
    return Score(make_notes(rows), 12)


def data_set(
    folder: Path,
    scores: list[Score],
    copies: int = 1,
    vocabulary: Vocabulary = EventVocabulary(),  # noqa: B008
) -> Manifest:
    pieces = [(str(number), vocabulary.encode(score)) for number, score in enumerate(scores)]
    shard = write_shard(folder / "0.tfrecord", "train", pieces * copies)
    manifest = Manifest(vocabulary.to_dict(), 1, 0, {}, (shard,))
    (folder / FILE_NAME).write_text(manifest.to_json())
    return manifest


def test_every_length_of_a_data_set_of_frames_is_whole_frames(tmp_path: Path) -> None:
    grid = GridVocabulary()  # five tokens a frame
    scores = [phrases(8, repeats=8, seed=seed) for seed in range(8)]  # 64 quarters, 256 frames
    manifest = data_set(tmp_path, scores, copies=200, vocabulary=grid)
    found = recommend_sequence_length(tmp_path, manifest)
    lengths = [candidate.sequence_length for candidate in found.candidates]
    assert lengths == [30, 45, 60, 95, 125, 190, 255, 380, 510, 765, 1020]
    assert found.sequence_length in lengths
    assert f"{found.sequence_length} tokens are" in found.reason


@pytest.mark.parametrize("num_quarters", [5, 8, 12])
def test_repetition_is_found_at_the_length_of_the_phrase(num_quarters: int) -> None:
    profile = repetition_profile(phrases(num_quarters, repeats=8, seed=num_quarters))
    assert profile.sum() == pytest.approx(1)
    multiples = np.flatnonzero(profile) % num_quarters == 0
    assert profile[np.flatnonzero(profile)[multiples]].sum() > 0.95


def test_repetition_is_the_same_in_another_key() -> None:
    score = phrases(8, repeats=4, seed=0)
    notes = score.notes.copy()
    notes["pitch"] += 5
    np.testing.assert_allclose(
        repetition_profile(score), repetition_profile(Score(notes, 12)), atol=1e-9
    )


@pytest.mark.parametrize("num_quarters", [0, 1, 4, 100])
def test_a_piece_without_repetition_has_none(num_quarters: int) -> None:
    held = make_notes([(0, 0, 60, 12 * num_quarters, 80)] if num_quarters else [])
    assert not repetition_profile(Score(held, 12)).any()


def test_long_phrases_ask_for_a_longer_window_than_short_ones(tmp_path: Path) -> None:
    chosen = []
    for num_quarters in (12, 32):
        folder = tmp_path / str(num_quarters)
        folder.mkdir()
        scores = [phrases(num_quarters, 2, seed) for seed in range(8)]
        manifest = data_set(folder, scores, copies=200)
        found = recommend_sequence_length(folder, manifest)
        row = next(c for c in found.candidates if c.sequence_length == found.sequence_length)
        assert row.repetition >= ENOUGH_REPETITION
        assert row.steps_per_epoch >= MIN_STEPS
        chosen.append(found.sequence_length)
    assert chosen[0] < chosen[1]


def check_figures(found: Recommendation) -> None:
    """What holds for any data set."""
    lengths = [row.sequence_length for row in found.candidates]
    assert lengths == sorted(set(lengths))
    assert found.sequence_length in lengths
    assert str(found.sequence_length) in found.reason
    for name in ("quarters", "repetition", "whole_pieces"):
        values = [getattr(row, name) for row in found.candidates]
        assert values == sorted(values), f"{name} falls as windows grow"
    assert all(0 <= row.padding < 1 and 0 <= row.repetition <= 1 for row in found.candidates)


def test_a_small_data_set_gets_short_windows_and_is_told_why(tiny_shards: Path) -> None:
    manifest = Manifest.load(tiny_shards)
    found = recommend_sequence_length(tiny_shards, manifest)
    check_figures(found)
    assert found.num_pieces == manifest.num_pieces("train")
    assert found.sequence_length == found.candidates[0].sequence_length
    assert f"fewer than {MIN_STEPS} steps of 64 windows" in found.reason
    assert found == recommend_sequence_length(tiny_shards, manifest)


def test_a_smaller_batch_allows_a_longer_window(tiny_shards: Path) -> None:
    manifest = Manifest.load(tiny_shards)
    found = recommend_sequence_length(tiny_shards, manifest, global_batch_size=4)
    assert found.sequence_length > recommend_sequence_length(tiny_shards, manifest).sequence_length


def test_a_window_is_not_longer_than_half_of_the_pieces(tmp_path: Path) -> None:
    scores = [phrases(12, 3, seed) for seed in range(8)]
    found = recommend_sequence_length(tmp_path, data_set(tmp_path, scores, copies=100))
    check_figures(found)
    assert found.sequence_length <= found.median_tokens


def test_pieces_of_one_note_still_give_a_length(tmp_path: Path) -> None:
    scores = [Score(make_notes([(0, 0, 60, 12, 80)]), 12)] * 20
    found = recommend_sequence_length(tmp_path, data_set(tmp_path, scores))
    check_figures(found)
    assert found.sequence_length == 4  # START, note, duration, END


def test_a_data_set_without_train_pieces_is_an_error(tiny_shards: Path) -> None:
    manifest = Manifest.load(tiny_shards)
    without = replace(manifest, shards=tuple(manifest.of_split("valid")))
    with pytest.raises(ValueError, match="holds no train piece"):
        recommend_sequence_length(tiny_shards, without)
