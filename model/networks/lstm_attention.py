"""The LSTM over token ids whose last layer attends over its own past.

Luong, Pham and Manning 2015 (arXiv 1508.04025) with the "general" score, over the network's own
outputs h: h~ = tanh(W [context; h]) gives the logits. Everything else is `MusicLSTM`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from model.networks.attention import KVCache, attend, empty_cache
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
        """The fields, as a checkpoint keeps them."""
        return {"kind": "lstm-attention", **asdict(self)}


# As many parameters as the LSTM's presets have with the events vocabulary, within 5 %.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"embedding_size": 32, "units": 54, "num_layers": 1, "window": 64},
    "small": {"embedding_size": 128, "units": 231, "num_layers": 2},
    "base": {"embedding_size": 256, "units": 462, "num_layers": 2, "window": 512},
}


class DecodingState(NamedTuple):
    """The state between one id and the next while decoding."""

    count: tf.Tensor  # [] int32: ids read so far
    recurrent: State
    cache: KVCache  # of the last layer's outputs


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
        state: DecodingState | None = None,
        dropout_seeds: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, DecodingState | None]:
        """Logits [batch, time, vocab] float32 and the state after `tokens` [batch, time].

        Without a state the sequences start from zeros, and no state is returned. `dropout_seeds`
        [num_slices, 2]: as in `MusicLSTM.call`.
        """
        x, recurrent = self._outputs(tokens, state.recurrent if state else None, dropout_seeds)
        if state is None:
            joined, _ = self._attend(x, None, tf.constant(0))
            return self._logits(joined, dropout_seeds), None
        joined, cache = self._attend(x, state.cache, state.count)
        count = state.count + tf.shape(tokens)[1]
        return self._logits(joined, dropout_seeds), DecodingState(count, recurrent, cache)

    def step(self, tokens: tf.Tensor, state: DecodingState) -> tuple[tf.Tensor, DecodingState]:
        """Logits [batch, vocab] float32 and the state after one token [batch]."""
        x, recurrent = self._step_outputs(tokens, state.recurrent)
        joined, cache = self._attend(x[:, None], state.cache, state.count)
        return self._logits(joined[:, 0], None), DecodingState(state.count + 1, recurrent, cache)

    def zero_state(self, batch_size: int) -> DecodingState:
        """The state before the first token."""
        config = self.config
        cache = empty_cache(batch_size, config.window, 1, config.units, self.compute_dtype)
        return DecodingState(tf.constant(0), super().zero_state(batch_size), cache)

    def _attend(
        self, x: tf.Tensor, cache: KVCache | None, count: tf.Tensor
    ) -> tuple[tf.Tensor, Any]:
        """h~ [batch, time, units] of the outputs x [batch, time, units], and the cache after it."""
        queries = self.query(x)[:, :, None]  # [batch, time, 1 head, units]
        outputs = x[:, :, None]
        context, cache = attend(queries, outputs, outputs, self.config.window, cache, count)
        return self.joined(tf.concat([context[:, :, 0], x], -1)), cache


def build_lstm_attention(config: AttentionLSTMConfig, precision: str = "float32") -> AttentionLSTM:
    """The network with fresh weights, which depend on `keras.utils.set_random_seed` alone."""
    model = AttentionLSTM(config, precision)
    model(tf.zeros([1, 1], tf.int32))
    return model
