"""The frame model over the `grid` vocabulary: one recurrent step a frame, then voice after voice.

LSTM layers carry the piece from frame to frame. Within a frame a small head chooses the voices one
after another, each seeing those already chosen, so the recurrent part takes a fifth of the steps of
a network over tokens. Both are told features of the past (past.py): what each voice
sang and for how long, the intervals between voices, what followed where the past was like now, and
which key the music is in (tonality.py).

Inputs and outputs are those of `MusicLSTM`: ids in, logits of the next ids out. A window must begin
with a whole row of ids: STEP (or END) and one id a voice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from model.networks.frames import tonality
from model.networks.frames.past import (
    LONGEST_AGE,
    NUM_MATCHES,
    VIEWS,
    Features,
    Memory,
    empty_memory,
    features,
    features_of_frames,
    remember,
)
from model.networks.frames.pitch_codes import PitchCodes
from model.networks.frames.voice_head import VoiceHead, degrees, flat
from model.networks.hoisted_lstm import HoistedLSTM
from model.networks.masks import NEVER, dropout
from pipeline.vocabulary.grammar import END, MARKS

MEMORY_FRAMES = 640  # a composing model looks back so far; the longest chorale has 640


@dataclass(frozen=True)
class FramesConfig:
    """The network's shape: all that is needed, besides the weights, to build it again."""

    num_voices: int
    num_pitches: int  # of a voice, the rest not counted
    num_places: int  # of a bar
    embedding_size: int = 256
    units: int = 256
    num_layers: int = 2
    head_units: int = 256
    dropout: float = 0.5  # of the LSTM layers' outputs
    head_dropout: float = 0.4
    history_dropout: float = 0.1  # share of frames of which the LSTM is told nothing
    recurrent_dropout: float = 0.0  # of the state that goes from frame to frame

    def __post_init__(self) -> None:
        sizes = (self.num_voices, self.num_pitches, self.num_places, self.embedding_size)
        if min(*sizes, self.units, self.num_layers, self.head_units) < 1:
            raise ValueError(f"{self}: sizes must be 1 or more")
        for name in ("dropout", "head_dropout", "history_dropout", "recurrent_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; it must be at least 0 and below 1"
                )

    @property
    def vocab_size(self) -> int:
        """Number of ids of the vocabulary: marks, places, and for each voice rest and pitches."""
        return MARKS + self.num_places + self.num_voices * (1 + self.num_pitches)

    def to_dict(self) -> dict[str, Any]:
        """The fields, for a checkpoint."""
        return {"kind": "frames", **asdict(self)}


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"embedding_size": 32, "units": 64, "num_layers": 1, "head_units": 32},
    "small": {"embedding_size": 192, "units": 256, "num_layers": 2, "head_units": 192},
    "base": {"embedding_size": 256, "units": 384, "num_layers": 2, "head_units": 256},
}


class Row(NamedTuple):
    """Ids of frames, taken apart."""

    place: tf.Tensor  # [...] int32: 0 .. num_places - 1, num_places for none
    voices: tf.Tensor  # [..., voices] int32 pitch indices, see model/networks/frames/past.py


class Composing(NamedTuple):
    """What a composing model carries from id to id."""

    row: tf.Tensor  # [batch, voices] int32: the pitch indices of this frame so far
    place: tf.Tensor  # [batch] int32
    memory: Memory
    known: Features  # of the memory, once a frame: they take longer than a voice
    hidden: tuple[tf.Tensor, ...]  # per layer [batch, units]: after this frame's recurrent step
    cell: tuple[tf.Tensor, ...]
    output: tf.Tensor  # [batch, units]: of the last layer
    contexts: tuple[tf.Tensor, ...]  # per voice [batch, head_units]: of the output


