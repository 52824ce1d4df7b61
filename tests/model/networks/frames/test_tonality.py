"""The key that a frame model estimates, and its effect on the logits."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from model.networks.frames import tonality
from model.networks.frames.past import features_of_frames
from model.networks.frames.pitch_codes import NO_CLASS, PitchCodes
from model.networks.frames.voice_head import VoiceHead
from pipeline.sources.json_frames import read_frames
from pipeline.vocabulary.grid import GridVocabulary

GRID = GridVocabulary()
CODES = PitchCodes(GRID.num_pitches, "float32")
MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
MINOR_SCALE = (0, 2, 3, 5, 7, 8, 11)  # harmonic


@functools.cache
def in_graph(num_voices: int) -> Any:
    """The features of frames [batch, time, voices], computed as in training: fifty times faster."""
    frames = tf.TensorSpec([None, None, num_voices], tf.int32)
    features = functools.partial(
        features_of_frames, unknown=CODES.unknown, frames_per_bar=GRID.steps_per_bar
    )
    return tf.function(features, input_signature=[frames])


def keys_after(pitches: list[int]) -> tuple[list[int], list[int]]:
    """Tonics and modes after one voice's keys [num_notes], lately and in the whole piece."""
    index = np.array(pitches)[None, :, None] - GRID.lowest_pitch + 1
    frames = tf.constant(np.concatenate([index, index[:, -1:]], 1), tf.int32)
    known = in_graph(1)(frames)
    return known.tonic[0, -1].numpy().tolist(), known.mode[0, -1].numpy().tolist()


@pytest.mark.parametrize("tonic", [48, 53, 58])
@pytest.mark.parametrize(("mode", "scale"), [(0, MAJOR_SCALE), (1, MINOR_SCALE)])
def test_a_scale_and_its_triad_are_heard_in_their_key(
    tonic: int, mode: int, scale: tuple[int, ...]
) -> None:
    tune = [tonic + scale[degree] for degree in (0, 1, 2, 3, 4, 5, 6, 4, 2, 0, 4, 2, 0)]
    tonics, modes = keys_after(tune)
    assert tonics == [(tonic - GRID.lowest_pitch) % 12] * 2
    assert modes == [mode] * 2


def test_what_is_heard_lately_changes_before_the_key_of_the_whole_piece() -> None:
    in_c = [60 + step for step in (0, 4, 7, 0, 5, 9, 7, 11, 2, 0, 4, 7)] * 30
    in_e = [64 + step for step in (0, 4, 7, 0, 5, 9, 7, 11, 2, 0, 4, 7)] * 6
    tonics, _ = keys_after(in_c + in_e)
    assert tonics == [(64 - GRID.lowest_pitch) % 12, (60 - GRID.lowest_pitch) % 12]


def test_before_the_first_note_there_is_no_key() -> None:
    unknown = tf.fill([1, 2, 4], CODES.unknown)
    known = in_graph(4)(unknown)
    assert (known.tonic.numpy() == NO_CLASS).all()
    assert (known.mode.numpy() == tonality.NUM_MODES - 1).all()
    assert not known.salience.numpy().any()


def test_the_keys_of_transposed_chorales_are_those_of_the_chorales_transposed(shared_data) -> None:
    pieces = read_frames(shared_data / "jsb" / "Jsb16thSeparated.json").splits["valid"][:8]
    for frames in pieces:
        moved = []
        for semitones in (0, 3):
            index = np.where(frames < 0, 0, frames + semitones - GRID.lowest_pitch + 1)
            known = in_graph(4)(tf.constant(index[None], tf.int32))
            moved.append((known.tonic.numpy(), known.mode.numpy()))
        (tonic, mode), (higher, mode_there) = moved
        expected = np.where(tonic == NO_CLASS, NO_CLASS, (tonic + 3) % 12)
        np.testing.assert_array_equal(higher, expected)
        np.testing.assert_array_equal(mode_there, mode)


def head_that_answers(**weights: float | np.ndarray) -> VoiceHead:
    """A head of the second voice whose outputs are all 0 except those of one kind."""
    head = VoiceHead(1, CODES, 8, "float32")
    head.choices.build([None, 8])
    kinds = ("pitch", "move", "interval", "harmony", "parallel", "degree", "salience")
    bias = np.concatenate(
        [
            np.full(size, weights.get(kind, 0.0))
            for kind, size in zip(kinds, head.sizes, strict=True)
        ]
    )
    head.choices.kernel.assign(tf.zeros_like(head.choices.kernel))
    head.choices.bias.assign(bias)
    return head


def logits_after(head: VoiceHead, frames: list[tuple[int, int]], soprano: int) -> dict[int, float]:
    """Logits of the second voice's keys after frames of keys, under a soprano."""
    index = np.array([*frames, (0, 0)])[None] - GRID.lowest_pitch + 1
    known = in_graph(2)(tf.constant(index, tf.int32))
    last = tf.nest.map_structure(lambda part: part[:, -1], known)
    now = tf.constant([soprano - GRID.lowest_pitch + 1])
    logits = head.logits(tf.zeros([1, 8]), last, [now]).numpy()[0, 1:]
    return dict(enumerate(logits.tolist(), start=GRID.lowest_pitch))


def test_a_head_can_speak_against_parallels() -> None:
    head = head_that_answers(parallel=-5.0)
    # A fifth, C4 and G4; the soprano rises to A4: D4, in any octave, would be the next fifth.
    logits = logits_after(head, [(67, 60)], soprano=69)
    assert {key for key, logit in logits.items() if logit} == set(range(38, 82, 12))
    assert set(logits.values()) == {0.0, -5.0}
    # A soprano that holds its note makes no parallels.
    assert not any(logits_after(head, [(67, 60)], soprano=67).values())


def test_a_head_can_speak_against_fifths_and_not_against_thirds() -> None:
    a_fifth_below = (60 - 67) % 12
    head = head_that_answers(parallel=-5.0 * (np.arange(12) == a_fifth_below))
    assert logits_after(head, [(67, 60)], soprano=69)[62] == -5.0
    assert not any(logits_after(head, [(64, 60)], soprano=65).values())


def test_a_head_favours_the_pitches_that_sounded() -> None:
    logits = logits_after(
        head_that_answers(salience=1.0), [(67, 60), (64, 60), (67, 60)], soprano=72
    )
    of_class = {key % 12: logit for key, logit in logits.items()}
    assert logits[48] == logits[60] == logits[72]
    assert of_class[0] > of_class[7] > of_class[4] > of_class[1] == of_class[6]
