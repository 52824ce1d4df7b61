"""The networks by name, and their configurations as a checkpoint keeps them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from model import frames, lstm
from model.frames import FrameModel, FramesConfig
from model.lstm import LSTMConfig, MusicLSTM
from pipeline.grid import GridVocabulary
from pipeline.vocabulary import Vocabulary

Network = MusicLSTM | FrameModel
NetworkConfig = LSTMConfig | FramesConfig


def network_config(kind: str, preset: str, vocabulary: Vocabulary) -> NetworkConfig:
    """The configuration of a preset, for a vocabulary.

    Raises ValueError where the network cannot speak it.
    """
    if kind == "lstm":
        return replace(LSTMConfig(vocab_size=vocabulary.size), **lstm.PRESETS[preset])
    if not isinstance(vocabulary, GridVocabulary):
        raise ValueError(
            "--model frames needs a data set of frames. Make one with: "
            "python pipeline/preprocess.py SOURCE --vocabulary grid --out data/grid"
        )
    config = FramesConfig(vocabulary.voices, vocabulary.num_pitches, vocabulary.steps_per_bar)
    return replace(config, **frames.PRESETS[preset])


def with_dropout(config: NetworkConfig, dropout: float, head: float, history: float) -> Any:
    """The configuration with other rates of dropout; the LSTM over tokens has only the first."""
    if isinstance(config, LSTMConfig):
        return replace(config, dropout=dropout)
    return replace(config, dropout=dropout, head_dropout=head, history_dropout=history)


def config_from_dict(settings: dict[str, Any]) -> NetworkConfig:
    """The configuration that `to_dict` described. Raises ValueError for one unknown here."""
    settings = dict(settings)
    kind = settings.pop("kind", "lstm")
    kinds = {"lstm": LSTMConfig, "frames": FramesConfig}
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
    if isinstance(config, LSTMConfig):
        return lstm.build_lstm(config, precision)
    return FrameModel(config, precision)
