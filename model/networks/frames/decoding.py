"""The frame model one id at a time: the state after each id, and the logits of the next one.

The layers are those for a whole window (network.py). The recurrent step runs once a frame, after
its first id; each voice of the frame then needs its own head only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import tensorflow as tf

from model.networks.frames.network import FrameNetwork, FramesConfig
from model.networks.frames.past import Memory, PastFeatures, empty_memory, past_features, remember
from pipeline.vocabulary.grammar import END

MEMORY_FRAMES = 640  # the past that a decoding model searches; the longest chorale has 640 frames


class DecodingState(NamedTuple):
    """The state between one id and the next while decoding."""

    row: tf.Tensor  # [batch, voices] int32: the pitch indices of this frame so far
    step: tf.Tensor  # [batch] int32: the STEP that began this frame
    memory: Memory
    known: PastFeatures  # of the memory, computed once a frame: that takes longer than a voice
    hidden: tuple[tf.Tensor, ...]  # per layer [batch, units]: after this frame's recurrent step
    cell: tuple[tf.Tensor, ...]
    output: tf.Tensor  # [batch, units]: of the last layer
    contexts: tuple[tf.Tensor, ...]  # per voice [batch, head_units]: projections of the output


class FrameModel(FrameNetwork):
    """The frame network, which also takes and gives one id of every piece at a time."""

    def __init__(self, config: FramesConfig, precision: str = "float32") -> None:
        super().__init__(config, precision)
        self.guidance = tf.Variable(1.0, trainable=False)  # of `steps`; see VoiceHead.logits

    def zero_state(self, batch_size: int) -> DecodingState:
        """The state before the first id of a piece: after the END of the piece before it."""
        config, unknown = self.config, self.codes.unknown
        memory = empty_memory(batch_size, MEMORY_FRAMES, config.num_voices, unknown)
        zeros = tf.zeros([batch_size, config.units], self.compute_dtype)
        per_layer = (zeros,) * config.num_layers
        state = DecodingState(
            row=memory.frame,
            step=tf.zeros([batch_size], tf.int32),
            memory=memory,
            known=past_features(memory, unknown),
            hidden=per_layer,
            cell=per_layer,
            output=zeros,
            contexts=tuple(self._contexts(zeros)),
        )
        return self._begin_frame(tf.fill([batch_size], END), state)

    def state_after(self, tokens: tf.Tensor, state: DecodingState) -> DecodingState:
        """The state after ids [batch, time] from the zero state on.

        The last id must not be a STEP: the frame that it begins would have no voice.
        """
        num_voices = self.config.num_voices
        num_rows = tf.shape(tokens)[1] // (1 + num_voices)
        num_whole = num_rows * (1 + num_voices)
        # [batch, num_rows, voices + 1]: the voices of a frame, then the STEP of the next one.
        rows = tf.reshape(tokens[:, :num_whole], [-1, num_rows, 1 + num_voices])

        def read_row(index: tf.Tensor, state: DecodingState) -> tuple[tf.Tensor, DecodingState]:
            row = tf.gather(rows, index, axis=1)
            state = self._end_frame(self._pitch_indices(row[:, :-1]), state)
            return index + 1, self._begin_frame(row[:, -1], state)

        shapes = tf.nest.map_structure(lambda part: tf.TensorShape([None, *part.shape[1:]]), state)
        _, state = tf.while_loop(
            lambda index, _: index < num_rows, read_row, (0, state), (tf.TensorShape([]), shapes)
        )
        # The voices of a frame that is not complete yet.
        begun = self._pitch_indices(tokens[:, num_whole:])
        row = tf.concat([begun, state.row[:, tf.shape(begun)[1] :]], 1)
        return state._replace(row=tf.ensure_shape(row, [None, num_voices]))

    @property
    def steps(self) -> list[Callable[[tf.Tensor, DecodingState], tuple[tf.Tensor, DecodingState]]]:
        """For each id of a row, STEP first: a function that gives its logits [batch, vocab].

        Each takes the id before it [batch] and the state, and returns the new state too. All pieces
        of a batch are at the same id of their rows.
        """
        voices = range(self.config.num_voices)
        return [self._step_id, *(partial(self._voice_id, voice) for voice in voices)]

    def _step_id(self, tokens: tf.Tensor, state: DecodingState) -> tuple[tf.Tensor, DecodingState]:
        """Logits of a STEP or END, after the last voice of a frame."""
        row = self._row_with(self.config.num_voices - 1, tokens, state)
        state = self._end_frame(row, state)
        return self._step_logits(state.output, state.step), state

    def _voice_id(
        self, voice: int, tokens: tf.Tensor, state: DecodingState
    ) -> tuple[tf.Tensor, DecodingState]:
        """Logits of a voice's id, after a STEP or after the voice above it."""
        if voice == 0:
            state = self._begin_frame(tokens, state)
        else:
            state = state._replace(row=self._row_with(voice - 1, tokens, state))
        context = state.contexts[voice]
        logits = self._voice_logits(
            voice, context, state.known, state.step, state.row, guidance=self.guidance
        )
        return logits, state

    def _begin_frame(self, tokens: tf.Tensor, state: DecodingState) -> DecodingState:
        """The state after a STEP or END [batch]: the recurrent step."""
        step = self._step_indices(tokens)
        x = self.embedding(self._input_features(state.known, step))
        hidden, cell = [], []
        for layer, lstm in enumerate(self.recurrent):
            x, (new_hidden, new_cell) = lstm.cell(x, [state.hidden[layer], state.cell[layer]])
            hidden.append(new_hidden)
            cell.append(new_cell)
        return state._replace(
            step=step,
            hidden=tuple(hidden),
            cell=tuple(cell),
            output=x,
            contexts=tuple(self._contexts(x)),
        )

    def _row_with(self, voice: int, tokens: tf.Tensor, state: DecodingState) -> tf.Tensor:
        """The row [batch, voices] with the pitch of a voice's id [batch] in it."""
        is_voice = tf.constant([other == voice for other in range(self.config.num_voices)])
        return tf.where(is_voice, self._pitch_indices(tokens[:, None]), state.row)

    def _end_frame(self, row: tf.Tensor, state: DecodingState) -> DecodingState:
        """The state after the last voice of a row [batch, voices]: one more frame in the memory."""
        unknown = self.codes.unknown
        memory = remember(state.memory, row, unknown, self.config.num_places)
        return state._replace(row=row, memory=memory, known=past_features(memory, unknown))
