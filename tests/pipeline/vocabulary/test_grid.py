"""The grid vocabulary: frames of voices <-> ids, without loss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.scores.notes import DRUMS, Score, make_notes
from pipeline.vocabulary.frames import FIRST_PROGRAM
from pipeline.vocabulary.grammar import END, MARKS, START
from pipeline.vocabulary.grid import GridVocabulary
from pipeline.vocabulary.registry import vocabulary_from_dict

GRID = GridVocabulary()
MARKED = GridVocabulary(mark_moved=True)
DUET = GridVocabulary(steps_per_quarter=1, lowest_pitch=60, highest_pitch=72, voices=2)

# Few pitches, so that notes are held and voices meet; 0 is a rest.
frames = arrays(np.int64, st.tuples(st.integers(1, 40), st.just(4)), elements=st.integers(0, 4))
chords = frames.map(lambda values: np.where(values == 0, 0, values + 59))


@given(chords)
def test_frames_come_back_from_their_ids(frames: np.ndarray) -> None:
    np.testing.assert_array_equal(GRID.decode_frames(GRID.encode_frames(frames)), frames)


@given(chords)
def test_ids_to_score_to_ids_is_the_identity(frames: np.ndarray) -> None:
    fitted, _ = GRID.fit(GRID.decode(GRID.encode_frames(frames)))
    ids = GRID.encode(fitted)
    np.testing.assert_array_equal(GRID.encode(GRID.decode(ids)), ids)


@given(chords)
def test_a_piece_follows_the_grammar_and_fills_whole_frames(frames: np.ndarray) -> None:
    ids = GRID.encode_frames(frames)
    assert GRID.follows[ids[:-1], ids[1:]].all()
    assert len(ids) % GRID.tokens_per_frame == 0
    assert ids[0] == START and ids[-1] == END
    assert GRID.times(ids)[-1] == len(frames) - 1


def test_a_voice_is_told_by_its_instrument_even_where_two_sing_the_same_pitch() -> None:
    rows = [(0, FIRST_PROGRAM, 60, 4, 80), (0, FIRST_PROGRAM + 3, 60, 2, 80)]
    score = Score(make_notes(rows), 4)
    assert GRID.frames(score).tolist() == [[60, 0, 0, 60]] * 2 + [[60, 0, 0, 0]] * 2


def test_a_piano_gives_its_highest_pitch_to_the_first_voice() -> None:
    rows = [(0, 0, pitch, 4, 80) for pitch in (48, 60, 64, 67, 72)] + [(0, DRUMS, 36, 4, 80)]
    fitted, adjustments = GRID.fit(Score(make_notes(rows), 4))
    assert GRID.frames(fitted)[0].tolist() == [72, 67, 64, 48]
    assert adjustments == {
        "percussion left out": 1,
        "pitches beyond the voices left out": 4,
        "notes that begin beyond the voices left out": 1,
    }


@pytest.mark.parametrize("programs", [(40, 40, 41, 42), (43, 43, 43, 43)])
def test_instruments_that_sound_two_pitches_at_once_are_no_voices(
    programs: tuple[int, ...],
) -> None:
    """Two violins of a quartet, and four parts on one track: no pitch is lost."""
    keys = (72, 67, 60, 48)
    rows = [(0, program, key, 4, 80) for program, key in zip(programs, keys, strict=True)]
    fitted, adjustments = GRID.fit(Score(make_notes(rows), 4))
    assert GRID.frames(fitted).tolist() == [[72, 67, 60, 48]] * 4
    assert adjustments == {}


def test_key_0_moves_since_it_is_a_rest_in_frames() -> None:
    widest = GridVocabulary(lowest_pitch=0, highest_pitch=127)
    fitted, adjustments = widest.fit(Score(make_notes([(0, 0, 0, 4, 80), (0, 0, 1, 4, 80)]), 4))
    assert widest.frames(fitted)[0].tolist() == [12, 1, 0, 0]
    assert adjustments == {"pitch moved by octaves": 1}


def test_fifteen_voices_hold_the_fullest_frame_and_what_is_above_is_counted() -> None:
    widest = GridVocabulary(steps_per_quarter=2, lowest_pitch=21, highest_pitch=108, voices=15)
    keys = [*range(30, 105, 5)]  # 15 of them
    full = make_notes([(0, 0, pitch, 2, 80) for pitch in keys])
    fitted, adjustments = widest.fit(Score(full, 2))
    assert adjustments == {}
    assert widest.frames(fitted).tolist() == [keys[::-1]] * 2
    np.testing.assert_array_equal(widest.decode_frames(widest.encode(fitted)), [keys[::-1]] * 2)
    above = make_notes([(0, 0, pitch, 2, 80) for pitch in (*keys, 21)])
    fitted, adjustments = widest.fit(Score(above, 2))
    assert widest.frames(fitted)[0].tolist() == [*keys[:0:-1], 21]
    assert adjustments == {
        "pitches beyond the voices left out": 2,
        "notes that begin beyond the voices left out": 1,
    }
    with pytest.raises(ValueError, match="1 to 15 voices are needed"):
        GridVocabulary(voices=16)


def test_steps_count_the_places_of_the_bar() -> None:
    names = [DUET.token_name(int(i)) for i in DUET.encode_frames(np.full((5, 2), [72, 0]))]
    frame = ["VOICE 1 72", "VOICE 2 REST"]
    steps = [name for i in range(5) for name in (f"STEP {i % 4}", *frame)]
    assert names == ["START", "START", *steps, "END"]


@pytest.mark.parametrize("grid", [GRID, MARKED])
def test_every_id_has_its_own_name_and_the_blocks_leave_no_gap(grid: GridVocabulary) -> None:
    assert len({grid.token_name(token) for token in range(grid.size)}) == grid.size
    ids = [token for block in grid.blocks.values() for token in block]
    assert ids == list(range(MARKS, grid.size))
    assert (grid.pitches >= 0).sum() == 4 * 46


def test_a_moved_piece_has_steps_of_its_own_and_the_same_frames() -> None:
    frames = np.full((5, 4), [72, 67, 64, 0])
    ids = MARKED.encode_frames(frames, moved=True)
    names = [MARKED.token_name(int(i)) for i in ids]
    assert names[4:9] == ["STEP 0 MOVED", "VOICE 1 72", "VOICE 2 67", "VOICE 3 64", "VOICE 4 REST"]
    assert names[4:-1:5] == [f"STEP {place} MOVED" for place in range(5)]
    np.testing.assert_array_equal(ids, MARKED.when_moved[MARKED.encode_frames(frames)])
    np.testing.assert_array_equal(MARKED.decode_frames(ids), frames)
    assert GRID.encode_frames(frames, moved=True).tolist() == GRID.encode_frames(frames).tolist()


@pytest.mark.parametrize("grid", [DUET, MARKED])
def test_the_vocabulary_comes_back_from_what_the_manifest_keeps(grid: GridVocabulary) -> None:
    assert vocabulary_from_dict(grid.to_dict()) == grid


def test_ids_that_break_the_grammar_are_named() -> None:
    ids = GRID.encode_frames(np.full((2, 4), 60))
    with pytest.raises(ValueError, match="STEP 1 may not follow VOICE 3 60"):
        GRID.decode(np.delete(ids, 4 + 4))


@pytest.mark.parametrize("frame", [[60, 60, 60], [35, 60, 60, 60], [60, 60, 60, 82]])
def test_frames_that_cannot_be_said_are_refused(frame: list[int]) -> None:
    with pytest.raises(ValueError, match="4 voices within 36"):
        GRID.encode_frames(np.array([frame]))
