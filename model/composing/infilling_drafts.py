"""Bars of a piece composed anew by a model of events: drafts, chosen by what follows the bars.

A network composes from the music before alone. Therefore several drafts of the bars are composed
side by side. Each is weighted by the likelihood of the kept notes after the bars, and one is drawn
by these weights. At temperature 1 that is importance sampling of the bars given the music before
and after them: the more drafts, the closer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from model.composing.composer import Composer
from model.composing.drafts import SERIES
from model.composing.harmonising import CHOOSING, DRAFTS
from model.composing.infilling_events import EventsWithGap
from model.composing.pieces import ComposedPiece, Length
from model.composing.sampling import Sampling, uniforms
from pipeline.scores.bars import signatures_from
from pipeline.scores.notes import DRUMS, NOTE, Score, sort_notes
from pipeline.vocabulary.conditions import QUARTERS
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.grammar import END, PAD

CONTEXT = 16  # quarters before the bars that count for the likelihood of what follows
LOOK_AHEAD = 8  # quarters after the bars whose notes count


def fill_gap(
    composer: Composer,
    pieces: Sequence[int],
    sampling: Sampling,
    given: EventsWithGap,
    seed: int,
    num_drafts: int = DRAFTS,
) -> list[ComposedPiece]:
    """Pieces of the given numbers: the music before the gap of the given one, then that of the gap.

    A piece depends on (seed, its number), as in `Composer.compose`.
    """
    after_music = _GapComposer(composer, given)
    grid = composer.vocabulary.steps_per_quarter
    length = Length.of_steps(given.end, grid)
    foresight = Foresight(composer, given)
    num_drafts = num_drafts if foresight.num_notes else 1
    chosen = []
    for index in pieces:
        series = [index + number * SERIES for number in range(num_drafts)]
        drafts = after_music.compose(series, sampling, length, seed)
        # A draft that is stuck before the end of the gap is taken only if all are.
        whole = [draft for draft in drafts if draft.complete] or drafts
        weights = tf.nn.softmax(foresight.of(whole)).numpy()
        choice = uniforms(seed, [CHOOSING + index], 0, 1)[0, 0]
        number = min(int(np.searchsorted(np.cumsum(weights), choice)), len(whole) - 1)
        num_drawn = sum(draft.num_composed for draft in drafts)
        best = replace(whole[number], index=index, num_drawn=num_drawn, num_drafts=num_drafts)
        chosen.append(best)
    return chosen


class Foresight:
    """How well drafts of a gap lead to the music after it, under the network."""

    def __init__(self, composer: Composer, given: EventsWithGap) -> None:
        """Of the music before, the last `CONTEXT` quarters count."""
        self._composer, self._given = composer, given
        # Conditions stand at each `QUARTERS`: the context begins at one of them.
        unit = QUARTERS * composer.vocabulary.steps_per_quarter
        self._first = max(0, given.begin // unit * unit - CONTEXT // QUARTERS * unit)
        notes, onset = given.heard.notes, given.heard.notes["onset"]
        self._before = notes[(onset >= self._first) & (onset < given.begin)]
        horizon = given.end + LOOK_AHEAD * composer.vocabulary.steps_per_quarter
        self._after = notes[(onset >= given.end) & (onset < horizon)]
        self.num_notes = self._after.size

        def nats_of(ids: tf.Tensor) -> tf.Tensor:
            logits = composer.model(ids[:, :-1])[0]
            return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=ids[:, 1:], logits=logits)

        signature = [tf.TensorSpec([None, None], tf.int32)]
        self._nats_of = tf.function(nats_of, input_signature=signature, autograph=False)

    def of(self, drafts: Sequence[ComposedPiece]) -> np.ndarray:
        """Log likelihoods [num_drafts] of the look-ahead's notes after the music of each draft."""
        if not self.num_notes:
            return np.zeros(len(drafts), np.float32)
        vocabulary = _events(self._composer)
        ids = [self._ids(draft) for draft in drafts]
        rows = np.full((len(ids), max(map(len, ids))), PAD, np.int32)
        counts = np.zeros((len(ids), rows.shape[1] - 1), bool)
        end = self._given.end - self._first
        for row, count, piece in zip(rows, counts, ids, strict=True):
            row[: piece.size] = piece
            is_music = (piece > END) & (piece < vocabulary.blocks["drum"].stop)
            count[: piece.size - 1] = (is_music & (vocabulary.times(piece) >= end))[1:]
        return -np.where(counts, self._nats_of(tf.constant(rows)).numpy(), 0).sum(axis=1)

    def _ids(self, draft: ComposedPiece) -> np.ndarray:
        """The ids of the music around the gap with the draft in it, in order."""
        vocabulary, given = _events(self._composer), self._given
        composed = vocabulary.decode(draft.ids)
        onset = composed.notes["onset"]
        inside = composed.notes[(onset >= given.begin) & (onset < given.end)]
        whole = sort_notes(np.concatenate([self._before, inside, self._after]))
        last = int(whole["onset"].max()) + 1
        grid = vocabulary.steps_per_quarter
        metres = signatures_from(given.heard.time_signatures, grid, self._first, last)
        whole["onset"] -= self._first
        score = Score(whole, grid, time_signatures=metres)
        return vocabulary.encode_fitted(score, self._composer.wishes)


class _GapComposer(Composer):
    """A composer whose pieces begin with all music before a gap, up to the gap's first step."""

    def __init__(self, composer: Composer, given: EventsWithGap) -> None:
        """The composer of the same network, with the same wishes."""
        super().__init__(composer.model, composer.vocabulary, composer.wishes, composer.checkpoint)
        self._given = given

    def primer_ids(self, primer: Score | None) -> np.ndarray:
        """The ids [num_tokens] of the music before the gap, and of the time up to it."""
        vocabulary, given = _events(self), self._given
        notes = given.heard.notes
        before = notes[notes["onset"] < given.begin]
        if not before.size:
            return super().primer_ids(None)
        # A note at the gap's first step, which is then taken away: the time up to it remains, and
        # the conditions that stand there. It has the last program, which is not said again.
        next_note = np.zeros(1, NOTE)
        next_note["onset"], next_note["duration"] = given.begin, 1
        melodic = before[before["program"] != DRUMS]
        next_note["program"] = melodic["program"][-1] if melodic.size else 0
        next_note["pitch"] = vocabulary.lowest_pitch
        whole = replace(given.heard, notes=np.concatenate([before, next_note]))
        ids = vocabulary.encode_fitted(whole, self.wishes)
        note = vocabulary.blocks["note"]
        return ids[: np.flatnonzero((ids >= note.start) & (ids < note.stop))[-1]]


def _events(composer: Composer) -> EventVocabulary:
    assert isinstance(composer.vocabulary, EventVocabulary)
    return composer.vocabulary