class FrameModel(keras.Model):
    """Features, LSTM layers over frames, and a head for one voice after another."""

    def __init__(self, config: FramesConfig, precision: str = "float32") -> None:
        super().__init__(name="frames", dtype=precision)
        self.config = config
        self.codes = PitchCodes(config.num_pitches, self.compute_dtype)
        dense = keras.layers.Dense
        self.embedding = dense(config.embedding_size, name="embedding", dtype=precision)
        self.recurrent = [
            HoistedLSTM(
                config.units,
                return_sequences=True,
                return_state=True,
                name=f"lstm_{layer}",
                dtype=precision,
            )
            for layer in range(config.num_layers)
        ]
        # The recurrent output is projected once for all voices; each adds what it alone sees.
        voices = config.num_voices
        self.context = dense(voices * config.head_units, name="context", dtype=precision)
        self.heads = [
            VoiceHead(voice, self.codes, config.num_places, config.head_units, precision)
            for voice in range(voices)
        ]
        self.ending = dense(2, name="ending", dtype=precision)
        self.build()

    def build(self, input_shape: object = None) -> None:
        """Make the weights by a call, at once: Keras by itself would trace a graph first."""
        self.call(self._smallest_window())

    def _smallest_window(self) -> tf.Tensor:
        return tf.zeros([1, 1 + self.config.num_voices], tf.int32)

    def call(
        self, tokens: tf.Tensor, state: None = None, dropout_seeds: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, None]:
        """Logits [batch, time, vocab] float32 of the ids that follow `tokens` [batch, time].

        `time` must be a multiple of 1 + voices, and the first id a STEP or an END. What came before
        the window is unknown. `dropout_seeds` [num_slices, 2]: as in `MusicLSTM.call`.
        """
        if state is not None:
            raise ValueError("a frame model takes whole windows: compose with its steps")
        shape = tf.shape(tokens)
        rows = tf.reshape(tokens, [shape[0], -1, 1 + self.config.num_voices])
        row = self._take_apart(rows)
        known = features_of_frames(row.voices, self.codes.unknown, self.config.num_places)
        x = self.embedding(self._told(known, row.place))
        x = self._dropped(x, "history_dropout", 0, dropout_seeds)
        for layer, lstm in enumerate(self.recurrent):
            if layer:
                x = self._dropped(x, "dropout", layer, dropout_seeds)
            scale = self._recurrent_scale(layer, shape[0], dropout_seeds)
            x, _, _ = lstm(x, recurrent_scale=scale)
        x = self._dropped(x, "dropout", self.config.num_layers, dropout_seeds)
        contexts = self._contexts(x)
        logits = [
            self._voice_logits(voice, contexts[voice], known, row, dropout_seeds)
            for voice in range(self.config.num_voices)
        ]
        logits.append(self._step_logits(x, row.place))
        stacked = tf.stack(logits, axis=2)  # [batch, frames, 1 + voices, vocab]
        return tf.reshape(stacked, [shape[0], shape[1], self.config.vocab_size]), None

    def named_weights(self) -> dict[str, keras.Variable]:
        """Every weight by its path, e.g. 'frames/lstm_0/lstm_cell/kernel'."""
        return {weight.path: weight for weight in self.weights}

    def zero_state(self, batch_size: int) -> Composing:
        """The state before the first id of a piece: after the END of the one before."""
        config = self.config
        memory = empty_memory(batch_size, MEMORY_FRAMES, config.num_voices, self.codes.unknown)
        zeros = tf.zeros([batch_size, config.units], self.compute_dtype)
        parts = (zeros,) * config.num_layers
        state = Composing(
            row=memory.frame,
            place=tf.zeros([batch_size], tf.int32),
            memory=memory,
            known=features(memory, self.codes.unknown),
            hidden=parts,
            cell=parts,
            output=zeros,
            contexts=tuple(self._contexts(zeros)),
        )
        return self._open(tf.fill([batch_size], END), state)

    def state_after(self, tokens: tf.Tensor, state: Composing) -> Composing:
        """The state after ids [batch, time] from the zero state on; a STEP may not be the last."""
        voices = self.config.num_voices
        num_rows = tf.shape(tokens)[1] // (1 + voices)
        whole = num_rows * (1 + voices)
        rows = tf.reshape(tokens[:, :whole], [-1, num_rows, 1 + voices])  # voices, then a STEP

        def hear(index: tf.Tensor, state: Composing) -> tuple[tf.Tensor, Composing]:
            row = tf.gather(rows, index, axis=1)
            state = self._remember(self._pitch_index(row[:, :-1]), state)
            return index + 1, self._open(row[:, -1], state)

        shapes = tf.nest.map_structure(lambda part: tf.TensorShape([None, *part.shape[1:]]), state)
        _, state = tf.while_loop(
            lambda index, _: index < num_rows, hear, (0, state), (tf.TensorShape([]), shapes)
        )
        begun = self._pitch_index(tokens[:, whole:])
        row = tf.concat([begun, state.row[:, tf.shape(begun)[1] :]], 1)
        return state._replace(row=tf.ensure_shape(row, [None, voices]))

    @property
    def steps(self) -> list[Callable[[tf.Tensor, Composing], tuple[tf.Tensor, Composing]]]:
        """For each id of a row, STEP first: logits [batch, vocab] float32 of it and the state.

        Each takes the id before it [batch]. All pieces of a batch are at the same id of their rows.
        """
        voices = range(self.config.num_voices)
        return [self._to_next_row, *(partial(self._to_voice, voice) for voice in voices)]

    def _to_next_row(self, tokens: tf.Tensor, state: Composing) -> tuple[tf.Tensor, Composing]:
        row = self._filled(self.config.num_voices - 1, tokens, state)
        state = self._remember(row, state)
        return self._step_logits(state.output, state.place), state

    def _to_voice(
        self, voice: int, tokens: tf.Tensor, state: Composing
    ) -> tuple[tf.Tensor, Composing]:
        if voice == 0:
            state = self._open(tokens, state)
        else:
            state = state._replace(row=self._filled(voice - 1, tokens, state))
        row = Row(state.place, state.row)
        return self._voice_logits(voice, state.contexts[voice], state.known, row, None), state

    def _open(self, tokens: tf.Tensor, state: Composing) -> Composing:
        """The state after a STEP or END: the recurrent step."""
        place = self._place(tokens)
        x = self.embedding(self._told(state.known, place))
        hidden, cell = [], []
        for layer, lstm in enumerate(self.recurrent):
            x, (new_hidden, new_cell) = lstm.cell(x, [state.hidden[layer], state.cell[layer]])
            hidden.append(new_hidden)
            cell.append(new_cell)
        return state._replace(
            place=place,
            hidden=tuple(hidden),
            cell=tuple(cell),
            output=x,
            contexts=tuple(self._contexts(x)),
        )

    def _filled(self, voice: int, tokens: tf.Tensor, state: Composing) -> tf.Tensor:
        """The row with a voice's id in it."""
        column = tf.constant([index == voice for index in range(self.config.num_voices)])
        return tf.where(column, self._pitch_index(tokens[:, None]), state.row)

    def _remember(self, row: tf.Tensor, state: Composing) -> Composing:
        """The state after the last voice of a row."""
        memory = remember(state.memory, row, self.codes.unknown, self.config.num_places)
        return state._replace(row=row, memory=memory, known=features(memory, self.codes.unknown))

    def _take_apart(self, rows: tf.Tensor) -> Row:
        """Rows of ids [..., 1 + voices]; a frame that END begins is unknown, as before a piece."""
        return Row(self._place(rows[..., 0]), self._pitch_index(rows[..., 1:]))

    def _place(self, tokens: tf.Tensor) -> tf.Tensor:
        is_place = (tokens >= MARKS) & (tokens < MARKS + self.config.num_places)
        return tf.where(is_place, tokens - MARKS, self.config.num_places)

    def _pitch_index(self, tokens: tf.Tensor) -> tf.Tensor:
        first = MARKS + self.config.num_places
        return tf.where(
            tokens < first, self.codes.unknown, (tokens - first) % self.codes.num_indices
        )

    def _told(self, known: Features, place: tf.Tensor) -> tf.Tensor:
        """What the LSTM is told before a frame [..., n], as ones and zeros."""
        codes, frame = self.codes, known.frame
        copies = tf.concat(
            tf.unstack(codes.interval(known.copied, frame[..., None, :]), VIEWS, axis=-2), -1
        )
        parts = [
            codes.pitches(frame),
            codes.pitches(known.before),
            codes.one_hots(known.age, LONGEST_AGE + 1),
            codes.one_hot(place, self.config.num_places + 1),
            codes.one_hots(known.match, NUM_MATCHES),
            codes.moves(copies),
            degrees(frame, known.tonic, codes),
            codes.one_hots(known.mode, tonality.NUM_MODES),
            flat(tf.cast(known.salience, self.compute_dtype)),
        ]
        between = [
            codes.interval(frame[..., low], frame[..., high])
            for high in range(self.config.num_voices)
            for low in range(high + 1, self.config.num_voices)
        ]
        if between:
            parts.append(codes.moves(tf.stack(between, -1)))
        return tf.concat(parts, -1)

    def _contexts(self, outputs: tf.Tensor) -> list[tf.Tensor]:
        return tf.split(self.context(outputs), self.config.num_voices, axis=-1)

    def _voice_logits(
        self, voice: int, context: tf.Tensor, known: Features, row: Row, seeds: tf.Tensor | None
    ) -> tf.Tensor:
        """Logits [..., vocab] float32 of a voice's ids, from the past and the voices above."""
        head = self.heads[voice]
        others = [row.voices[..., other] for other in range(voice)]
        hidden = head.hidden(context, known, row.place, others)
        logits = head.logits(
            self._dropped(hidden, "head_dropout", 100 + voice, seeds), known, others
        )
        return self._at(logits, MARKS + self.config.num_places + voice * self.codes.num_indices)

    def _step_logits(self, outputs: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """Logits [..., vocab] float32 of what follows a frame: END, or the next place of a bar."""
        ends, goes_on = tf.split(tf.cast(self.ending(outputs), tf.float32), 2, axis=-1)
        no_frame = place == self.config.num_places
        next_place = tf.where(no_frame, 0, (place + 1) % self.config.num_places)
        is_next = tf.one_hot(next_place, self.config.num_places, True, False, dtype=tf.bool)
        places = tf.where(is_next, goes_on, NEVER)
        ends = tf.where(no_frame[..., None], NEVER, ends)
        never = tf.fill(tf.shape(ends), NEVER)
        return self._at(tf.concat([*[never] * END, ends, places], -1), 0)

    def _at(self, logits: tf.Tensor, first: int) -> tf.Tensor:
        """The logits of a block of ids, spread over the vocabulary."""
        after = self.config.vocab_size - first - logits.shape[-1]
        padding = [[0, 0]] * (logits.shape.rank - 1) + [[first, after]]
        return tf.pad(logits, padding, constant_values=NEVER)

    def _recurrent_scale(
        self, layer: int, num_rows: tf.Tensor, seeds: tf.Tensor | None
    ) -> tf.Tensor | None:
        """What a layer's state [batch, units] is multiplied by: the same in all frames of a window.

        Gal and Ghahramani 2016 (arXiv 1512.05287).
        """
        if seeds is None or not self.config.recurrent_dropout:
            return None
        ones = tf.ones([num_rows, 1, self.config.units], self.compute_dtype)
        return self._dropped(ones, "recurrent_dropout", 200 + layer, seeds)[:, 0]

    def _dropped(self, x: tf.Tensor, rate: str, site: int, seeds: tf.Tensor | None) -> tf.Tensor:
        whole_steps = rate == "history_dropout"
        return dropout(x, getattr(self.config, rate), site, seeds, whole_steps=whole_steps)
