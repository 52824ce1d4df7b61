"""The frame model over the `grid` vocabulary: one recurrent step a frame, then voice after voice.

LSTM layers carry the piece from frame to frame. Within a frame a small head chooses one voice after
another, given the voices already chosen. With four voices the LSTM thus takes a fifth of the steps
of a network over tokens. The inputs of both are features of the past (past.py): each voice's last
pitches and their age, the intervals between voices, what followed where the past was like now, and
the key (tonality.py).

Inputs and outputs are those of `MusicLSTM`: ids in, logits of the next ids out. A window must begin
with a whole row of ids: STEP (or END) and one id for each voice. `FrameModel` in decoding.py is the
same network one id at a time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import keras
import tensorflow as tf

from model.networks.frames import tonality
from model.networks.frames.past import (
    LONGEST_AGE,
    NUM_MATCHES,
    VIEWS,
    PastFeatures,
    features_of_frames,
)
from model.networks.frames.pitch_codes import PitchCodes
from model.networks.frames.voice_head import VoiceHead, degrees, flat
from model.networks.hoisted_lstm import HoistedLSTM
from model.networks.masks import NEVER, dropout
from pipeline.vocabulary.grammar import END, MARKS, PAD


@dataclass(frozen=True)
class FramesConfig:
    """The network's shape: with the weights, all that is needed to build it again."""

    num_voices: int
    num_pitches: int  # of a voice, not counting the rest
    num_places: int  # of a bar
    embedding_size: int = 256
    units: int = 256
    num_layers: int = 2
    head_units: int = 256
    dropout: float = 0.5  # of the LSTM layers' outputs
    head_dropout: float = 0.4
    history_dropout: float = 0.1  # share of frames whose input features are dropped
    recurrent_dropout: float = 0.0  # of the hidden state between frames
    mark_moved: bool = False  # as in the vocabulary: a transposed piece has STEPs of its own

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
    def num_steps(self) -> int:
        """Number of STEPs: the places of a bar; then, if they are marked, those of moved pieces."""
        return self.num_places * (2 if self.mark_moved else 1)

    @property
    def vocab_size(self) -> int:
        """Number of ids of the vocabulary: marks, STEPs, and for each voice rest and pitches."""
        return MARKS + self.num_steps + self.num_voices * (1 + self.num_pitches)

    def to_dict(self) -> dict[str, Any]:
        """The fields, as a checkpoint keeps them."""
        return {"kind": "frames", **asdict(self)}


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"embedding_size": 32, "units": 64, "num_layers": 1, "head_units": 32},
    "small": {"embedding_size": 192, "units": 256, "num_layers": 2, "head_units": 192},
    "base": {"embedding_size": 256, "units": 384, "num_layers": 2, "head_units": 256},
}


