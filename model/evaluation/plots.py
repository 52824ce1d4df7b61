"""Evaluation in pictures: where a model is surprised, and composed pieces beside real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from model.metrics.resemblance import density
from model.rendering.piano_roll import piano_roll
from pipeline.runtime.plotting import COLOURS, GREY, calm
from pipeline.vocabulary.frames import REST
from pipeline.vocabulary.grid import GridVocabulary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From expected notes to surprising ones; the first is visible on white and on grey.
SURPRISE = ("#C3CEDD", "#E69F00", "#D55E00", "#6B0000")
MOST_SURPRISE = 6.0  # nats of the last colour: 1 in 400
PANELS_PER_ROW = 5
UNITS = {  # of the metrics that are no shares
    "pitch-class entropy": "bits",
    "pitch entropy": "bits",
    "polyphony": "pitches at once",
    "pitches used": "pitches",
    "pitch range": "semitones",
    "notes out of range": "in 100 notes",
    "voice crossings": "in 100 chords",
    "parallel fifths": "in 100 chord changes",
    "parallel octaves": "in 100 chord changes",
}


def places_figure(nats: Sequence[np.ndarray], vocabulary: GridVocabulary, title: str) -> Figure:
    """A figure of the nats per note of each voice: overall, and by place in the bar."""
    from matplotlib.figure import Figure

    everything = np.concatenate(nats)
    place = np.concatenate([np.arange(len(piece)) for piece in nats]) % vocabulary.steps_per_bar
    names = voice_names(vocabulary)
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    left, right = figure.subplots(1, 2, sharey=False, width_ratios=(1, 3))
    for voice, name in enumerate(names):
        colour = COLOURS[voice % len(COLOURS)]
        mean = everything[:, voice].mean()
        left.bar(name, mean, color=colour)
        left.annotate(f"{mean:.3f}", (voice, mean), ha="center", va="bottom", fontsize=9)
        means = [
            everything[place == where, voice].mean() if (place == where).any() else np.nan
            for where in range(vocabulary.steps_per_bar)
        ]
        right.plot(means, "o-", color=colour, label=name, markersize=4)
    quarters = range(0, vocabulary.steps_per_bar, vocabulary.steps_per_quarter)
    right.set_xticks(list(quarters), [str(1 + i) for i in range(len(quarters))])
    right.set_xlabel("place in a bar of four quarters, counted from the first frame")
    right.legend(frameon=False)
    left.set_ylabel("nats per note")
    right.set_ylabel("nats per note")
    for axes in (left, right):
        calm(axes)
        axes.grid(visible=False, axis="x")
        axes.set_ylim(bottom=0)
    return figure


def surprise_figure(
    frames: np.ndarray, nats: np.ndarray, vocabulary: GridVocabulary, title: str
) -> Figure:
    """A piano roll that colours every voice of every frame by its nats."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.patches import Rectangle

    colours = LinearSegmentedColormap.from_list("surprise", SURPRISE)
    scale = Normalize(0, MOST_SURPRISE)
    score = vocabulary.decode(vocabulary.encode_frames(frames))
    figure = piano_roll(score, title)
    for legend in figure.legends[:]:
        legend.remove()  # colours mean nats here, not instruments
    for axes in figure.axes:
        for notes in axes.findobj(lambda artist: artist.get_gid() == "notes"):
            notes.remove()
        first, end = (int(limit) for limit in axes.get_xlim())
        shown = [(first + step, voice) for step, voice in np.argwhere(frames[first:end] != REST)]
        cells = [Rectangle((step, frames[step, v] - 0.42), 1, 0.84) for step, v in shown]
        collection = PatchCollection(cells, cmap=colours, norm=scale, linewidth=0, zorder=2)
        collection.set_array(np.array([nats[cell] for cell in shown]))
        axes.add_collection(collection)
    figure.colorbar(
        ScalarMappable(scale, colours),
        ax=figure.axes,
        label="nats of the note, given all before it",
        extend="max",
        shrink=min(1.0, 3 / figure.get_figheight()),
        pad=0.01,
    )
    return figure


def samples_figure(values: dict[str, dict[str, np.ndarray]], report: dict[str, Any]) -> Figure:
    """A figure of every metric in the composed pieces, in train and in the other real split."""
    from matplotlib.figure import Figure

    names = list(report["metrics"])
    num_rows = -(-len(names) // PANELS_PER_ROW)
    figure = Figure(figsize=(15, 2.8 * num_rows + 0.7), layout="constrained")
    panels = figure.subplots(num_rows, PANELS_PER_ROW, squeeze=False).ravel()
    for name, axes in zip(names, panels, strict=False):
        _draw_metric(axes, name, {which: columns[name] for which, columns in values.items()})
        metric = report["metrics"][name]
        mark = "" if metric["inside"] else " *"
        axes.set_title(name + mark, fontsize=10, loc="left")
        axes.set_xlabel(UNITS.get(name, "share"), fontsize=8)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel(
        "Curves: densities over pieces; straight lines: their means. * The mean of the composed "
        "pieces lies outside the gap between the two real ones, plus one bootstrap interval.",
        fontsize=9,
        x=0.01,
        ha="left",
    )
    handles, labels = panels[0].get_legend_handles_labels()
    counts = {which: len(next(iter(columns.values()))) for which, columns in values.items()}
    figure.legend(
        handles,
        [f"{counts[label]} {label}" for label in labels],
        loc="outside upper left",
        ncols=3,
        frameon=False,
    )
    return figure


def voice_names(vocabulary: GridVocabulary) -> list[str]:
    """The names soprano to bass for four voices; otherwise numbers from the highest down."""
    if vocabulary.voices == 4:
        return ["soprano", "alto", "tenor", "bass"]
    return [f"voice {voice + 1}" for voice in range(vocabulary.voices)]


def _draw_metric(axes: Axes, name: str, sets: dict[str, np.ndarray]) -> None:
    """Draw the densities of the three sets over one another, and the mean of each as a line."""
    sets = {which: column[np.isfinite(column)] for which, column in sets.items()}
    everything = np.concatenate(list(sets.values()))
    spread = float(np.ptp(everything)) or 1.0
    edges = np.linspace(everything.min() - 0.1 * spread, everything.max() + 0.1 * spread, 401)
    centres = (edges[:-1] + edges[1:]) / 2
    styles = ((COLOURS[1], "-"), (GREY, "-"), (COLOURS[0], "--"))
    for (which, column), (colour, line) in zip(sets.items(), styles, strict=True):
        axes.axvline(column.mean(), color=colour, linestyle=line, linewidth=1)
        shares = density(column, edges)
        curve = np.zeros_like(centres) if shares is None else shares
        axes.plot(centres, curve, color=colour, linestyle=line, linewidth=1.8, label=which)
        if which == "train":
            axes.fill_between(centres, curve, color=colour, alpha=0.2, linewidth=0)
    axes.set_ylim(bottom=0)
    axes.set_yticks([])
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
