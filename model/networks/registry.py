"""The networks by name: their presets, their configurations, their construction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from model.networks import lstm, lstm_attention, transformer
from model.networks.frames import network as frames
from model.networks.frames.decoding import FrameModel
from model.networks.frames.network import FramesConfig
from model.networks.lstm import LSTMConfig, MusicLSTM
from model.networks.lstm_attention import AttentionLSTMConfig
from model.networks.transformer import MusicTransformer, TransformerConfig
from pipeline.vocabulary.grid import GridVocabulary
from pipeline.vocabulary.registry import Vocabulary

Network = MusicLSTM | MusicTransformer | FrameModel  # AttentionLSTM is a MusicLSTM
NetworkConfig = LSTMConfig | TransformerConfig | FramesConfig

# Networks over the tokens of any vocabulary: the class of the configuration, and its presets.
OVER_TOKENS: dict[str, tuple[Any, dict[str, dict[str, Any]]]] = {
    "lstm": (LSTMConfig, lstm.PRESETS),
    "lstm-attention": (AttentionLSTMConfig, lstm_attention.PRESETS),
    "transformer": (TransformerConfig, transformer.PRESETS),
}


def network_config(kind: str, preset: str, vocabulary: Vocabulary) -> NetworkConfig:
    """The configuration of a preset for a vocabulary.

    Raises ValueError if the network cannot use the vocabulary.
    """
    if kind in OVER_TOKENS:
        make, presets = OVER_TOKENS[kind]
        return make(vocab_size=vocabulary.size, **presets[preset])
    if not isinstance(vocabulary, GridVocabulary):
        raise ValueError(
            "--model frames needs a data set of frames. Make one with: "
            "python pipeline/preprocess.py SOURCE --vocabulary grid --out data/grid"
        )
    config = FramesConfig(vocabulary.voices, vocabulary.num_pitches, vocabulary.steps_per_bar)
    return replace(config, mark_moved=vocabulary.mark_moved, **frames.PRESETS[preset])


def within(config: NetworkConfig, sequence_length: int) -> Any:
    """The configuration for training windows of `sequence_length` positions.

    Attention is bounded to them: while composing it must not see a distance that it never saw in
    training.
    """
    if isinstance(config, AttentionLSTMConfig | TransformerConfig):
        return replace(config, window=min(config.window, max(sequence_length - 1, 1)))
    return config


def with_dropout(config: NetworkConfig, dropout: float, **of_frames: Any) -> Any:
    """The configuration with other dropout rates.

    `of_frames`: the rates that only `FramesConfig` has, by its names; other networks ignore them.
    """
    if isinstance(config, FramesConfig):
        return replace(config, dropout=dropout, **of_frames)
    return replace(config, dropout=dropout)


def config_from_dict(settings: dict[str, Any]) -> NetworkConfig:
    """The configuration that `to_dict` described. Raises ValueError for an unknown kind."""
    settings = dict(settings)
    kind = settings.pop("kind", "lstm")
    kinds = {name: make for name, (make, _) in OVER_TOKENS.items()} | {"frames": FramesConfig}
    if kind not in kinds:
        raise ValueError(
            f"network {kind!r} is unknown; this program has {', '.join(kinds)}. Was the checkpoint "
            "made by a newer version?"
        )
    return kinds[kind](**settings)


def build_network(config: NetworkConfig, precision: str = "float32") -> Network:
    """The network with fresh weights, which depend on `keras.utils.set_random_seed` alone.

    `precision` is a Keras dtype policy: float32, mixed_bfloat16 or mixed_float16.
    """
    if isinstance(config, TransformerConfig):
        return MusicTransformer(config, precision)
    if isinstance(config, AttentionLSTMConfig):
        return lstm_attention.build_lstm_attention(config, precision)
    if isinstance(config, LSTMConfig):
        return lstm.build_lstm(config, precision)
    return FrameModel(config, precision)
