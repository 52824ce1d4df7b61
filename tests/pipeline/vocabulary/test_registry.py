"""What every vocabulary of the registry must do, a new one included."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.scores.notes import NOTE, Score
from pipeline.vocabulary.grammar import END, START, Tokens, check_grammar
from pipeline.vocabulary.registry import KINDS, Vocabulary, vocabulary_from_dict

# Two voices in quarters, with a rest and a chord, and one note that is out of every range.
NOTES = [(0, 24, 72), (0, 12, 60), (24, 12, 74), (36, 12, 3), (48, 24, 76), (48, 24, 64)]
SCORE = Score(np.array([(onset, 0, key, length, 64) for onset, length, key in NOTES], NOTE), 12)


@pytest.fixture(params=KINDS)
def vocabulary(request: pytest.FixtureRequest) -> Vocabulary:
    return KINDS[request.param]()


def test_a_vocabulary_has_every_member_of_the_protocol(vocabulary: Vocabulary) -> None:
    members = {name for protocol in (Tokens, Vocabulary) for name in vars(protocol)}
    lacking = [name for name in members if name[0] != "_" and not hasattr(vocabulary, name)]
    assert lacking == []


def test_a_vocabulary_comes_back_from_its_settings(vocabulary: Vocabulary) -> None:
    settings = vocabulary.to_dict()
    assert KINDS[settings["kind"]] is type(vocabulary)
    assert vocabulary_from_dict(settings) == vocabulary


def test_a_fitted_score_comes_back_from_its_ids(vocabulary: Vocabulary) -> None:
    fitted, changed = vocabulary.fit(SCORE)
    assert changed.total() >= 1 and fitted.resolution == vocabulary.steps_per_quarter
    ids = vocabulary.encode(SCORE)
    assert ids.dtype == np.int32 and np.array_equal(ids, vocabulary.encode_fitted(fitted))
    assert np.array_equal(vocabulary.decode(ids).notes, fitted.notes)
    assert vocabulary.decode(ids, tempo=90.0).tempo == 90.0


def test_a_piece_has_the_opening_the_grammar_and_the_times_that_are_promised(
    vocabulary: Vocabulary,
) -> None:
    ids, opening = vocabulary.encode(SCORE), vocabulary.opening
    assert opening[0] == START and np.array_equal(ids[: opening.size], opening)
    assert vocabulary.may_begin[ids[opening.size]]
    assert ids[-1] == END and ids.max() < vocabulary.size
    assert (ids.size - opening.size - 1) % vocabulary.tokens_per_frame == 0
    check_grammar(vocabulary, ids[opening.size : -1])
    fitted, _ = vocabulary.fit(SCORE)
    times = vocabulary.times(ids)
    assert times.shape == ids.shape and np.all(np.diff(times) >= 0)
    assert times[-1] >= fitted.notes["onset"].max()


def test_tables_hold_a_value_for_each_id(vocabulary: Vocabulary) -> None:
    size = vocabulary.size
    for table in (vocabulary.pitches, vocabulary.steps, vocabulary.may_begin):
        assert table.shape == (size,)
    assert vocabulary.follows.shape == (size, size)
    assert len({vocabulary.token_name(token) for token in range(size)}) == size
    sounding = vocabulary.pitches[vocabulary.pitches >= 0]
    assert set(np.diff(np.unique(sounding))) == {1}
    with pytest.raises(ValueError, match=str(size)):
        vocabulary.token_name(size)
