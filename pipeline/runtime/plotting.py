"""What all pictures share: palette, dashes, markers, calm panels, and how a file is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.runtime.files import new_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design" (2008), without its yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")

DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.2)))  # when the colours come again

MARKS = {"single": "o", "multiworker": "s", "horovod": "^"}

GREY, GRID_LINE = "#666666", "#dddddd"

DOTS_PER_INCH = 110


def calm(panel: Axes) -> None:
    """Take away what draws the eye from the data."""
    panel.grid(color=GRID_LINE, linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: Path, dots_per_inch: int = DOTS_PER_INCH) -> Path:
    """The path, where the figure is now a PNG on white, whole or not at all.

    Raises OSError on a full disk.
    """
    with new_file(path) as partial:
        figure.savefig(partial, format="png", dpi=dots_per_inch, facecolor="white")
    return path


def require_matplotlib(otherwise: str = "") -> None:
    """Raise ValueError if matplotlib, which is an extra, is not installed.

    `otherwise` says how to do without the picture.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the picture needs {error.name}, which is not installed here: pip install {error.name}"
            + f", or {otherwise}" * bool(otherwise)
        ) from None
