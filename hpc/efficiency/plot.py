"""The picture of a scaling measurement: scaling.png."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from hpc.efficiency.forecast import LINKS, WORKERS, Forecast
from hpc.efficiency.plan import ALONE, SCALINGS
from hpc.efficiency.tables import INDEPENDENT, EfficiencyRow
from hpc.reports.spread import Spread
from pipeline.runtime.plotting import COLOURS, GREY, MARKS, calm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE_WIDTH = 160  # letters
REASON_WIDTH = 44  # letters, in a panel
SHIFT = 0.03  # of the number of workers, between strategies, whose bars would hide each other
# Okabe and Ito's colours by name, so that a strategy has the same one in every picture; one that
# was added (docs/adding.md) has the third.
COLOUR_OF = defaultdict(
    lambda: COLOURS[2],
    {"horovod": COLOURS[1], "multiworker": COLOURS[0], INDEPENDENT: GREY, ALONE: "black"},
)
TITLES = (
    "speed of all workers",
    "efficiency against one process alone",
    "efficiency against independent processes",
)
PERFECT = Spread(1.0, None, None, 1)  # one process against itself
LINK_STYLES = (":", "-.", "--", "-")  # of LINKS
LINE_HEIGHT = 0.06  # of the value beside a point, as a share of the panel


def scaling_figure(
    found: Sequence[EfficiencyRow], foreseen: Sequence[Forecast], title: str
) -> Figure:
    """A line of panels for each scaling: speed, efficiency against one alone and independent.

    Below them is a panel for each strategy that has a cost model, with its predictions.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    # Panels: a line for each scaling, then the forecasts.
    scalings = list(dict.fromkeys(row.scaling for row in found))
    num_lines = len(scalings) + bool(foreseen)
    figure = Figure(figsize=(13, 1.4 + 3.6 * num_lines), layout="constrained")
    grid = figure.subplots(num_lines, 3, squeeze=False)
    if foreseen:
        _draw_forecasts(grid[-1], foreseen, found)
        grid = grid[:-1]
    for panels, scaling in zip(grid, scalings, strict=True):
        own = [row for row in found if row.scaling == scaling]
        _draw_speed(panels[0], own)
        _draw_efficiency(panels[1], own, lambda row: row.against_solo)
        _draw_efficiency(panels[2], own, lambda row: row.against_independent)
        panels[0].set_ylabel(f"{scaling} scaling\ntokens per second")
        for panel in panels:
            _number_the_workers(panel, own)
    for panel, name in zip(grid[0], TITLES, strict=True):
        panel.set_title(name, fontsize=10, loc="left")
    for panel in grid[-1]:
        panel.set_xlabel("workers")

    # One key for all panels, and above them what was measured.
    names = list(dict.fromkeys(row.strategy for row in found if row.strategy != ALONE))
    key = [Line2D([], [], color=GREY, linestyle=":", label="perfect")]
    key += [
        Line2D([], [], color=COLOUR_OF[name], marker=MARKS.get(name, "D"), label=name)
        for name in names
    ]
    figure.legend(handles=key, loc="outside lower left", ncols=len(key), frameon=False)
    held = "; ".join(f"{name}: {SCALINGS[name]}" for name in scalings)
    lines = [part for line in f"{title}\n{held}".splitlines() for part in wrap(line, TITLE_WIDTH)]
    figure.suptitle("\n".join(lines), fontsize=9, x=0.01, ha="left")
    return figure


def _draw_speed(panel: Axes, own: Sequence[EfficiencyRow]) -> None:
    """Tokens per second by workers, beginning with one process alone; dotted: n times that."""
    from matplotlib.ticker import EngFormatter

    alone = [row for row in own if row.strategy == ALONE]
    numbers = sorted({row.workers for row in own})
    if alone:
        panel.plot(numbers, [alone[0].rate.median * n for n in numbers], ":", color=GREY)
    lines = {name: alone + _of(name, own) for name in _strategies(own)}
    points = {name: [(row.workers, row.rate) for row in line] for name, line in lines.items()}
    ends = [row.rate.high or row.rate.median for row in own]
    panel.set_ylim(0, 1.12 * max([*ends, *(row.rate.median * numbers[-1] for row in alone)]))
    panel.yaxis.set_major_formatter(EngFormatter(sep=""))
    _draw_lines(panel, points, "{:,.0f}")


