"""The pictures of a comparison of runs: loss.png and speed.png."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc.reports.spread import spread
from hpc.run_folder.recorded import Point, RecordedRun
from pipeline.runtime.plotting import COLOURS, DASHES, GREY, MARKS, calm, require_matplotlib, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNITS = ((7200.0, "hours", 3600.0), (180.0, "minutes", 60.0), (0.0, "seconds", 1.0))  # from, ...


def write_plots(runs: Sequence[RecordedRun], target: float | None, out_dir: Path) -> list[Path]:
    """Write loss.png and, if a run has speeds, speed.png; their paths.

    Raises ValueError if matplotlib is not installed.
    """
    require_matplotlib("leave --out out")
    figures = {"loss.png": loss_figure(runs, target)}
    if any(stretch.rates for run in runs for stretch in run.stretches):
        figures["speed.png"] = speed_figure(runs)
    return [save(figure, out_dir / name) for name, figure in figures.items()]


def loss_figure(runs: Sequence[RecordedRun], target: float | None) -> Figure:
    """Loss against steps, tokens and training time; a number marks the start of a stretch."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    longest = max(run.stretches[-1].started_seconds + run.stretches[-1].seconds for run in runs)
    unit, unit_seconds = next((name, size) for least, name, size in UNITS if longest >= least)
    abscissas: dict[str, Callable[[Point], float]] = {
        "optimizer steps": lambda point: point.step,
        "tokens trained on": lambda point: point.tokens,
        f"training time, {unit}": lambda point: point.seconds / unit_seconds,
    }
    figure = Figure(figsize=(14, 5.6), layout="constrained")
    panels = figure.subplots(1, len(abscissas), sharey=True)
    for panel, (label, abscissa) in zip(panels, abscissas.items(), strict=True):
        if target is not None:
            panel.axhline(target, color=GREY, linewidth=1, linestyle=":")
        for index, run in enumerate(runs):
            # Curves of equal runs lie on each other: the earlier ones are drawn wider.
            width = 2 + 2 * (len(runs) - 1 - index) / len(runs)
            _draw_run(panel, run, abscissa, target, width, *_style(index))
        panel.set_xlabel(label)
        panel.set_xlim(left=0)
        calm(panel)
    panels[1].xaxis.set_major_formatter(EngFormatter(sep=""))
    panels[0].set_ylabel("loss, nats per token")
    _explain(figure, runs, target)
    return figure


