"""A data set in one picture: lengths, pitches, durations, coverage, and the sequence length."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.description.contents import Description
from pipeline.description.sequence_length import ENOUGH_REPETITION, MIN_STEPS, Recommendation
from pipeline.runtime.plotting import COLOURS, GREY, calm, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN = COLOURS[:3]
SPLIT_COLOURS = {"train": BLUE, "valid": ORANGE, "test": GREEN}
TEXT, UNUSED = "#333333", "#DCE3EA"
MOST_TICKS = 6  # of an axis of lengths, for their numbers to stand apart
NOTE_VALUES = {1: "1", 2: "1/2", 4: "1/4", 8: "1/8", 16: "1/16", 32: "1/32"}


def save_description(found: Description, path: Path) -> None:
    """Write the picture as PNG: whole or not at all. Raises OSError on a full disk."""
    save(description_figure(found), path)


def description_figure(found: Description) -> Figure:
    """The picture, six panels."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(15, 8.6), layout=layout)
    counts = ", ".join(f"{split.num_pieces:,} {name}" for name, split in found.splits.items())
    figure.suptitle(
        f"{found.name}: {counts} pieces; {found.manifest.num_tokens('train'):,} train tokens",
        fontsize=15,
        x=0.01,
        ha="left",
        color=TEXT,
    )
    panels = figure.subplots(2, 3)
    for axes in panels.flat:
        _tidy(axes)
    _plot_lengths(panels[0, 0], found)
    _plot_pitches(panels[0, 1], found)
    _plot_durations(panels[0, 2], found)
    _plot_coverage(panels[1, 0], found)
    if found.recommendation:
        _plot_repetition(panels[1, 1], found.recommendation)
        _plot_sequence_length(panels[1, 2], found.recommendation)
    return figure


def _tidy(axes: Axes) -> None:
    calm(axes)
    axes.xaxis.grid(visible=False)
    axes.tick_params(labelsize=9)


def _title(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=TEXT)
    axes.set_xlabel(x, fontsize=9, color=TEXT)
    axes.set_ylabel(y, fontsize=9, color=TEXT)


def _plot_lengths(axes: Axes, found: Description) -> None:
    from matplotlib.ticker import MaxNLocator

    lengths = {name: split.piece_tokens for name, split in found.splits.items()}
    every = np.concatenate(list(lengths.values()))
    # On a log scale, or a few very long pieces would press all others into one bar.
    bins = np.geomspace(max(every.min(), 1), every.max() + 1, 30)
    present = [name for name in lengths if lengths[name].size]
    axes.hist(
        [lengths[name] for name in present],
        bins.tolist(),
        stacked=True,
        color=[SPLIT_COLOURS[name] for name in present],
        label=present,
    )
    axes.set_xscale("log")
    ticks = _round_numbers(int(every.min()), int(every.max()))
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=9)
    _title(axes, "Length of pieces", "tokens (log scale)", "pieces")


def _round_numbers(lowest: int, highest: int) -> list[int]:
    """At most `MOST_TICKS` numbers for a log scale; where none of 1, 2, 5, 10 fit, its ends."""
    for digits in ((1, 2, 5), (1, 3), (1,)):
        numbers = [digit * 10**zeros for zeros in range(len(str(highest))) for digit in digits]
        inside = [number for number in numbers if lowest <= number <= highest]
        if len(inside) <= MOST_TICKS:
            break
    return inside if len(inside) > 1 else sorted({lowest, highest})


def _plot_pitches(axes: Axes, found: Description) -> None:
    pitches = found.splits["train"].pitches
    used = np.flatnonzero(pitches)
    axes.bar(np.arange(128), pitches, width=1.0, color=BLUE, edgecolor="white", linewidth=0.3)
    if used.size:
        axes.set_xlim(used[0] - 3, used[-1] + 3)
    octaves = [key for key in range(0, 128, 12) if axes.get_xlim()[0] <= key <= axes.get_xlim()[1]]
    axes.set_xticks(octaves, [f"C{key // 12 - 1}" for key in octaves])
    _title(axes, "Pitches (train, untransposed)", "key (C4 is middle C)", "notes")


def _plot_durations(axes: Axes, found: Description) -> None:
    durations = found.splits["train"].durations
    used = np.flatnonzero(durations)
    steps_per_whole = 4 * found.vocabulary.steps_per_quarter
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.vlines(used, 0.7, durations[used], color=BLUE, linewidth=3)
    axes.set_ylim(bottom=0.7)
    named = {
        steps_per_whole // n: text for n, text in NOTE_VALUES.items() if steps_per_whole % n == 0
    }
    axes.set_xticks(list(named), list(named.values()))
    axes.minorticks_off()
    _title(axes, "Durations (train)", "note value (log scale)", "notes (log scale)")


def _plot_coverage(axes: Axes, found: Description) -> None:
    coverage = {kind: counts for kind, counts in found.coverage().items() if counts[1] > 1}
    kinds = list(coverage)
    used, size = np.array(list(coverage.values())).T
    axes.barh(kinds, np.ones(len(kinds)), color=UNUSED)
    axes.barh(kinds, used / size, color=BLUE)
    for row, counts in enumerate(coverage.values()):
        axes.text(1.02, row, "{} of {}".format(*counts), va="center", fontsize=9, color=TEXT)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.grid(visible=False)
    _title(axes, "Ids that train pieces use", "share of the kind's ids", "")


def _plot_repetition(axes: Axes, recommendation: Recommendation) -> None:
    shares = np.array(recommendation.repetition_by_lag)
    lags = np.arange(len(shares))
    inside = lags * recommendation.tokens_per_quarter <= recommendation.sequence_length
    axes.bar(lags[inside], shares[inside], color=BLUE, label="within the recommended window")
    axes.bar(lags[~inside], shares[~inside], color=GREY, label="further apart")
    axes.set_ylim(0, max(shares.max(), 0.01) * 1.25)  # room for the legend
    axes.set_xticks(range(0, len(shares), 8))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.legend(frameon=False, fontsize=9)
    _title(axes, "How far apart the music repeats", "quarters", "share of the repetitions")


def _plot_sequence_length(axes: Axes, recommendation: Recommendation) -> None:
    rows = recommendation.candidates
    lengths = [row.sequence_length for row in rows]
    axes.plot(lengths, [row.repetition for row in rows], "o-", color=BLUE, label="repetitions held")
    axes.plot(
        lengths, [row.whole_pieces for row in rows], "s-", color=ORANGE, label="pieces held whole"
    )
    axes.axhline(ENOUGH_REPETITION, color=BLUE, linestyle=":", linewidth=1)
    few_from = max(
        (row.sequence_length for row in rows if row.steps_per_epoch >= MIN_STEPS), default=0
    )
    if few_from < lengths[-1]:
        axes.axvspan(max(few_from, 1), lengths[-1] * 1.1, color=UNUSED, alpha=0.5, linewidth=0)
        note = f"fewer than\n{MIN_STEPS} steps an epoch"
        axes.text(lengths[-1], 1.38, note, ha="right", va="top", fontsize=9, color=TEXT)
    chosen = recommendation.sequence_length
    axes.vlines(chosen, 0, 1, color=GREEN, linewidth=2.5, label=f"recommended: {chosen}")
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [f"{length}" for length in lengths], rotation=45)
    axes.set_xticks([], minor=True)
    axes.set_xlim(lengths[0] * 0.9, lengths[-1] * 1.1)
    axes.set_ylim(0, 1.42)  # room for the legend
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    _title(axes, "Sequence length", "tokens in a window (log scale)", "share")
