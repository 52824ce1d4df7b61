"""The map of pitches: the right weights of each, and the plane in which they differ most."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.evaluation.pitch_map import pitch_weights, principal_components
from model.networks.registry import build_network, network_config
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.grammar import END
from pipeline.vocabulary.grid import GridVocabulary
from pipeline.vocabulary.registry import Vocabulary

GRID = GridVocabulary(lowest_pitch=60, highest_pitch=71, voices=2)


def test_points_on_a_line_have_one_component() -> None:
    along = np.linspace(-1, 2, 9)
    places, shares = principal_components(along[:, None] * np.array([3.0, 0.0, 4.0]) + 7)
    np.testing.assert_allclose(np.abs(places[:, 0]), 5 * np.abs(along - along.mean()), atol=1e-9)
    np.testing.assert_allclose(places[:, 1], 0, atol=1e-9)
    assert shares.tolist() == pytest.approx([1, 0])


@pytest.mark.parametrize(
    ("kind", "vocabulary"),
    [
        ("frames", GRID),
        ("lstm", GRID),
        ("lstm", EventVocabulary()),
        ("lstm-attention", GRID),
        ("transformer", GRID),
    ],
)
def test_the_weights_of_a_pitch_are_those_that_make_it_likely(
    kind: str, vocabulary: Vocabulary
) -> None:
    keras.utils.set_random_seed(2)
    model = build_network(network_config(kind, "tiny", vocabulary))
    tokens = tf.constant([[END, *vocabulary.opening[1:], END, END, END][:3]], tf.int32)
    before = model(tokens)[0].numpy()[0]
    weights = pitch_weights(model, vocabulary)
    pitches = np.unique(vocabulary.pitches[vocabulary.pitches >= 0])
    assert weights["input"].shape[0] == weights["output"].shape[0] == pitches.size
    # The output weights of one pitch are negated: its own logits change, and no others.
    index = 5
    row = weights["output"][index]
    for weight in model.trainable_variables:
        values = weight.numpy()
        if values.ndim == 2:
            parts = np.split(row, np.count_nonzero(vocabulary.pitches == pitches[index]))
            for part in parts:
                columns = [
                    column
                    for column in range(values.shape[1])
                    if values.shape[0] == part.size and (values[:, column] == part).all()
                ]
                values[:, columns] *= -1
        weight.assign(values)
    changed = np.abs(model(tokens)[0].numpy()[0] - before).max(0) > 1e-6
    assert set(np.flatnonzero(changed)) == set(np.flatnonzero(vocabulary.pitches == pitches[index]))
