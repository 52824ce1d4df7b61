"""The LSTM over token ids: its configuration, its presets, the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from model.networks.hoisted_lstm import HoistedLSTM
from model.networks.masks import dropout

State = Any  # per layer (hidden, cell), each [batch, units]; a subclass may carry more


@dataclass(frozen=True)
class LSTMConfig:
    """The network's shape: with the weights, all that is needed to build it again."""

    vocab_size: int
    embedding_size: int = 128
    units: int = 256
    num_layers: int = 2
    dropout: float = 0.2  # on the input of every LSTM layer but the first, and of the output
    residual: bool = False  # add a layer's input to its output, from the second layer on
    layer_norm: bool = False  # normalise the input of every LSTM layer
    tied_output: bool = False  # logits = projection to the embedding's size, times its transpose

    def __post_init__(self) -> None:
        sizes = (self.vocab_size, self.embedding_size, self.units, self.num_layers)
        if min(sizes) < 1:
            raise ValueError(f"{self}: sizes must be 1 or more")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must be at least 0 and below 1")

    def to_dict(self) -> dict[str, Any]:
        """The fields, as a checkpoint keeps them."""
        return asdict(self)


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"embedding_size": 32, "units": 64, "num_layers": 1},
    "small": {"embedding_size": 128, "units": 256, "num_layers": 2},
    "base": {"embedding_size": 256, "units": 512, "num_layers": 2},
}


def preset_config(preset: str, vocab_size: int, dropout: float) -> LSTMConfig:
    """The configuration of a preset, for a vocabulary."""
    return replace(LSTMConfig(vocab_size=vocab_size, dropout=dropout), **PRESETS[preset])


class MusicLSTM(keras.Model):
    """Embedding, LSTM layers, logits; the recurrent state goes in and comes out."""

    def __init__(self, config: LSTMConfig, precision: str = "float32") -> None:
        super().__init__(name="music", dtype=precision)
        self.config = config
        # On a GPU a setting that would lose the cuDNN kernel must raise, not run ten times slower.
        has_gpu = bool(tf.config.list_logical_devices("GPU"))
        lstm = partial(keras.layers.LSTM, use_cudnn=True) if has_gpu else HoistedLSTM
        # With a standard deviation of 1 the tokens drive the gates from the first step on; with
        # Keras' default (0.05 at most) they hardly do, and learning starts late. A table of logits
        # would need size**-0.5; a shared table takes the value between.
        deviation = config.embedding_size**-0.25 if config.tied_output else 1.0
        self.embedding = keras.layers.Embedding(
            config.vocab_size,
            config.embedding_size,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=deviation),
            name="embedding",
            dtype=precision,
        )
        self.recurrent = [
            lstm(
                config.units,
                return_sequences=True,
                return_state=True,
                name=f"lstm_{layer}",
                dtype=precision,
            )
            for layer in range(config.num_layers)
        ]
        self.norms = [
            keras.layers.LayerNormalization(name=f"norm_{layer}", dtype=precision)
            for layer in range(config.num_layers if config.layer_norm else 0)
        ]
        self.projection = (
            keras.layers.Dense(config.embedding_size, name="projection", dtype=precision)
            if config.tied_output
            else keras.layers.Dense(config.vocab_size, name="logits", dtype=precision)
        )

    def call(
        self,
        tokens: tf.Tensor,
        state: State | None = None,
        dropout_seeds: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, State]:
        """Logits [batch, time, vocab] float32 and the state after `tokens` [batch, time].

        Without a state the sequences start from zeros. `dropout_seeds` [num_slices, 2] int32 turns
        dropout on: the batch is cut into that many equal slices. The mask of a slice depends on
        its seed alone, so it does not matter which worker holds which slice.
        """
        x, new_state = self._outputs(tokens, state, dropout_seeds)
        return self._logits(x, dropout_seeds), new_state

    @property
    def steps(self) -> list[Callable[..., Any]]:
        """One function for each id of a row, which sampling calls in turn: here a row is one id."""
        return [self.step]

    def step(self, tokens: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Logits [batch, vocab] float32 and the state after one token [batch]."""
        x, new_state = self._step_outputs(tokens, state)
        return self._logits(x, None), new_state

    def state_after(self, tokens: tf.Tensor, state: State) -> State:
        """The state after ids [batch, time] from the given one on."""
        return self(tokens, state)[1]

    def zero_state(self, batch_size: int) -> State:
        """The state before the first token."""
        shape = [batch_size, self.config.units]
        return [
            (tf.zeros(shape, self.compute_dtype), tf.zeros(shape, self.compute_dtype))
            for _ in self.recurrent
        ]

    def named_weights(self) -> dict[str, keras.Variable]:
        """Every weight by its path, e.g. 'music/lstm_0/lstm_cell/kernel'."""
        return {weight.path: weight for weight in self.weights}

    def _outputs(
        self, tokens: tf.Tensor, state: State | None, seeds: tf.Tensor | None
    ) -> tuple[tf.Tensor, State]:
        """The last layer's outputs [batch, time, units] and the state after them."""
        x = self.embedding(tokens)
        new_state = []
        for layer, lstm in enumerate(self.recurrent):
            inputs = self._layer_input(x, layer, seeds)
            outputs, hidden, cell = lstm(inputs, initial_state=state[layer] if state else None)
            new_state.append((hidden, cell))
            x = x + outputs if self.config.residual and layer else outputs
        return x, new_state

    def _step_outputs(self, tokens: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """The last layer's output [batch, units] after one token [batch], and the state."""
        x = self.embedding(tokens)
        new_state = []
        for layer, lstm in enumerate(self.recurrent):
            inputs = self._layer_input(x, layer, None)
            outputs, (hidden, cell) = lstm.cell(inputs, state[layer])
            new_state.append((hidden, cell))
            x = x + outputs if self.config.residual and layer else outputs
        return x, new_state

    def _layer_input(self, x: tf.Tensor, layer: int, seeds: tf.Tensor | None) -> tf.Tensor:
        if layer:
            x = self._dropout(x, layer, seeds)
        return self.norms[layer](x) if self.norms else x

    def _logits(self, x: tf.Tensor, seeds: tf.Tensor | None) -> tf.Tensor:
        x = self.projection(self._dropout(x, self.config.num_layers, seeds))
        if self.config.tied_output:
            table = tf.cast(tf.convert_to_tensor(self.embedding.embeddings), x.dtype)
            x = tf.einsum("...e,ve->...v", x, table)
        return tf.cast(x, tf.float32)

    def _dropout(self, x: tf.Tensor, site: int, seeds: tf.Tensor | None) -> tf.Tensor:
        return dropout(x, self.config.dropout, site, seeds)


def build_lstm(config: LSTMConfig, precision: str = "float32") -> MusicLSTM:
    """The network with fresh weights, which depend on `keras.utils.set_random_seed` alone.

    `precision` is a Keras dtype policy: float32, mixed_bfloat16 or mixed_float16.
    """
    model = MusicLSTM(config, precision)
    model(tf.zeros([1, 1], tf.int32))  # not in __init__: a subclass adds layers first
    return model
