"""Notes <-> ids: nothing is lost on the way, and what cannot be said is changed by a rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.scores.notes import DEFAULT_VELOCITY, DRUMS, Score, make_notes
from pipeline.scores.reading import read_score
from pipeline.vocabulary.events import END, PAD, START, EventVocabulary
from pipeline.vocabulary.registry import vocabulary_from_dict

GOLDEN = Path(__file__).parents[1] / "golden"
PLAIN = EventVocabulary()
FULL = EventVocabulary(velocity_bins=16, instruments=True)
NARROW = EventVocabulary(4, 60, 71, max_shift=3, max_duration=5, velocity_bins=3)
VOCABULARIES = [PLAIN, FULL, NARROW]

scores = st.builds(
    lambda rows, resolution: Score(make_notes(rows), resolution),
    st.lists(
        st.tuples(
            st.integers(0, 20_000),
            st.sampled_from([0, 1, 127, DRUMS]),
            st.integers(0, 127),
            st.integers(0, 9_000),
            st.integers(1, 127),
        ),
        max_size=30,
    ),
    st.sampled_from([12, 96, 480, 10080]),
)


def quarters(*pitches: int, **changes: int) -> Score:
    """Quarter notes one after another, with fields changed."""
    notes = make_notes([(12 * i, 0, pitch, 12, 80) for i, pitch in enumerate(pitches)])
    for field, value in changes.items():
        notes[field] = value
    return Score(notes, 12)


def names(vocabulary: EventVocabulary, score: Score) -> list[str]:
    return [vocabulary.token_name(int(token)) for token in vocabulary.encode(score)]


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@given(score=scores)
def test_ids_to_score_to_ids_is_the_identity(vocabulary: EventVocabulary, score: Score) -> None:
    ids = vocabulary.encode(score)
    decoded = vocabulary.decode(ids)
    assert vocabulary.encode(decoded).tolist() == ids.tolist()
    assert decoded.notes.tolist() == vocabulary.fit(score)[0].notes.tolist()


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@given(data=st.data())
def test_every_sequence_the_grammar_allows_is_a_score(
    vocabulary: EventVocabulary, data: st.DataObject
) -> None:
    ids = [START]
    for draw in data.draw(st.lists(st.integers(0, 2**16), max_size=40)):
        choices = np.flatnonzero(vocabulary.follows[ids[-1]])
        ids.append(int(choices[draw % len(choices)]))
        if ids[-1] == END:
            break
    while not vocabulary.follows[ids[-1], END]:  # a note begun must be finished
        ids.append(int(np.flatnonzero(vocabulary.follows[ids[-1]])[-1]))
    decoded = vocabulary.decode(np.array(ids))
    again, _ = vocabulary.fit(decoded)
    first = decoded.notes["onset"].min(initial=2**30)
    assert (again.notes["onset"] == decoded.notes["onset"] - first).all()
    assert (
        again.notes[["pitch", "duration"]].tolist() == decoded.notes[["pitch", "duration"]].tolist()
    )


def test_the_ids_of_a_real_chorale_stay_what_they_were() -> None:
    golden = json.loads((GOLDEN / "chorale.json").read_text())
    assert golden["vocabulary"] == PLAIN.to_dict()
    assert PLAIN.encode(read_score(GOLDEN / "chorale.mid")).tolist() == golden["ids"]


def test_a_chord_shares_its_onset_and_time_passes_by_shifts() -> None:
    score = Score(make_notes([(0, 0, 60, 12, 80), (0, 0, 64, 24, 80), (12, 0, 62, 6, 80)]), 12)
    assert names(PLAIN, score) == [
        *("START", "NOTE 60", "DURATION 12", "NOTE 64", "DURATION 24"),
        *("SHIFT 12", "NOTE 62", "DURATION 6", "END"),
    ]


def test_a_silence_longer_than_a_shift_takes_several() -> None:
    score = Score(make_notes([(0, 0, 60, 12, 80), (100, 0, 62, 12, 80)]), 12)
    assert [name for name in names(PLAIN, score) if "SHIFT" in name] == [
        "SHIFT 48",
        "SHIFT 48",
        "SHIFT 4",
    ]


def test_time_starts_at_the_first_note() -> None:
    late = quarters(60, 62)
    late.notes["onset"] += 36
    assert PLAIN.encode(late).tolist() == PLAIN.encode(quarters(60, 62)).tolist()


def test_a_pitch_out_of_range_moves_by_octaves_and_is_counted() -> None:
    fitted, adjustments = PLAIN.fit(quarters(20, 21, 108, 109, 127))
    assert fitted.notes["pitch"].tolist() == [32, 21, 108, 97, 103]
    assert adjustments["pitch moved by octaves"] == 3


def test_a_duration_over_the_limit_is_clipped_and_counted() -> None:
    fitted, adjustments = PLAIN.fit(quarters(60, duration=500))
    assert (fitted.notes["duration"].tolist(), adjustments["duration clipped"]) == ([96], 1)


def test_without_instruments_percussion_is_left_out_and_counted() -> None:
    score = Score(make_notes([(0, 40, 60, 12, 80), (0, DRUMS, 36, 12, 80)]), 12)
    fitted, adjustments = PLAIN.fit(score)
    assert fitted.notes[["program", "pitch"]].tolist() == [(0, 60)]
    assert adjustments["percussion left out"] == 1
    assert score.notes["program"].tolist() == [40, DRUMS]  # the caller's score is as it was


def test_instruments_name_their_program_only_when_it_changes() -> None:
    rows = [(0, 0, 60, 1, 80), (1, 40, 60, 1, 80), (2, DRUMS, 36, 1, 80), (3, 40, 62, 1, 80)]
    said = names(EventVocabulary(instruments=True), Score(make_notes(rows), 12))
    assert [name for name in said if name.split()[0] in ("PROGRAM", "NOTE", "DRUM")] == [
        *("NOTE 60", "PROGRAM 40", "NOTE 60", "DRUM 36", "NOTE 62"),
    ]


def test_velocities_become_the_middle_of_their_bin() -> None:
    vocabulary = EventVocabulary(velocity_bins=4)
    loud, _ = vocabulary.fit(quarters(60, 62, velocity=127))
    soft, _ = vocabulary.fit(quarters(60, 62, velocity=1))
    assert (loud.notes["velocity"][0], soft.notes["velocity"][0]) == (112, 16)
    assert PLAIN.fit(quarters(60, velocity=3))[0].notes["velocity"] == DEFAULT_VELOCITY


@pytest.mark.parametrize("num_bins", range(1, 128))
def test_the_velocity_of_a_bin_is_in_that_bin(num_bins: int) -> None:
    vocabulary = EventVocabulary(velocity_bins=num_bins)
    notes = make_notes([(12 * i, 0, 60, 12, velocity) for i, velocity in enumerate(range(1, 128))])
    ids = vocabulary.encode(Score(notes, 12))
    assert vocabulary.encode(vocabulary.decode(ids)).tolist() == ids.tolist()


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_every_id_has_its_own_name_and_the_blocks_leave_no_gap(vocabulary: EventVocabulary) -> None:
    said = [vocabulary.token_name(token) for token in range(vocabulary.size)]
    assert len(set(said)) == vocabulary.size
    with pytest.raises(ValueError, match="not in a vocabulary"):
        vocabulary.token_name(vocabulary.size)


def test_nothing_but_its_grammar_is_decoded() -> None:
    note, duration = PLAIN.blocks["note"].start, PLAIN.blocks["duration"].start
    with pytest.raises(ValueError, match="DURATION 1 may not follow START"):
        PLAIN.decode(np.array([START, duration, END]))
    with pytest.raises(ValueError, match="END may not follow NOTE 21"):
        PLAIN.decode(np.array([START, note, END]))
    with pytest.raises(ValueError, match="not in a vocabulary of"):
        PLAIN.decode(np.array([PLAIN.size + 5]))


def test_marks_are_no_music_and_padding_follows_nothing() -> None:
    ids = PLAIN.encode(quarters(60, 64))
    padded = np.concatenate([ids, [PAD, PAD]])
    assert PLAIN.decode(padded).notes.tolist() == PLAIN.decode(ids[1:-1]).notes.tolist()
    assert not PLAIN.follows[:, PAD].any()
    assert PLAIN.decode(np.array([START, END])).notes.size == 0


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_a_vocabulary_comes_back_from_what_the_manifest_keeps(vocabulary: EventVocabulary) -> None:
    assert vocabulary_from_dict(json.loads(json.dumps(vocabulary.to_dict()))) == vocabulary
    with pytest.raises(ValueError, match="vocabulary 'chords' is unknown"):
        vocabulary_from_dict({"kind": "chords"})


@pytest.mark.parametrize(
    "settings",
    [{"lowest_pitch": 100, "highest_pitch": 108}, {"max_shift": 0}, {"velocity_bins": 128}],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        EventVocabulary(**settings)
