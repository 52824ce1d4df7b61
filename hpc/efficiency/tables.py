"""Scaling efficiency from measurements: rows, tables, and the same as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hpc.efficiency.measure import PARTS, Measurement
from hpc.efficiency.plan import ALONE, SCALINGS, Cell, Comparison
from hpc.efficiency.store import Measured
from hpc.reports.spread import Spread, counted, shown_share, shown_spread, spread
from pipeline.runtime.tables import NOTHING, Table

INDEPENDENT = "independent"
MOST_BUSY = 0.1  # share of the processors that others may use; an idle Linux has 0 to 3 %
FORMULA = "efficiency = rate_n / (n x rate_1), where rate is tokens per second over all workers"


@dataclass(frozen=True)
class EfficiencyRow:
    """Medians of one strategy on one number of workers; None where there is nothing to compare."""

    scaling: str
    strategy: str
    workers: int
    hosts: str
    batch: int  # windows a step on each worker
    rate: Spread  # tokens per second, all workers
    against_solo: Spread | None  # efficiency
    against_independent: Spread | None  # efficiency
    step_seconds: float
    parts: dict[str, float]  # share of a step
    allreduce_seconds: float | None
    gigabytes_per_second: float | None

    @property
    def allreduce_share(self) -> float | None:
        """Time of an allreduce outside a step, as a share of a step, where it may overlap."""
        return (
            None if self.allreduce_seconds is None else self.allreduce_seconds / self.step_seconds
        )


def efficiency(rate: float, reference_rates: Sequence[float]) -> float:
    """Share of perfect speed-up: 1.0 if n workers are as fast as their references together."""
    return rate / sum(reference_rates)


def rows(comparisons: Sequence[Comparison], measured: Measured) -> list[EfficiencyRow]:
    """One row for each comparison that was measured at least once.

    Efficiency is computed within a repetition, whose cells ran soon after each other, so that a
    machine that slows down over the hours does not show as scaling.
    """
    found = []
    for compared in comparisons:
        own = _repetitions(compared.cell, measured)
        if not own:
            continue
        solo, independent = [], []
        for repetition, measurement in own.items():
            alone = [measured.get((cell, repetition)) for cell in compared.solo]
            if compared.cell.workers > 1 and all(alone):
                solo.append(efficiency(measurement.rate, [one.rate for one in alone if one]))
            together = compared.independent and measured.get((compared.independent, repetition))
            if together and compared.cell != compared.independent:
                independent.append(efficiency(measurement.rate, [together.rate]))
        found.append(_row(compared, list(own.values()), spread(solo), spread(independent)))
    return found


def _repetitions(cell: Cell, measured: Measured) -> dict[int, Measurement]:
    return {repetition: found for (of, repetition), found in measured.items() if of == cell}


def _row(
    compared: Comparison, own: list[Measurement], solo: Spread | None, independent: Spread | None
) -> EfficiencyRow:
    cell = compared.cell
    step = statistics.median(measurement.step_seconds for measurement in own)
    # Shares are computed within a repetition, whose parts sum to its step.
    parts = {
        name: statistics.median(found.parts[name] / found.step_seconds for found in own)
        for name in PARTS
    }
    links = [found.link for found in own if found.link]
    rate = spread([measurement.rate for measurement in own])
    assert rate is not None, "there is at least one repetition"
    together = INDEPENDENT if cell.workers > 1 else ALONE
    return EfficiencyRow(
        scaling=compared.scaling,
        strategy=together if cell.is_alone else cell.strategy,
        workers=cell.workers,
        hosts=counted(cell.hosts),
        batch=cell.batch,
        rate=rate,
        against_solo=solo,
        against_independent=independent,
        step_seconds=step,
        parts=parts,
        allreduce_seconds=statistics.median(k["seconds"] for k in links) if links else None,
        gigabytes_per_second=(
            statistics.median(k["gigabytes_per_second"] for k in links) if links else None
        ),
    )


def tables(found: Sequence[EfficiencyRow]) -> list[Table]:
    """Tables of efficiency, one for each scaling, and of the parts of a step."""
    scalings = dict.fromkeys(row.scaling for row in found)
    return [*(_efficiency_table(found, name) for name in scalings), _time_table(found)]


def _efficiency_table(found: Sequence[EfficiencyRow], scaling: str) -> Table:
    lines = [
        (
            row.strategy,
            str(row.workers),
            row.hosts,
            str(row.batch),
            shown_spread(row.rate),
            f"{row.rate.median / row.workers:,.0f}",
            shown_share(row.against_solo),
            shown_share(row.against_independent),
            str(row.rate.num_values),
        )
        for row in found
        if row.scaling == scaling
    ]
    what = ("strategy", ">workers", "hosts", ">windows each", ">tokens/s", ">per worker")
    shares = (">against one alone", ">against independent", ">repetitions")
    notes: tuple[str, ...] = (
        FORMULA
        + ". Against one alone: rate_1 is one process alone on the worker's host (n x rate_1 is "
        "the sum over the workers' hosts)"
        + (", with the whole batch" if scaling == "strong" else "")
        + ". Against independent: n x rate_1 is the rate of n independent processes at the same "
        "time, on the same cores, each with a worker's batch: cores of one machine share caches "
        "and power, and communication does not cause that loss.",
        "Medians (with quartiles) over repetitions that took turns, without warm-up.",
    )
    notes += tuple(_remarks([row for row in found if row.scaling == scaling]))
    title = f"{scaling.capitalize()} scaling: {SCALINGS[scaling]}"
    return Table(title, what + shares, tuple(lines), notes, keys=2)


def _remarks(found: Sequence[EfficiencyRow]) -> list[str]:
    """A sentence on efficiencies above 1, if there are any."""
    above = [
        f"{row.strategy}, {row.workers} workers"
        for row in found
        if any(one and one.median > 1 for one in (row.against_solo, row.against_independent))
    ]
    if not above:
        return []
    is_strong = any(row.scaling == "strong" for row in found)
    return [
        f"Above 100% ({'; '.join(above)}): no strategy makes n workers faster than n that do not "
        "wait for each other. Other programs slowed down what it is set against"
        + (", or a worker's smaller batch fits its caches better" * is_strong)
        + ". Measure again on an idle machine, with more --steps and --repetitions."
    ]


def _time_table(found: Sequence[EfficiencyRow]) -> Table:
    lines = []
    for row in found:
        share, seconds, rate = row.allreduce_share, row.allreduce_seconds, row.gigabytes_per_second
        lines.append(
            (
                row.scaling,
                row.strategy,
                str(row.workers),
                f"{row.step_seconds * 1000:,.1f} ms",
                *(f"{row.parts[name]:.1%}" for name in PARTS),
                NOTHING if seconds is None else f"{seconds * 1000:,.1f} ms",
                NOTHING if share is None else f"{share:.1%}",
                NOTHING if rate is None else f"{rate:.2f} GB/s",
            )
        )
    columns = ("scaling", "strategy", ">workers", ">a step", *(f">{name}" for name in PARTS))
    columns += (">an allreduce", ">allreduce of a step", ">bus rate")
    notes = (
        "step: forward, backward, allreduce and update of the first worker; other: metrics and log."
        " An allreduce: one of the gradient's size, timed before step 1; bus rate: 2 (n - 1) / n of"
        " its bytes by its time.",
    )
    return Table("Where a step's time goes", columns, tuple(lines), notes, keys=3)


def caution(measured: Measured) -> str | None:
    """A sentence on measurements that other programs disturbed; None if there are none."""
    busy = [found.busy for found in measured.values() if found.busy and found.busy > MOST_BUSY]
    if not busy:
        return None
    return (
        f"Caution: just before {len(busy)} of {len(measured)} measurements other programs used "
        f"more than {MOST_BUSY:.0%} of this machine's processors ({max(busy):.0%} at most). They "
        "disturbed the figures: measure again on an idle machine."
    )


def to_json(
    found: Sequence[EfficiencyRow], measured: Measured, about: dict[str, Any]
) -> dict[str, Any]:
    """The settings, rows and measurements for JSON; rates are tokens per second."""
    return {
        **about,
        "formula": FORMULA,
        "rows": [{**asdict(row), "allreduce_share": row.allreduce_share} for row in found],
        "measurements": [measurement.to_json() for measurement in measured.values()],
    }