class FrameNetwork(keras.Model):
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
        # One projection of the LSTM's output serves all voices; each head adds its own features.
        voices = config.num_voices
        self.context = dense(voices * config.head_units, name="context", dtype=precision)
        self.heads = [
            VoiceHead(voice, self.codes, config.head_units, precision) for voice in range(voices)
        ]
        self.ending = dense(2, name="ending", dtype=precision)
        self.build()

    def build(self, input_shape: object = None) -> None:
        """Create the weights by an eager call: Keras by itself would trace a graph first."""
        self.call(tf.zeros([1, 1 + self.config.num_voices], tf.int32))

    def call(
        self, tokens: tf.Tensor, state: None = None, dropout_seeds: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, None]:
        """Logits [batch, time, vocab] float32 of the ids that follow `tokens` [batch, time].

        `time` must be a multiple of 1 + voices, and the first id a STEP or an END. What came before
        the window is unknown. Logits are 0 in frames of PAD, which end the shorter pieces of a
        batch. `dropout_seeds` [num_slices, 2]: as in `MusicLSTM.call`.
        """
        if state is not None:
            raise ValueError("this takes whole windows: decode with `steps`")
        # Ids as rows [batch, frames, 1 + voices], then as STEPs [batch, frames] and pitch indices
        # [batch, frames, voices]. A frame that END begins is unknown, as before a piece.
        shape = tf.shape(tokens)
        rows = tf.reshape(tokens, [shape[0], -1, 1 + self.config.num_voices])
        step, pitches = self._step_indices(rows[..., 0]), self._pitch_indices(rows[..., 1:])
        known = features_of_frames(pitches, self.codes.unknown, self.config.num_places)

        # From frame to frame: x [batch, frames, units].
        x = self.embedding(self._input_features(known, step))
        x = self._dropout(x, "history_dropout", 0, dropout_seeds)
        for layer, lstm in enumerate(self.recurrent):
            if layer:
                x = self._dropout(x, "dropout", layer, dropout_seeds)
            scale = self._recurrent_scale(layer, shape[0], dropout_seeds)
            x, _, _ = lstm(x, recurrent_scale=scale)
        x = self._dropout(x, "dropout", self.config.num_layers, dropout_seeds)

        # Within the frames in use, [frames in use, ...]: the voices, then the STEP or END after.
        frames, in_use = tf.shape(step), tf.cast(tf.where(rows[..., 0] != PAD), tf.int32)
        scales = self._head_scales(in_use, frames, dropout_seeds)
        x, known, step, pitches = tf.nest.map_structure(
            lambda of_frames: tf.gather_nd(of_frames, in_use), (x, known, step, pitches)
        )
        contexts = self._contexts(x)
        logits = [
            self._voice_logits(voice, contexts[voice], known, step, pitches, scales[voice])
            for voice in range(self.config.num_voices)
        ]
        logits.append(self._step_logits(x, step))
        vocab = self.config.vocab_size
        joined = tf.concat(logits, -1)  # [frames in use, (1 + voices) * vocab]
        scattered = tf.scatter_nd(in_use, joined, tf.concat([frames, [joined.shape[1]]], 0))
        return tf.reshape(scattered, [*tf.unstack(shape), vocab]), None

    def named_weights(self) -> dict[str, keras.Variable]:
        """Every weight by its path, e.g. 'frames/lstm_0/lstm_cell/kernel'."""
        return {weight.path: weight for weight in self.weights}

    def _step_indices(self, tokens: tf.Tensor) -> tf.Tensor:
        """The index of each STEP [...] int32; `num_steps` for any other id."""
        is_step = (tokens >= MARKS) & (tokens < MARKS + self.config.num_steps)
        return tf.where(is_step, tokens - MARKS, self.config.num_steps)

    def _pitch_indices(self, tokens: tf.Tensor) -> tf.Tensor:
        """The pitch index of each voice's id [...] int32; unknown for any other id."""
        first = MARKS + self.config.num_steps
        return tf.where(
            tokens < first, self.codes.unknown, (tokens - first) % self.codes.num_indices
        )

    def _step_features(self, step: tf.Tensor) -> tf.Tensor:
        """Ones and zeros [..., n] of STEP indices [...]: place in the bar, and whether moved."""
        codes, num_places = self.codes, self.config.num_places
        place = tf.where(step == self.config.num_steps, num_places, step % num_places)
        features = codes.one_hot(place, num_places + 1)
        if not self.config.mark_moved:
            return features
        moved = codes.one_hot(step // num_places, 3)  # 2: not known
        return tf.concat([features, moved], -1)

    def _input_features(self, known: PastFeatures, step: tf.Tensor) -> tf.Tensor:
        """The LSTM's input for a frame [..., n], as ones and zeros."""
        codes, frame = self.codes, known.frame
        copies = tf.concat(
            tf.unstack(codes.interval(known.copied, frame[..., None, :]), VIEWS, axis=-2), -1
        )
        parts = [
            codes.pitches(frame),
            codes.pitches(known.before),
            codes.one_hots(known.age, LONGEST_AGE + 1),
            self._step_features(step),
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
        """For each voice the projection [..., head_units] of the LSTM's outputs [..., units]."""
        return tf.split(self.context(outputs), self.config.num_voices, axis=-1)

    def _voice_logits(
        self,
        voice: int,
        context: tf.Tensor,
        known: PastFeatures,
        step: tf.Tensor,
        pitches: tf.Tensor,
        scale: tf.Tensor | None = None,
        guidance: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Logits [..., vocab] float32 of a voice's ids, from the past and the voices above.

        `pitches` [..., voices] are the frame's pitch indices; only those of the voices above count.
        `scale` [..., head_units] multiplies the head's activations; `guidance` is for composing.
        """
        head = self.heads[voice]
        others = [pitches[..., other] for other in range(voice)]
        hidden = head.hidden(context, known, self._step_features(step), others)
        hidden = hidden if scale is None else hidden * scale
        logits = head.logits(hidden, known, others, guidance)
        return self._at(logits, MARKS + self.config.num_steps + voice * self.codes.num_indices)

    def _step_logits(self, outputs: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Logits [..., vocab] float32 of the id after a frame: END, or STEP to the next place.

        Before the first frame the STEPs of moved pieces are as likely as the others.
        """
        num_places, num_steps = self.config.num_places, self.config.num_steps
        ends, goes_on = tf.split(tf.cast(self.ending(outputs), tf.float32), 2, axis=-1)
        no_frame = (step == num_steps)[..., None]
        next_place = tf.where(no_frame, 0, (step[..., None] + 1) % num_places)
        steps = tf.range(num_steps)
        is_alike = no_frame | (steps // num_places == step[..., None] // num_places)
        is_next = is_alike & (steps % num_places == next_place)
        steps = tf.where(is_next, goes_on, NEVER)
        ends = tf.where(no_frame, NEVER, ends)
        never = tf.fill(tf.shape(ends), NEVER)
        return self._at(tf.concat([*[never] * END, ends, steps], -1), 0)

    def _at(self, logits: tf.Tensor, first: int) -> tf.Tensor:
        """Logits [..., vocab] of those of a block of ids, the first of which is `first`."""
        after = self.config.vocab_size - first - logits.shape[-1]
        padding = [[0, 0]] * (logits.shape.rank - 1) + [[first, after]]
        return tf.pad(logits, padding, constant_values=NEVER)

    def _recurrent_scale(
        self, layer: int, num_rows: tf.Tensor, seeds: tf.Tensor | None
    ) -> tf.Tensor | None:
        """The factor [batch, units] of a layer's hidden state, the same in all frames of a window.

        Recurrent dropout of Gal and Ghahramani 2016 (arXiv 1512.05287).
        """
        if seeds is None or not self.config.recurrent_dropout:
            return None
        ones = tf.ones([num_rows, 1, self.config.units], self.compute_dtype)
        return self._dropout(ones, "recurrent_dropout", 200 + layer, seeds)[:, 0]

    def _head_scales(
        self, in_use: tf.Tensor, frames: tf.Tensor, seeds: tf.Tensor | None
    ) -> list[tf.Tensor | None]:
        """For each voice dropout of its head as factors [frames in use, head_units].

        `frames`: the shape [2] of the batch in frames, of which `in_use` [frames in use, 2] count.
        """
        voices = range(self.config.num_voices)
        if seeds is None or not self.config.head_dropout:
            return [None for _ in voices]
        ones = tf.ones([*tf.unstack(frames), self.config.head_units], self.compute_dtype)
        masks = [self._dropout(ones, "head_dropout", 100 + voice, seeds) for voice in voices]
        return [tf.gather_nd(mask, in_use) for mask in masks]

    def _dropout(self, x: tf.Tensor, rate: str, site: int, seeds: tf.Tensor | None) -> tf.Tensor:
        whole_steps = rate == "history_dropout"
        return dropout(x, getattr(self.config, rate), site, seeds, whole_steps=whole_steps)
