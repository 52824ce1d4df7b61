"""The LSTM over token ids whose last layer attends over its own past.

Luong, Pham and Manning 2015 (arXiv 1508.04025), "general" score, here over the network's own
outputs: the context found is joined to the output, h~ = tanh(W [context; h]), and gives the logits.
The rest is `MusicLSTM`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from model.networks.attention import Past, attend, empty_past
from model.networks.lstm import LSTMConfig, MusicLSTM, State


@dataclass(frozen=True)
class AttentionLSTMConfig(LSTMConfig):
    """The shape of the LSTM, and how far its attention reaches."""

    window: int = 256  # positions before itself that each position sees

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 1:
            raise ValueError(f"{self}: sizes must be 1 or more")

    def to_dict(self) -> dict[str, Any]:
        """The fields, for a checkpoint."""
        return {"kind": "lstm-attention", **asdict(self)}


# As many parameters as the LSTM's presets have with the events vocabulary, within 5 %.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"embedding_size": 32, "units": 54, "num_layers": 1, "window": 64},
    "small": {"embedding_size": 128, "units": 231, "num_layers": 2},
    "base": {"embedding_size": 256, "units": 462, "num_layers": 2, "window": 512},
}


class Remembering(NamedTuple):
    """What a composing model carries from id to id."""

    count: tf.Tensor  # [] int32: ids heard so far
    recurrent: State
    past: Past  # of the last layer's outputs


class AttentionLSTM(MusicLSTM):
    """Embedding, LSTM layers, attention over the outputs of the last one, logits."""

    config: AttentionLSTMConfig

    def __init__(self, config: AttentionLSTMConfig, precision: str = "float32") -> None:
        super().__init__(config, precision)
        self.query = keras.layers.Dense(config.units, use_bias=False, name="query", dtype=precision)
        self.joined = keras.layers.Dense(
            config.units, activation="tanh", name="joined", dtype=precision
        )

    def call(
        self,
        tokens: tf.Tensor,
        state: Remembering | None = None,
        dropout_seeds: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, Remembering | None]:
        """Logits [batch, time, vocab] float32 and the state after `tokens` [batch, time].

        Without a state the sequences start from zeros, and none is returned. `dropout_seeds`
        [num_slices, 2]: as in `MusicLSTM.call`.
        """
        x, recurrent = self._outputs(tokens, state.recurrent if state else None, dropout_seeds)
        if state is None:
            joined, _ = self._attend(x, None, tf.constant(0))
            return self._logits(joined, dropout_seeds), None
        joined, past = self._attend(x, state.past, state.count)
        count = state.count + tf.shape(tokens)[1]
        return self._logits(joined, dropout_seeds), Remembering(count, recurrent, past)

    def step(self, tokens: tf.Tensor, state: Remembering) -> tuple[tf.Tensor, Remembering]:
        """Logits [batch, vocab] float32 and state after one token [batch]: what sampling calls."""
        x, recurrent = self._step_outputs(tokens, state.recurrent)
        joined, past = self._attend(x[:, None], state.past, state.count)
        return self._logits(joined[:, 0], None), Remembering(state.count + 1, recurrent, past)

    def zero_state(self, batch_size: int) -> Remembering:
        """The state before the first token."""
        config = self.config
        past = empty_past(batch_size, config.window, 1, config.units, self.compute_dtype)
        return Remembering(tf.constant(0), super().zero_state(batch_size), past)

    def _attend(self, x: tf.Tensor, past: Past | None, count: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """Outputs x [batch, time, units] joined with what they find, and the past after them."""
        one_head = x[:, :, None]
        queries = self.query(x)[:, :, None]
        found, past = attend(queries, one_head, one_head, self.config.window, past, count)
        return self.joined(tf.concat([found[:, :, 0], x], -1)), past


def build_lstm_attention(config: AttentionLSTMConfig, precision: str = "float32") -> AttentionLSTM:
    """The network with fresh weights, which depend on `keras.utils.set_random_seed` alone."""
    model = AttentionLSTM(config, precision)
    model(tf.zeros([1, 1], tf.int32))
    return model