def _draw_efficiency(
    panel: Axes, own: Sequence[EfficiencyRow], share_of: Callable[[EfficiencyRow], Spread | None]
) -> None:
    """Efficiency by workers; dotted: 100 %."""
    from matplotlib.ticker import PercentFormatter

    panel.axhline(1, color=GREY, linestyle=":")
    begin = [(1, PERFECT)] if any(row.strategy == ALONE for row in own) else []
    shares = {row.strategy for row in own if share_of(row)}
    points = {
        name: begin + [(row.workers, share) for row in _of(name, own) if (share := share_of(row))]
        for name in _strategies(own)
        if name in shares
    }
    ends = [share.high or share.median for line in points.values() for _, share in line]
    panel.set_ylim(0, 1.12 * max([1.0, *ends]))
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _draw_lines(panel, points, "{:.0%}")


def _draw_forecasts(
    panels: Sequence[Axes], foreseen: Sequence[Forecast], found: Sequence[EfficiencyRow]
) -> None:
    """Predicted efficiency by workers on each link, and what was measured, as points."""
    from matplotlib.ticker import NullLocator, PercentFormatter

    for panel in panels[len(foreseen) :]:
        panel.set_axis_off()
    for panel, model in zip(panels, foreseen, strict=False):
        if model.is_reliable:
            for gigabits, style in zip(LINKS, LINK_STYLES, strict=True):
                shares = [model.efficiency(workers, gigabits) for workers in WORKERS]
                label = f"{gigabits:g} Gbit/s"
                panel.plot(WORKERS, shares, style, color=COLOUR_OF[model.strategy], label=label)
            panel.legend(fontsize=8, frameon=False, loc="lower left")
        else:
            reason = "\n".join(wrap(f"no prediction: {model.refusal}", REASON_WIDTH))
            panel.text(0.98, 0.05, reason, transform=panel.transAxes, ha="right", fontsize=9)
        measured = [
            (row.workers, row.against_independent.median)
            for row in _of(model.strategy, found)
            if row.scaling == "weak" and row.against_independent
        ]
        for point in measured:
            panel.plot(*point, MARKS.get(model.strategy, "D"), color="black")
        panel.set_title(
            f"{model.strategy}: predicted (lines), measured (points)", fontsize=10, loc="left"
        )
        panel.set_xscale("log", base=2)
        panel.set_xlim(2 / 1.3, WORKERS[-1] * 1.3)
        panel.set_xticks([2, *WORKERS], [str(number) for number in (2, *WORKERS)])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_ylim(0, 1.12 * max([1.0, *(share for _, share in measured)]))
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panel.set_xlabel("workers, weak scaling")
        calm(panel)


def _draw_lines(panel: Axes, points: Mapping[str, Sequence[tuple[int, Spread]]], form: str) -> None:
    """Medians with quartiles as bars; the last point of each line has its value beside it."""
    last = {}
    for index, (name, line) in enumerate(points.items()):
        if not line:
            continue
        along = [n * (1 + SHIFT * index * (n > 1)) for n, _ in line]
        medians = [value.median for _, value in line]
        below = [value.median - (value.low or value.median) for _, value in line]
        above = [(value.high or value.median) - value.median for _, value in line]
        colour, mark = COLOUR_OF[name], MARKS.get(name, "D")
        panel.errorbar(along, medians, [below, above], color=colour, marker=mark, capsize=3)
        last[name] = (line[-1][0] * (1 + SHIFT * (len(points) + 0.5)), medians[-1])
    top, lowest = panel.get_ylim()[1], 0.0
    for name, (workers, median) in sorted(last.items(), key=lambda item: item[1][1]):
        height = max(median, lowest)
        lowest = height + LINE_HEIGHT * top
        text = form.format(median)
        # On white, because the dotted line of perfect scaling may run behind it.
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        panel.text(workers, height, text, color=COLOUR_OF[name], va="center", fontsize=9, bbox=box)


def _of(name: str, own: Sequence[EfficiencyRow]) -> list[EfficiencyRow]:
    return [row for row in own if row.strategy == name]


def _strategies(own: Sequence[EfficiencyRow]) -> list[str]:
    return list(dict.fromkeys(row.strategy for row in own if row.strategy != ALONE))


def _number_the_workers(panel: Axes, own: Sequence[EfficiencyRow]) -> None:
    """Workers on a logarithmic scale, with a tick at each number that was measured."""
    from matplotlib.ticker import NullLocator

    numbers = sorted({row.workers for row in own})
    panel.set_xscale("log", base=2)
    panel.set_xticks(numbers, [str(number) for number in numbers])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlim(0.85, numbers[-1] * 1.45)  # with room for the values
    calm(panel)
