"""The palette, dashes and markers of every picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito, "Color Universal Design" (2008), without its yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")

DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.2)))  # when the colours come again

MARKS = {"single": "o", "multiworker": "s", "horovod": "^"}

GREY = "#666666"


def calm(panel: Axes) -> None:
    """Take away what draws the eye from the data."""
    panel.grid(color="#dddddd", linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
