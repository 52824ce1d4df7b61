"""The Transformer over token ids: causal, pre-norm, with rotary positions and a bounded past.

Vaswani et al. 2017 (arXiv 1706.03762); layer norm before each part as in Xiong et al. 2020
(arXiv 2002.04745). Inputs and outputs are those of `MusicLSTM`: ids in, logits of the next ids out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from model.networks.attention import KVCache, attend, empty_cache, rotate
from model.networks.masks import dropout


@dataclass(frozen=True)
class TransformerConfig:
    """The network's shape: with the weights, all that is needed to build it again."""

    vocab_size: int
    width: int = 128
    num_layers: int = 5
    num_heads: int = 4
    feed_forward: int = 480
    window: int = 256  # positions before itself that each position sees, in every layer
    dropout: float = 0.2  # of the embedding and of what each part adds

    def __post_init__(self) -> None:
        sizes = (self.vocab_size, self.width, self.num_layers, self.num_heads, self.feed_forward)
        if min(*sizes, self.window) < 1:
            raise ValueError(f"{self}: sizes must be 1 or more")
        if self.width % (2 * self.num_heads):
            raise ValueError(f"width {self.width} must be a multiple of 2 x {self.num_heads} heads")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must be at least 0 and below 1")

    def to_dict(self) -> dict[str, Any]:
        """The fields, as a checkpoint keeps them."""
        return {"kind": "transformer", **asdict(self)}


# As many parameters as the LSTM's presets have with the events vocabulary, within 5 %.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 32, "num_layers": 3, "num_heads": 2, "feed_forward": 104, "window": 64},
    "small": {"width": 128, "num_layers": 5, "num_heads": 4, "feed_forward": 480},
    "base": {"width": 256, "num_layers": 5, "num_heads": 4, "feed_forward": 960, "window": 512},
}


class DecodingState(NamedTuple):
    """The state between one id and the next while decoding."""

    count: tf.Tensor  # [] int32: ids read so far
    caches: tuple[KVCache, ...]  # of each layer


class MusicTransformer(keras.Model):
    """Embedding, layers of self-attention and feed-forward, logits."""

    def __init__(self, config: TransformerConfig, precision: str = "float32") -> None:
        super().__init__(name="music", dtype=precision)
        self.config = config
        layers = range(config.num_layers)

        def dense(size: int, name: str, activation: str | None = None) -> keras.layers.Dense:
            return keras.layers.Dense(size, activation=activation, name=name, dtype=precision)

        def norm(name: str) -> keras.layers.LayerNormalization:
            return keras.layers.LayerNormalization(name=name, dtype=precision)

        self.embedding = keras.layers.Embedding(
            config.vocab_size, config.width, name="embedding", dtype=precision
        )
        self.attention_norms = [norm(f"attention_norm_{layer}") for layer in layers]
        self.qkv = [dense(3 * config.width, f"heads_{layer}") for layer in layers]
        self.attention_out = [dense(config.width, f"joined_{layer}") for layer in layers]
        self.ffn_norms = [norm(f"feed_norm_{layer}") for layer in layers]
        self.ffn_in = [dense(config.feed_forward, f"wide_{layer}", "gelu") for layer in layers]
        self.ffn_out = [dense(config.width, f"narrow_{layer}") for layer in layers]
        self.last_norm = norm("last_norm")
        self.projection = dense(config.vocab_size, "logits")
        self(tf.zeros([1, 1], tf.int32))

    def call(
        self,
        tokens: tf.Tensor,
        state: DecodingState | None = None,
        dropout_seeds: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, DecodingState | None]:
        """Logits [batch, time, vocab] float32 and the state after `tokens` [batch, time].

        Without a state the window is the start of a piece, and no state is returned.
        `dropout_seeds` [num_slices, 2]: as in `MusicLSTM.call`.
        """
        x = self._dropout(self.embedding(tokens), 0, dropout_seeds)  # [batch, time, width]
        count = tf.constant(0) if state is None else state.count
        caches = []
        for layer in range(self.config.num_layers):
            cache = None if state is None else state.caches[layer]
            attended, cache = self._self_attention(layer, x, cache, count)
            caches.append(cache)
            x = x + self._dropout(attended, 2 * layer + 1, dropout_seeds)
            hidden = self.ffn_in[layer](self.ffn_norms[layer](x))  # [batch, time, feed_forward]
            x = x + self._dropout(self.ffn_out[layer](hidden), 2 * layer + 2, dropout_seeds)
        logits = tf.cast(self.projection(self.last_norm(x)), tf.float32)
        if state is None:
            return logits, None
        return logits, DecodingState(count + tf.shape(tokens)[1], tuple(caches))

    @property
    def steps(self) -> list[Callable[..., Any]]:
        """One function for each id of a row, which sampling calls in turn: here a row is one id."""
        return [self.step]

    def step(self, tokens: tf.Tensor, state: DecodingState) -> tuple[tf.Tensor, DecodingState]:
        """Logits [batch, vocab] float32 and state after one token [batch]."""
        logits, state = self(tokens[:, None], state)
        return logits[:, 0], state

    def state_after(self, tokens: tf.Tensor, state: DecodingState) -> DecodingState:
        """The state after ids [batch, time] from the given one on."""
        return self(tokens, state)[1]

    def zero_state(self, batch_size: int) -> DecodingState:
        """The state before the first token."""
        config = self.config
        size = config.width // config.num_heads
        cache = empty_cache(batch_size, config.window, config.num_heads, size, self.compute_dtype)
        return DecodingState(tf.constant(0), (cache,) * config.num_layers)

    def named_weights(self) -> dict[str, keras.Variable]:
        """Every weight by its path, e.g. 'music/heads_0/kernel'."""
        return {weight.path: weight for weight in self.weights}

    def _self_attention(
        self, layer: int, x: tf.Tensor, cache: KVCache | None, count: tf.Tensor
    ) -> tuple[tf.Tensor, Any]:
        """What self-attention adds to x [batch, time, width], and the cache after it."""
        batch, time = tf.unstack(tf.shape(x)[:2])
        heads = self.config.num_heads
        qkv = self.qkv[layer](self.attention_norms[layer](x))  # [batch, time, 3 * width]
        qkv = tf.reshape(qkv, [batch, time, 3 * heads, self.config.width // heads])
        queries, keys, values = tf.split(qkv, 3, axis=2)  # [batch, time, heads, size] each
        queries, keys = rotate(queries, count), rotate(keys, count)
        attended, cache = attend(queries, keys, values, self.config.window, cache, count)
        attended = tf.reshape(attended, [batch, time, self.config.width])
        return self.attention_out[layer](attended), cache

    def _dropout(self, x: tf.Tensor, site: int, seeds: tf.Tensor | None) -> tf.Tensor:
        return dropout(x, self.config.dropout, site, seeds)
