"""The picture of efficiency over the rate of the links: predicted from a step, and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

from hpc.distributed.exchange import ADVISED, Exchange
from hpc.efficiency.forecast import LINKS
from hpc.efficiency.step_forecast import StepForecast
from pipeline.runtime.plotting import COLOURS, GREY, MARKS, calm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SLOWEST, FASTEST, NUM_RATES = 0.5, 200.0, 200  # Gbit/s, of the lines
TITLE_WIDTH = 100  # letters


@dataclass(frozen=True)
class MeasuredEfficiency:
    """What a strategy reached against independent processes, on links of this rate."""

    strategy: str
    exchange: Exchange
    gigabits: float  # that stand to the step of the forecast as the links stood to the measured one
    efficiency: float


def link_figure(
    forecast: StepForecast, workers: int, measured: Sequence[MeasuredEfficiency] = ()
) -> Figure:
    """A line for each advised form of exchange, and a mark for each measured efficiency."""
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import NullLocator, PercentFormatter

    figure = Figure(figsize=(8, 5.4), layout="constrained")
    panel = figure.subplots()
    rates = np.geomspace(SLOWEST, FASTEST, NUM_RATES)
    for exchange, colour in zip(ADVISED, COLOURS, strict=False):
        shares = [forecast.efficiency(exchange, workers, rate) for rate in rates]
        panel.plot(rates, shares, color=colour, label=exchange.flags)
        for one in (one for one in measured if one.exchange == exchange):
            mark = MARKS.get(one.strategy, "D")
            panel.plot(one.gigabits, one.efficiency, mark, color=colour)

    panel.set_xscale("log")
    panel.set_xticks(LINKS, [f"{rate:g}" for rate in LINKS])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel("rate of the link of each host, Gbit/s")
    panel.set_ylim(0, 1.12 * max([1.0, *(one.efficiency for one in measured)]))
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.set_ylabel("efficiency")
    calm(panel)

    key = panel.get_legend_handles_labels()[0]
    key += [
        Line2D([], [], color=GREY, marker=MARKS.get(name, "D"), linestyle="", label=name)
        for name in dict.fromkeys(one.strategy for one in measured)
    ]
    panel.legend(handles=key, loc="lower right", frameon=False)
    what = "predicted (lines), measured (marks)" if measured else "predicted, not measured"
    title = f"{workers} workers, weak scaling, {forecast.origin}: {what}"
    figure.suptitle("\n".join(wrap(title, TITLE_WIDTH)), fontsize=9, x=0.01, ha="left")
    return figure
