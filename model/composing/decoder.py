"""The decoding loop: a network's ids sampled one after another, for many pieces side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from model.composing.condition_plan import ConditionPlan
from model.composing.sampling import sample
from model.networks.registry import Network
from pipeline.vocabulary.grammar import END, START
from pipeline.vocabulary.registry import Vocabulary

FEW = 16  # tokens of an opening: compiling would take longer than reading them
# previous [batch], the network's state, grid steps [batch], what is due by the plan
Start = tuple[tf.Tensor, Any, tf.Tensor, Any]


class Decoder:
    """A network, compiled to read a primer and to sample the ids after it.

    Outside a graph the layers take 25 ms a token.
    """

    def __init__(self, model: Network, vocabulary: Vocabulary, plan: ConditionPlan | None) -> None:
        """With a `plan` of conditions the ids keep to it."""
        self.model = model
        self.steps = model.steps
        self._vocabulary = vocabulary
        self._plan = plan
        self._grid_steps = tf.constant(vocabulary.steps, tf.int32)  # [vocab] of each id
        state = tf.nest.map_structure(
            lambda part: tf.TensorSpec([None, *part.shape[1:]][: part.shape.rank], part.dtype),
            model.zero_state(1),
        )
        # No Python `if` or loop over tensors for autograph to convert: that would take seconds.
        self._state_after = tf.function(
            model.state_after,
            input_signature=[tf.TensorSpec([1, None], tf.int32), state],
            autograph=False,
        )
        self._sample_ids = tf.function(
            self._loop,
            input_signature=[
                tf.TensorSpec([None], tf.int32),  # previous
                state,
                tf.TensorSpec([None], tf.int32),  # time
                plan.due_specs if plan else (),  # due
                tf.TensorSpec([None, None], tf.float32),  # draws
                tf.TensorSpec([vocabulary.size, vocabulary.size], tf.bool),  # grammar
                tf.TensorSpec([], tf.int32),  # first_end
                tf.TensorSpec([], tf.float32),  # temperature
                tf.TensorSpec([], tf.int32),  # top_k
                tf.TensorSpec([], tf.float32),  # top_p
            ],
            autograph=False,
        )

    def compile_primer(self) -> None:
        """Compile the reading of a long primer: otherwise the first one would wait for it."""
        self._state_after(tf.fill([1, FEW], START), self.model.zero_state(1))

    def prefill(self, primer_ids: np.ndarray, batch_size: int) -> tuple[tf.Tensor, Any]:
        """The last primer id [batch] and the state before it, computed once for all pieces."""
        state: Any = self.model.zero_state(1)
        if primer_ids.size > 1:
            is_short = primer_ids.size <= FEW
            state_after = self.model.state_after if is_short else self._state_after
            state = state_after(tf.constant(primer_ids[None, :-1]), state)
        tiled = tf.nest.map_structure(
            lambda part: tf.repeat(part, batch_size, axis=0) if part.shape.rank else part, state
        )
        return tf.fill([batch_size], tf.constant(primer_ids[-1], tf.int32)), tiled

    def start(self, primer_ids: np.ndarray, batch_size: int) -> Start:
        """What `sample_ids` continues from, after a primer [num_tokens] of ids, for all pieces.

        That is the last id [batch], the network's state, the grid step reached [batch] int32, and
        what is due by the plan of conditions; () without a plan.
        """
        reached = self._vocabulary.opening_time + self._vocabulary.steps[primer_ids].sum()
        time = tf.fill([batch_size], tf.constant(reached, tf.int32))
        due = self._plan.begin(primer_ids, batch_size) if self._plan else ()
        return *self.prefill(primer_ids, batch_size), time, due

    def sample_ids(
        self,
        start: Start,
        draws: tf.Tensor,
        grammar: tf.Tensor,
        first_end: int,
        settings: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    ) -> tuple[tf.Tensor, Start]:
        """Ids [time, batch] sampled with draws [time, batch], and what the next call starts from.

        `time` must be a multiple of the ids of a row. `grammar` [size, size] bool is which id may
        follow which; END may follow from grid step `first_end` on. `settings` are those of
        `Sampling.tensors`.
        """
        earliest = tf.constant(first_end, tf.int32)
        ids, *rest = self._sample_ids(*start, draws, grammar, earliest, *settings)
        return ids, (ids[-1], *rest)

    def _loop(
        self,
        previous: tf.Tensor,
        state: Any,
        time: tf.Tensor,
        due: Any,
        draws: tf.Tensor,
        grammar: tf.Tensor,
        first_end: tf.Tensor,
        temperature: tf.Tensor,
        top_k: tf.Tensor,
        top_p: tf.Tensor,
    ) -> tuple[tf.Tensor, Any, tf.Tensor, Any]:
        """Ids [time, batch]; the state before the last one, time and the token due after it.

        The loop is over rows; each id of a row has its own part of the graph. Where a row has
        several ids, its first one says only whether the piece ends: top-k and top-p do not apply to
        it, or a piece whose end is too rare for them would never end.
        """
        ids_per_row = len(self.steps)
        num_rows = tf.shape(draws)[0] // ids_per_row
        limits = [(top_k, top_p) for _ in self.steps]
        if ids_per_row > 1:
            limits[0] = (tf.constant(self._vocabulary.size), tf.constant(1.0))
        is_end = tf.range(self._vocabulary.size) == END

        def sample_row(
            row: tf.Tensor,
            previous: tf.Tensor,
            state: Any,
            time: tf.Tensor,
            due: Any,
            ids: tf.TensorArray,
        ) -> tuple[Any, ...]:
            for index, step in enumerate(self.steps):
                place = row * ids_per_row + index
                logits, state = step(previous, state)  # [batch, vocab]
                allowed = tf.gather(grammar, previous)  # [batch, vocab]
                if index == 0:  # END is the first id of a row
                    allowed &= ~is_end | (time >= first_end)[:, None]
                if self._plan is not None:
                    allowed = self._plan.restrict(allowed, previous, time, due)
                previous = sample(logits, allowed, draws[place], temperature, *limits[index])
                if self._plan is not None:
                    due = self._plan.move_on(due, previous, time)
                time += tf.gather(self._grid_steps, previous)
                ids = ids.write(place, previous)
            return row + 1, previous, state, time, due, ids

        ids = tf.TensorArray(tf.int32, size=tf.shape(draws)[0])
        _, _, state, time, due, ids = tf.while_loop(
            lambda row, *_: row < num_rows, sample_row, (0, previous, state, time, due, ids)
        )
        return ids.stack(), state, time, due
