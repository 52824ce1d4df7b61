"""Efficiency that the cost model predicts for more workers and other links than were measured.

Only weak scaling is predicted: there a worker computes in a step what it computed when measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hpc.efficiency.cost_model import (
    Allreduce,
    CostModel,
    Ring,
    Step,
    fit_exposed,
    fit_ring,
    relative_errors,
)
from hpc.efficiency.measure import Measurement
from hpc.efficiency.plan import ALONE
from hpc.efficiency.store import Measured
from pipeline.runtime.tables import NOTHING, Table

WORKERS = (4, 8, 16, 32, 64, 128, 256, 512)
LINKS = (1.0, 10.0, 25.0, 100.0)  # Gbit/s
# The largest error of a measured step. On two idle hosts it was 4 to 9 %; a fit to steps that other
# programs disturbed has more, and its prediction for 512 workers would look like a result.
MOST_STEP_ERROR = 0.2
SCALAR_BYTES = 4  # of the allreduce of one number, whose time is the latency


@dataclass(frozen=True)
class Forecast:
    """The cost model of one strategy, fitted to its measurements."""

    strategy: str
    batch: int  # windows a step on each worker, of the predictions
    compute_seconds: float  # of that batch
    ring: Ring
    exposed: float
    num_bytes: float  # of the gradient, as it is sent
    local_steps: int  # from one exchange to the next
    link: float  # Gbit/s of the link that was measured on; 0 for one too fast to count
    num_steps: int  # measured steps, and
    num_allreduces: int  # allreduces outside a step, that the model was fitted to
    step_error: float  # mean of |predicted / measured - 1|
    worst_step_error: float
    allreduce_error: float

    @property
    def is_reliable(self) -> bool:
        """Whether the model is near enough to every measured step to predict others."""
        return self.worst_step_error <= MOST_STEP_ERROR

    @property
    def refusal(self) -> str:
        """Why there is no prediction."""
        return (
            f"the model misses a measured step by {self.worst_step_error:.0%}, and "
            f"{MOST_STEP_ERROR:.0%} is the limit"
        )

    def efficiency(
        self, workers: int, gigabits: float | None = None, exposed: float | None = None
    ) -> float:
        """Predicted efficiency on a link of a rate in Gbit/s; without one, on the measured link.

        `exposed` replaces the fitted share.
        """
        ring = self.ring if gigabits is None else self.ring.over(gigabits, self.link)
        share = self.exposed if exposed is None else exposed
        return CostModel(self.compute_seconds, ring, share, self.num_bytes).efficiency(workers)

    def to_json(self) -> dict[str, Any]:
        """The coefficients, the errors and the predictions, none from an unreliable model."""
        predicted = [
            {
                "workers": workers,
                "gigabits": gigabits,
                "efficiency": self.efficiency(workers, gigabits),
            }
            for gigabits in LINKS
            for workers in WORKERS
            if self.is_reliable
        ]
        return {**asdict(self), "predicted": predicted}


def forecasts(measured: Measured, link: float) -> list[Forecast]:
    """One for each strategy that has what a fit needs: its steps, and independent processes.

    `link` is the rate in Gbit/s of the link that was measured on, 0 for one too fast to count.
    """
    together = [one for one in measured.values() if not one.cell.is_alone and one.link]
    strategies = dict.fromkeys(one.cell.strategy for one in together)
    models = (
        _fit([one for one in together if one.cell.strategy == strategy], measured, link)
        for strategy in strategies
    )
    return [model for model in models if model]


def _fit(own: Sequence[Measurement], measured: Measured, link: float) -> Forecast | None:
    """The model of the measurements of one strategy; None if they do not suffice."""
    # The ring, from allreduces and messages that were timed outside a step.
    timed = [allreduce for one in own for allreduce in _allreduces(one)]
    messages = [one.link.get("message_seconds", 0.0) for one in own if one.link]
    try:
        ring = fit_ring(timed, [seconds for seconds in messages if seconds])
    except ValueError:  # measurements of older versions, without the latency
        return None

    # The share of it that steps show, beside the same computing without communication.
    compared = [(one, step) for one in own if (step := _step(one, measured))]
    if not compared:
        return None
    steps = [step for _, step in compared]
    exposed = fit_exposed(steps, ring)
    errors = [abs(error) for error in relative_errors(steps, ring, exposed)]

    # Predictions are for the largest batch of a worker that was measured.
    batch = max(one.cell.batch for one in own)
    computing = [step.compute_seconds for one, step in compared if one.cell.batch == batch]
    return Forecast(
        strategy=own[0].cell.strategy,
        batch=batch,
        compute_seconds=statistics.median(computing or [steps[0].compute_seconds]),
        ring=ring,
        exposed=exposed,
        num_bytes=timed[0].num_bytes,
        local_steps=int((own[0].link or {}).get("local_steps", 1)),
        link=link,
        num_steps=len(steps),
        num_allreduces=len(timed),
        step_error=statistics.mean(errors),
        worst_step_error=max(errors),
        allreduce_error=statistics.mean(
            abs(ring.seconds(one.workers, one.num_bytes) / one.seconds - 1) for one in timed
        ),
    )


def _allreduces(measurement: Measurement) -> list[Allreduce]:
    link = measurement.link
    assert link is not None
    workers = measurement.cell.workers
    timed = [Allreduce(workers, link["megabytes"] * 1e6, link["seconds"])]
    if link.get("latency_seconds"):
        timed.append(Allreduce(workers, SCALAR_BYTES, link["latency_seconds"]))
    return timed


def _step(measurement: Measurement, measured: Measured) -> Step | None:
    """A step beside that of as many independent processes, in the same repetition."""
    cell, link = measurement.cell, measurement.link
    assert link is not None
    for (of, repetition), apart in measured.items():
        alike = (of.strategy, of.hosts, of.batch) == (ALONE, cell.hosts, cell.batch)
        if alike and repetition == measurement.repetition:
            # The mean over its workers: one of them may have a slower host than the first.
            compute = apart.step_seconds * apart.worker_rates[0] * cell.workers / apart.rate
            num_bytes = link["megabytes"] * 1e6
            return Step(cell.workers, num_bytes, measurement.step_seconds, compute)
    return None


def forecast_tables(found: Sequence[Forecast]) -> list[Table]:
    """The fitted coefficients, and what they predict."""
    return [_fit_table(found), _predicted_table(found)] if found else []


def _fit_table(found: Sequence[Forecast]) -> Table:
    lines = [
        (
            one.strategy,
            f"{one.compute_seconds * 1000:,.1f} ms",
            f"{one.num_bytes / 1e6:.1f} MB",
            f"{one.ring.start * 1e3:.2f} ms",
            f"{one.ring.alpha * 1e6:,.0f} us",
            f"{one.ring.beta * 1e9:.2f} ns",
            f"{one.exposed:.2f}",
            # e is chosen to meet a single step, if that is possible, and R to meet two timings.
            NOTHING
            if one.num_steps == 1 and one.exposed
            else f"{one.step_error:.1%} ({one.worst_step_error:.1%})",
            str(one.num_steps),
            NOTHING if one.num_allreduces <= 2 else f"{one.allreduce_error:.1%}",
            str(one.num_allreduces),
        )
        for one in found
    ]
    columns = ("strategy", ">C", ">n", ">s", ">alpha", ">beta a byte", ">e")
    notes = (
        "T(p) = C + e R(p), R(p) = s + 2 (p - 1) alpha + 2 (p - 1) / p n beta: a ring allreduce "
        "(Thakur, Rabenseifner and Gropp 2005). C: the step of independent processes at the "
        "same time; s, alpha and beta: fitted to allreduces of the gradient and of one number, and "
        "to MPI's messages around the ring, timed outside a step; e: the share of R that a step of "
        "the strategy does not hide, fitted to its steps. Error: mean of |predicted / measured - "
        "1|. A fit to one step, or to two timings, shows none. With one number of workers it shows "
        "how far repetitions differ, not how well the formula extrapolates.",
    )
    errors = (">error (worst)", ">steps", ">error of R", ">timings of R")
    return Table("Cost model", columns + errors, tuple(lines), notes)


def _predicted_table(found: Sequence[Forecast]) -> Table:
    reliable = [one for one in found if one.is_reliable]
    lines = [
        (
            one.strategy,
            f"{gigabits:g} Gbit/s",
            *(
                f"{one.efficiency(n, gigabits):.0%} "
                f"({one.efficiency(n, gigabits, 1 / one.local_steps):.0%})"
                for n in WORKERS
            ),
        )
        for one in reliable
        for gigabits in LINKS
    ]
    columns = ("strategy", "link", *(f">{workers}" for workers in WORKERS))
    notes = [
        f"No prediction for {one.strategy}: {one.refusal}. Measure again on machines that do "
        "nothing else, or with more --steps and --repetitions."
        for one in found
        if not one.is_reliable
    ]
    if above := [one.strategy for one in reliable if one.exposed > 1]:
        notes.append(
            f"e is above 1 ({', '.join(above)}): a step lost more time than its allreduces take by "
            "themselves, as where communication and computing share a core. On slower links, and "
            "for hosts with cores to spare, the brackets are nearer."
        )
    if reliable:
        notes.append(
            f"Predicted, not measured: weak scaling, {reliable[0].batch} windows each, hosts like "
            "the measured ones with one worker each, against independent processes; in brackets "
            "with e = 1, as if nothing of the allreduce overlapped (with --local-steps H: e = 1 / "
            "H). If the strategy was measured no slower than independent processes, e is 0 and "
            "only the brackets say anything. The time of a byte is what the hosts spent on it plus "
            "its time on the link. Not in the "
            "model: switches that are shared, workers that wait for the slowest of many, reduction "
            "in trees."
        )
    return Table("What the model predicts, by workers", columns, tuple(lines), tuple(notes), keys=2)
