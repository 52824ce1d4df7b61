"""A map of a network's pitches: the weights of each pitch, projected to a plane."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np

from model.networks.frames.decoding import FrameModel
from model.networks.lstm import MusicLSTM
from model.networks.registry import Network
from model.networks.transformer import MusicTransformer
from pipeline.vocabulary.registry import Vocabulary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
PITCH_CLASSES = 12
FIFTH = 7

PANEL = 7.5  # inches, and in points, of 1/72 inch:
INSIDE = 470.0  # the axes of a panel
DOT, LETTER_WIDTH, LETTER_HEIGHT = 7.0, 5.5, 7.5
GAP = 5.0  # from a point to its name
# Where a name may stand: right or left of its point (1, -1) and above or below it.
BESIDE = ((1, 1), (1, 0), (-1, 0), (1, -1), (-1, 1), (-1, -1), (0, 1.4), (0, -1.4))
Box = tuple[float, float, float, float]  # left, low, right, high


def pitch_weights(model: Network, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """The input and the output weights [num_pitches, n] of every pitch of the vocabulary.

    A pitch with several ids, one in each voice, has the weights of all of them in a row. There are
    no output weights if the output shares those of the input.
    """
    tables = _frame_tables(model) if isinstance(model, FrameModel) else _token_tables(model)
    return {name: _by_pitch(table, vocabulary) for name, table in tables.items()}


def principal_components(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two principal components [n, 2] of vectors, and the share of variance of each."""
    centred = vectors - vectors.mean(0)
    left, singular, _ = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    variance = singular**2
    return left[:, :2] * singular[:2], variance[:2] / max(variance.sum(), np.finfo(float).tiny)


def pitch_map(model: Network, vocabulary: Vocabulary, title: str) -> Figure:
    """A figure of the first two principal components: pitches that are used alike lie close."""
    from matplotlib.figure import Figure

    weights = pitch_weights(model, vocabulary)
    pitches = np.unique(vocabulary.pitches[vocabulary.pitches >= 0])
    figure = Figure(figsize=(PANEL * len(weights), PANEL), layout="constrained")
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    panels = figure.subplots(1, len(weights), squeeze=False)[0]
    for axes, (name, vectors) in zip(panels, weights.items(), strict=True):
        _draw_map(axes, pitches, *principal_components(vectors))
        axes.set_title(f"{name} weights", fontsize=10, loc="left")
    return figure


def _draw_map(axes: Axes, pitches: np.ndarray, places: np.ndarray, shares: np.ndarray) -> None:
    """Draw pitches as points in the colour of their class; lines join neighbouring semitones."""
    axes.plot(*places.T, color="#c8ccd2", linewidth=0.8, zorder=1)
    # Neighbours on the circle of fifths have neighbouring hues.
    hues = (pitches * FIFTH) % PITCH_CLASSES / PITCH_CLASSES
    colours = [colorsys.hsv_to_rgb(hue, 0.75, 0.8) for hue in hues]
    axes.scatter(places[:, 0], places[:, 1], c=colours, s=42, zorder=2)
    _name_points(axes, pitches, places)
    for draw, number in ((axes.set_xlabel, 0), (axes.set_ylabel, 1)):
        draw(f"principal component {number + 1} ({shares[number]:.0%} of variance)")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _name_points(axes: Axes, pitches: np.ndarray, places: np.ndarray) -> None:
    """Write the name of each pitch beside its point, where neither a point nor a name is.

    A pitch without such a place has no name; its colour tells its class.
    """
    limits = np.array([axes.get_xlim(), axes.get_ylim()])
    points = (places - limits[:, 0]) / np.ptp(limits, axis=1) * INSIDE
    taken = [(x - DOT / 2, y - DOT / 2, x + DOT / 2, y + DOT / 2) for x, y in points]
    for pitch, place, (x, y) in zip(pitches.tolist(), places, points, strict=True):
        name = f"{NAMES[pitch % PITCH_CLASSES]}{pitch // PITCH_CLASSES - 1}"
        wide, high = LETTER_WIDTH * len(name), LETTER_HEIGHT
        for across, up in BESIDE:
            left = x + across * GAP - wide * (across < 0) - wide / 2 * (across == 0)
            low = y + up * GAP - high * (up < 0) - high / 2 * (up == 0)
            box = (left, low, left + wide, low + high)
            if not any(_overlap(box, other) for other in taken):
                taken.append(box)
                offset = (left - x, low - y)
                axes.annotate(
                    name, place, xytext=offset, textcoords="offset points", fontsize=LETTER_HEIGHT
                )
                break


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _by_pitch(table: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Rows [num_pitches, n] of a table [vocab, m]: the rows of a pitch's ids joined."""
    pitches = np.unique(vocabulary.pitches[vocabulary.pitches >= 0])
    return np.stack([table[vocabulary.pitches == pitch].ravel() for pitch in pitches])


def _token_tables(model: MusicLSTM | MusicTransformer) -> dict[str, np.ndarray]:
    """Tables [vocab, n] of a network over tokens: its embedding, and the columns of its logits."""
    tables = {"input": np.asarray(model.embedding.embeddings)}
    if isinstance(model, MusicTransformer) or not model.config.tied_output:
        tables["output"] = np.asarray(model.projection.kernel).T
    return tables


def _frame_tables(model: FrameModel) -> dict[str, np.ndarray]:
    """Tables [vocab, n] of a frame model: its weights of the last frame, and of voices' logits."""
    config = model.config
    first = config.vocab_size - config.num_voices * (1 + config.num_pitches)
    kernel_in = np.asarray(model.embedding.kernel)
    read, chosen = [], []
    for voice in range(config.num_voices):
        # The last frame is the first part of the input; a voice has rest, pitches and 'unknown'.
        begin = voice * (config.num_pitches + 2)
        read.append(kernel_in[begin : begin + 1 + config.num_pitches])
        kernel = np.asarray(model.heads[voice].choices.kernel)
        chosen.append(kernel[:, : 1 + config.num_pitches].T)
    tables = {"input": np.concatenate(read), "output": np.concatenate(chosen)}
    return {name: np.pad(table, [(first, 0), (0, 0)]) for name, table in tables.items()}