def speed_figure(runs: Sequence[RecordedRun]) -> Figure:
    """Tokens per second of every stretch, of all workers and per worker, with quartiles."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter

    shown = [
        (stretch, _style(index)[0])
        for index, run in enumerate(runs)
        for stretch in run.stretches
        if stretch.rates
    ]
    figure = Figure(figsize=(13, 1.9 + 0.5 * len(shown)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, per_worker in zip(panels, (False, True), strict=True):
        for row, (stretch, colour) in enumerate(shown):
            rates = [rate / (stretch.workers if per_worker else 1) for rate in stretch.rates]
            _draw_rates(panel, row, rates, colour, MARKS.get(stretch.strategy, "D"))
        panel.set_xlabel("tokens per second, " + ("per worker" if per_worker else "all workers"))
        # Room at the right for the values.
        panel.set_xlim(0, panel.get_xlim()[1] * 1.16)
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.set_ylim(len(shown) - 0.4, -0.6)
        panel.tick_params(axis="y", length=0)
        calm(panel)
        panel.grid(axis="y", visible=False)
    labels = [f"{s.name}   {s.hosts}, {s.strategy}, {_workers(s.workers)}" for s, _ in shown]
    panels[0].set_yticks(range(len(shown)), labels)
    used = dict.fromkeys(stretch.strategy for stretch, _ in shown)
    key = [
        Line2D([], [], color=GREY, marker=MARKS.get(name, "D"), linestyle="", label=name)
        for name in sorted(used)
    ]
    key += [
        Line2D([], [], color=GREY, linewidth=5, alpha=0.5, label="quartiles"),
        Line2D([], [], color=GREY, marker="|", linestyle="", alpha=0.7, label="an interval"),
    ]
    figure.legend(handles=key, loc="outside upper left", ncols=len(key), frameon=False)
    return figure


def _draw_run(
    panel: Axes,
    run: RecordedRun,
    abscissa: Callable[[Point], float],
    target: float | None,
    width: float,
    colour: str,
    dashes: Any,
) -> None:
    """Draw the curves of a run, the starts of its stretches, and the point of the target."""
    for split, points in run.curves.items():
        valid = split == "valid"
        panel.plot(
            [abscissa(point) for point in points],
            [point.loss for point in points],
            color=colour,
            linestyle=dashes,
            linewidth=width if valid else width / 2,
            alpha=1 if valid else 0.45,
            # Marks show each evaluation; many of them would hide the line.
            marker="o" if valid and len(points) <= 40 else None,
            markersize=4.5,
        )
    main = run.curves.get("train") or run.curves["valid"]
    for stretch in run.stretches[1:]:
        begin = next((point for point in main if point.stretch == stretch.number), None)
        if begin:
            panel.annotate(
                str(stretch.number),
                (abscissa(begin), begin.loss),
                xytext=(0, 16),
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=8,
                color=colour,
                bbox={"boxstyle": "circle,pad=0.25", "fc": "white", "ec": colour},
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8},
            )
    reached = run.reached(target) if target is not None else None
    if reached:
        panel.plot(
            abscissa(reached),
            reached.loss,
            "*",
            color=colour,
            markersize=15,
            markeredgecolor="white",
            zorder=5,
        )


def _explain(figure: Figure, runs: Sequence[RecordedRun], target: float | None) -> None:
    """Add two legends: the runs and their colours above, the signs below."""
    from matplotlib.lines import Line2D

    lines = []
    for index, run in enumerate(runs):
        colour, dashes = _style(index)
        lines.append(Line2D([], [], color=colour, linestyle=dashes, linewidth=2, label=run.name))
    figure.legend(handles=lines, loc="outside upper left", ncols=6, frameon=False)
    key = [
        Line2D([], [], color=GREY, linewidth=1, alpha=0.6, label="train"),
        Line2D([], [], color=GREY, linewidth=2, marker="o", markersize=4.5, label="valid"),
    ]
    if any(len(run.stretches) > 1 for run in runs):
        circle = Line2D([], [], color=GREY, marker="o", markersize=11, linestyle="")
        circle.set(markerfacecolor="white", label="a stretch begins: the run continues elsewhere")
        key.append(circle)
    if target is not None:
        label = f"valid loss {target:.4f} reached"
        key.append(Line2D([], [], color=GREY, linestyle=":", marker="*", markersize=13))
        key[-1].set_label(label)
    figure.legend(handles=key, loc="outside lower left", ncols=len(key), frameon=False)


def _draw_rates(panel: Axes, row: int, rates: Sequence[float], colour: str, mark: str) -> None:
    """Draw one row of the speed figure: every interval, quartiles, the median and its value."""
    middle = spread(rates)
    assert middle is not None, "stretches without rates are not shown"
    panel.plot(rates, [row] * len(rates), "|", color=colour, markersize=13, alpha=0.35)
    if middle.low is not None and middle.high is not None:
        panel.plot([middle.low, middle.high], [row, row], color=colour, linewidth=5, alpha=0.5)
    panel.plot(middle.median, row, mark, color=colour, markersize=9, markeredgecolor="white")
    panel.annotate(
        f"{middle.median:,.0f}",
        (max(rates), row),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
    )


def _style(index: int) -> tuple[str, Any]:
    """Colour and dashes of a run by its position in the command."""
    return COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)]


def _workers(count: int) -> str:
    return f"{count} worker{'s' * (count > 1)}"
