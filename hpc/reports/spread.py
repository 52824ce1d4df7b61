"""What stands in the cells of a report: a median with its quartiles, a time, names with counts."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.runtime.tables import NOTHING


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of `num_values` values; one value has no quartiles."""

    median: float
    low: float | None
    high: float | None
    num_values: int


def spread(values: Sequence[float]) -> Spread | None:
    """Median and quartiles (linear interpolation, ends included); None without values."""
    if not values:
        return None
    if len(values) == 1:
        return Spread(values[0], None, None, 1)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high, len(values))


def shown_spread(values: Spread | None) -> str:
    """A median with its quartiles: '51,234 (48.1k-53.0k)'."""
    if values is None:
        return NOTHING
    if values.low is None or values.high is None:
        return f"{values.median:,.0f}"
    low, high = (f"{v / 1000:.1f}k" if v >= 1000 else f"{v:.0f}" for v in (values.low, values.high))
    return f"{values.median:,.0f} ({low}-{high})"


def shown_share(values: Spread | None) -> str:
    """A share with its quartiles: '93.1 % (92.0-94.5)'."""
    if values is None:
        return NOTHING
    if values.low is None or values.high is None:
        return f"{values.median:.1%}"
    return f"{values.median:.1%} ({values.low * 100:.1f}-{values.high * 100:.1f})"


def duration(seconds: float) -> str:
    """A time in two units at most: '12.3 s', '3 min 05 s', '2 h 03 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def counted(names: Iterable[str]) -> str:
    """Names with how often each comes: 'bath x2', 'dorchester + bath'."""
    counts = Counter(names)
    return " + ".join(name if n == 1 else f"{name} x{n}" for name, n in counts.items())
