"""A score as a picture: a piano roll in rows of bars, as a printed score is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.runtime.plotting import COLOURS, save
from pipeline.scores.bars import Measure, measures_of, usual_length
from pipeline.scores.notes import Score
from pipeline.scores.parts import PLAIN, Parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BARS_PER_ROW = 16
MAX_ROWS = 40  # a longer piece gets longer rows
INCHES_PER_BAR = 0.85
NARROWEST, WIDEST = 8.0, 15.0  # inches
BLACK_KEYS = (1, 3, 6, 8, 10)
PRIMER_SHADE, KEY_SHADE, ROW_LINE, BAR_LINE = "#FFF3D6", "#F3F4F6", "#D5D8DD", "#9AA0A8"


def save_piano_roll(
    score: Score, path: Path, title: str, parts: Parts = PLAIN, primer_end: int = 0
) -> None:
    """Write the piano roll as PNG: whole or not at all. Raises OSError on a full disk."""
    save(piano_roll(score, title, parts, primer_end), path)


def piano_roll(score: Score, title: str, parts: Parts = PLAIN, primer_end: int = 0) -> Figure:
    """A figure of the score: pitch upwards, time to the right, a colour for each part.

    The part before `primer_end`, in the score's units, is shaded: it was given, not composed.
    """
    from matplotlib.figure import Figure

    measures = measures_of(score, parts.beats_per_bar)
    bar, upbeat = usual_length(measures), measures[0].before
    num_bars = max(1, -(-(score.end + upbeat) // bar))
    bars_per_row = max(min(BARS_PER_ROW, num_bars), -(-num_bars // MAX_ROWS))
    num_rows = -(-num_bars // bars_per_row)
    lowest, highest = pitch_limits(score)

    row_inches = 0.9 + 0.045 * (highest - lowest)
    width = min(max(1.2 + INCHES_PER_BAR * bars_per_row, NARROWEST), WIDEST)
    figure = Figure(figsize=(width, row_inches * num_rows + 0.7), layout="constrained")
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    rows = figure.subplots(num_rows, 1, squeeze=False)[:, 0]
    for row, axes in enumerate(rows):
        first = row * bars_per_row * bar - upbeat
        axes.set_xlim(first, first + bars_per_row * bar)
        axes.set_ylim(lowest - 0.5, highest + 0.5)
        if primer_end > max(first, 0):
            axes.axvspan(max(first, 0), primer_end, color=PRIMER_SHADE, linewidth=0, zorder=0.2)
        _draw_grid(axes, measures, score.resolution, lowest, highest)
        _draw_notes(axes, score)
    beats = "quarters" if score.time_signatures else f"{parts.beats_per_bar} beats"
    rows[-1].set_xlabel(f"bar ({beats} at {score.tempo:g} a minute)", fontsize=9)
    _draw_legend(figure, score, parts, primer_end)
    return figure


def pitch_limits(score: Score) -> tuple[int, int]:
    """The lowest and highest key shown: those of the notes and two more, at least an octave."""
    pitch = score.notes["pitch"]
    lowest, highest = (int(pitch.min()), int(pitch.max())) if pitch.size else (60, 60)
    margin = max(2, math.ceil((12 - (highest - lowest)) / 2))
    return max(lowest - margin, 0), min(highest + margin, 127)


def _draw_grid(
    axes: Axes, measures: Sequence[Measure], resolution: int, lowest: int, highest: int
) -> None:
    """Shade black keys; draw a line and a name at every C, strong lines at bars, fine at beats."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    first, end = (int(limit) for limit in axes.get_xlim())
    keys = range(lowest, highest + 1)
    shaded = [
        Rectangle((first, pitch - 0.5), end - first, 1)
        for pitch in keys
        if pitch % 12 in BLACK_KEYS
    ]
    axes.add_collection(PatchCollection(shaded, color=KEY_SHADE, linewidth=0, zorder=0.1))
    octaves = [pitch for pitch in keys if pitch % 12 == 0]
    axes.set_yticks(octaves, [f"C{pitch // 12 - 1}" for pitch in octaves], fontsize=8)
    edges = [pitch - 0.5 for pitch in octaves]
    axes.hlines(edges, first, end, color=ROW_LINE, linewidth=0.8, zorder=0.5)
    heights = (lowest - 0.5, highest + 0.5)
    beats = [beat for bar in measures for beat in bar.beats(resolution) if first <= beat <= end]
    axes.vlines(beats, *heights, color=ROW_LINE, linewidth=0.4, zorder=0.6)
    numbers = dict(enumerate(measures, 0 if measures[0].before else 1))  # an upbeat is bar 0
    bars = {bar.start: str(number) for number, bar in numbers.items() if first <= bar.start < end}
    last = measures[-1].end
    axes.vlines([*bars, min(last, end)], *heights, color=BAR_LINE, linewidth=0.9, zorder=0.7)
    axes.set_xticks(list(bars), list(bars.values()), fontsize=8, ha="left")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_notes(axes: Axes, score: Score) -> None:
    """Draw the notes that sound within the axes' limits, cut at them."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    first, end = axes.get_xlim()
    notes = score.notes
    shown = notes[(notes["onset"] < end) & (notes["onset"] + notes["duration"] > first)]
    gap = score.resolution / 24  # keeps repeated notes visibly apart
    for colour, program in colours_of_programs(score):
        boxes = [
            Rectangle((note["onset"], note["pitch"] - 0.42), max(note["duration"] - gap, gap), 0.84)
            for note in shown[shown["program"] == program]
        ]
        axes.add_collection(
            PatchCollection(
                boxes, facecolor=colour, edgecolor="white", linewidth=0.3, zorder=2, gid="notes"
            )
        )


def _draw_legend(figure: Figure, score: Score, parts: Parts, primer_end: int) -> None:
    """Explain the colours, if there are several, and the shade of a primer."""
    from matplotlib.patches import Patch

    programs = colours_of_programs(score)
    entries = [
        Patch(color=colour, label=parts.name(program))
        for colour, program in programs
        if len(programs) > 1
    ]
    if primer_end:
        entries.append(Patch(color=PRIMER_SHADE, label="primer"))
    if entries:
        figure.legend(
            handles=entries, loc="outside upper right", ncols=8, frameon=False, fontsize=8
        )


def colours_of_programs(score: Score) -> list[tuple[str, int]]:
    """(colour, program) of the programs that play, ascending."""
    programs = np.unique(score.notes["program"]).tolist()
    return [(COLOURS[index % len(COLOURS)], program) for index, program in enumerate(programs)]
