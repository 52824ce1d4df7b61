"""The cost model: coefficients found again in steps made from them, published figures, tables."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest

from hpc.efficiency.cost_model import (
    Allreduce,
    CostModel,
    Ring,
    Step,
    fit_exposed,
    fit_ring,
    relative_errors,
    wire_seconds,
)
from hpc.efficiency.forecast import MOST_STEP_ERROR, forecast_tables, forecasts
from hpc.efficiency.measure import Measurement
from hpc.efficiency.plan import Cell
from hpc.efficiency.plot import scaling_figure
from hpc.efficiency.tables import EfficiencyRow
from hpc.reports.spread import Spread
from tests.conftest import REPOSITORY
from tests.hpc.efficiency.measurements import STEPS_OF_TWO

RING = Ring(alpha=80e-6, beta=1.6e-9, start=0.9e-3)
EXPOSED, COMPUTE = 0.7, 1.2
GRADIENT = 17e6
HOSTS = ("dorchester", "bath", "dorchester", "bath")


def measured(workers: int, repetition: int, noise: float = 0.0) -> list[Measurement]:
    """A step together and one apart, as hosts with the coefficients above would measure them."""
    disturbed = 1 + noise * np.random.default_rng([workers, repetition]).uniform(-1, 1, 4)
    together = COMPUTE + EXPOSED * RING.seconds(workers, GRADIENT)
    link = {
        "megabytes": GRADIENT / 1e6,
        "seconds": RING.seconds(workers, GRADIENT) * disturbed[0],
        "latency_seconds": RING.seconds(workers, 4) * disturbed[1],
        "message_seconds": RING.alpha,
        "size": workers,
    }
    seconds = {"single": COMPUTE * disturbed[2], "horovod": together * disturbed[3]}
    return [
        Measurement(
            cell=Cell(strategy, HOSTS[:workers], 32),
            repetition=repetition,
            rate=workers * 4096 / taken,
            worker_rates=(4096 / taken,) * workers if strategy == "single" else (4096 / taken,),
            step_seconds=taken,
            parts={"input": 0.0, "step": taken, "save": 0.0, "other": 0.0},
            link=link if strategy == "horovod" else None,
            machines=(),
            devices=(),
            sequence_length=128,
            commit="abc",
        )
        for strategy, taken in seconds.items()
    ]


def store_of(noise: float, *workers: int) -> dict[tuple[Cell, int], Measurement]:
    found = [one for n in workers for r in range(1, 6) for one in measured(n, r, noise)]
    return {(one.cell, one.repetition): one for one in found}


def test_the_ring_that_made_the_timings_is_found_again() -> None:
    of_two = [Allreduce(2, n, RING.seconds(2, n)) for n in (4.0, GRADIENT)]
    of_four = Allreduce(4, GRADIENT, RING.seconds(4, GRADIENT))
    for found in (fit_ring([*of_two, of_four]), fit_ring(of_two, [RING.alpha])):
        expected = (RING.start, RING.alpha, RING.beta)
        assert (found.start, found.alpha, found.beta) == pytest.approx(expected)


def test_two_workers_without_messages_leave_the_start_to_alpha() -> None:
    found = fit_ring([Allreduce(2, n, RING.seconds(2, n)) for n in (4.0, GRADIENT)])
    assert (found.start, found.beta) == pytest.approx((0.0, RING.beta))
    assert found.alpha == pytest.approx(RING.alpha + RING.start / 2)


def test_a_coefficient_that_would_be_negative_is_nothing_and_the_other_fits_alone() -> None:
    # Small messages faster than their share of the large one's bytes: no latency is left.
    found = fit_ring([Allreduce(2, 1e6, 0.8e-3), Allreduce(2, 2e6, 2e-3)])
    assert found.alpha == 0
    assert 0.8e-9 < found.beta < 1e-9


def test_one_size_over_one_number_of_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="do not tell latency from bandwidth"):
        fit_ring([Allreduce(2, GRADIENT, 0.03), Allreduce(2, GRADIENT, 0.031)])


def test_the_exposed_share_that_made_the_steps_is_found_again_and_its_error_told() -> None:
    model = CostModel(COMPUTE, RING, EXPOSED, GRADIENT)
    steps = [Step(p, GRADIENT, model.step_seconds(p), COMPUTE) for p in (2, 4)]
    assert fit_exposed(steps, RING) == pytest.approx(EXPOSED)
    assert relative_errors(steps, RING, EXPOSED) == pytest.approx([0, 0])
    faster = [Step(2, GRADIENT, COMPUTE / 2, COMPUTE)]
    assert fit_exposed(faster, RING) == 0


@pytest.mark.parametrize("workers", [(2,), (2, 4)])
def test_measurements_of_known_hosts_give_back_what_they_were_made_from(
    workers: tuple[int, ...],
) -> None:
    (exact,) = forecasts(store_of(0.0, *workers), link=0.0)
    assert (exact.ring.alpha, exact.ring.beta) == pytest.approx((RING.alpha, RING.beta))
    assert exact.exposed == pytest.approx(EXPOSED)
    assert exact.compute_seconds == pytest.approx(COMPUTE)
    assert exact.step_error == pytest.approx(0, abs=1e-9)
    (noisy,) = forecasts(store_of(0.01, *workers), link=0.0)
    assert noisy.exposed == pytest.approx(EXPOSED, rel=0.4)
    assert 0 < noisy.step_error < 0.02
    assert noisy.efficiency(64) == pytest.approx(exact.efficiency(64), abs=0.02)


def test_a_faster_link_and_fewer_workers_never_lower_the_prediction() -> None:
    (model,) = forecasts(store_of(0.0, 2), link=0.0)
    shares = [[model.efficiency(p, rate) for rate in (1, 10, 25, 100)] for p in (4, 32, 512)]
    assert (np.diff(shares, axis=1) > 0).all()
    assert (np.diff(shares, axis=0) < 0).all()
    bytes_at_1 = 2 * 3 / 4 * GRADIENT * (RING.beta + 8e-9)
    expected = COMPUTE / (COMPUTE + EXPOSED * (bytes_at_1 + 6 * RING.alpha + RING.start))
    assert shares[0][0] == pytest.approx(expected)


def test_the_wire_of_the_link_that_was_measured_on_is_not_counted_twice() -> None:
    on_gigabit = Ring(RING.alpha, RING.beta + wire_seconds(1))
    assert on_gigabit.over(1, measured_on=1).beta == pytest.approx(on_gigabit.beta)
    assert on_gigabit.over(10, measured_on=1).beta == pytest.approx(RING.beta + wire_seconds(10))


@dataclass(frozen=True)
class Published:
    """A network whose scaling to 512 GPUs was published, and its speed on one (docs/scaling.md)."""

    name: str
    parameters: float
    images_per_second: float  # of one P100
    efficiency: float  # at 512

    @property
    def step(self) -> Step:
        """A step of 512 workers, 64 images and a float32 gradient each, as long as published."""
        compute = 64 / self.images_per_second
        return Step(512, 4 * self.parameters, compute / self.efficiency, compute)

    def cost(self, exposed: float) -> CostModel:
        """The model of its step with this share of the allreduce exposed."""
        return CostModel(self.step.compute_seconds, ROCE_RING, exposed, self.step.num_bytes)

    def needed_exposure(self) -> float:
        """The share of the allreduce that must be exposed for exactly the published efficiency."""
        waiting = self.step.seconds - self.step.compute_seconds
        return waiting / ROCE_RING.seconds(512, self.step.num_bytes)


ROCE_RING = Ring(alpha=5e-6, beta=wire_seconds(25.0))
PUBLISHED = (
    Published("Inception V3", 24e6, 142.0, 0.90),
    Published("ResNet-101", 44e6, 1656.82 / 16, 0.90),
    Published("VGG-16", 138e6, 154.0, 0.68),
)


def published_exposure() -> float:
    """The one share of exposed allreduce with which the model comes nearest to all of PUBLISHED."""
    return fit_exposed([case.step for case in PUBLISHED], ROCE_RING)


def test_published_efficiencies_lie_between_nothing_hidden_and_all_of_it() -> None:
    for case in PUBLISHED:
        assert case.cost(1.0).efficiency(512) < case.efficiency < case.cost(0.0).efficiency(512)
        assert case.cost(case.needed_exposure()).efficiency(512) == pytest.approx(case.efficiency)


def test_one_exposed_share_comes_within_3_points_of_all_published_efficiencies() -> None:
    exposed = published_exposure()
    for case in PUBLISHED:
        assert abs(case.cost(exposed).efficiency(512) - case.efficiency) < 0.03


def test_the_table_of_published_figures_in_the_documentation_is_what_the_model_computes() -> None:
    text = (REPOSITORY / "docs" / "scaling.md").read_text()
    exposed = published_exposure()
    assert f"| e = 1 | e = {exposed:.2f} |" in text
    for case in PUBLISHED:
        shares = (case.efficiency, *(case.cost(e).efficiency(512) for e in (1.0, exposed)))
        cells = [case.name, f"{case.parameters / 1e6:.0f} M", f"{case.images_per_second:.0f}/s"]
        cells += [*(f"{share:.0%}" for share in shares), f"{case.needed_exposure():.2f}"]
        assert f"| {' | '.join(cells)} |" in text


def test_the_tables_tell_the_formula_its_source_the_error_and_every_prediction() -> None:
    found = forecasts(store_of(0.01, 2), link=0.0)
    fit, predicted = (table.to_markdown() for table in forecast_tables(found))
    for words in ("2 (p - 1) alpha", "Rabenseifner", "error (worst)", "17.0 MB"):
        assert words in fit
    shares = r"\| horovod \| (?:1|10|25|100) Gbit/s \|(?: \d+% \(\d+%\) \|){8}"
    assert len(re.findall(shares, predicted)) == 4
    headings = fit.split("\n\n")[1].splitlines()[0].split(" | ")
    assert len(set(headings)) == len(headings)
    assert "Predicted, not measured" in predicted
    assert forecast_tables([]) == []


def test_a_fit_to_one_step_shows_no_error() -> None:
    (key,) = [key for key in STEPS_OF_TWO if not key[0].is_alone]
    (model,) = forecasts(STEPS_OF_TWO, link=0.0)
    assert (model.num_steps, model.num_allreduces) == (1, 2)
    fit = forecast_tables([model])[0]
    cells = dict(zip(fit.columns, fit.rows[0], strict=True))
    assert (cells[">error (worst)"], cells[">error of R"]) == ("-", "-")
    assert "A fit to one step, or to two timings, shows none." in fit.to_markdown()
    # A step that takes less than its computing is missed by a fit to it alone, too.
    faster = {**STEPS_OF_TWO, key: replace(STEPS_OF_TWO[key], step_seconds=0.05)}
    fit = forecast_tables(forecasts(faster, link=0.0))[0]
    assert dict(zip(fit.columns, fit.rows[0], strict=True))[">error (worst)"] == "100.0% (100.0%)"


def test_a_share_above_1_is_said_to_be_more_than_communication() -> None:
    usual = forecast_tables(forecasts(STEPS_OF_TWO, link=0.0))[1]
    assert "e is above 1" not in usual.to_markdown()
    (key,) = [key for key in STEPS_OF_TWO if not key[0].is_alone]
    together = STEPS_OF_TWO[key]
    slower = replace(together, step_seconds=together.step_seconds + 10 * together.link["seconds"])
    (model,) = forecasts({**STEPS_OF_TWO, key: slower}, link=0.0)
    assert model.exposed > 1
    predicted = forecast_tables([model])[1].to_markdown()
    assert "e is above 1 (horovod): a step lost more time than its allreduces take" in predicted


def test_measurements_without_a_latency_or_without_processes_apart_are_not_carried_on() -> None:
    whole = store_of(0.0, 2)
    assert forecasts({key: one for key, one in whole.items() if not key[0].is_alone}, 0.0) == []
    for one in whole.values():
        if one.link:
            del one.link["latency_seconds"], one.link["message_seconds"]
    assert forecasts(whole, 0.0) == []


def noise() -> dict[tuple[Cell, int], Measurement]:
    """Measurements in which one step of two workers took less than half of its computing."""
    whole = store_of(0.0, 2)
    key = next(key for key in whole if not key[0].is_alone)
    whole[key] = replace(whole[key], step_seconds=COMPUTE / 2.36)
    return whole


def test_a_model_that_misses_a_measured_step_predicts_nothing() -> None:
    (model,) = forecasts(noise(), link=0.0)
    assert model.worst_step_error > MOST_STEP_ERROR and not model.is_reliable
    assert model.to_json()["predicted"] == []
    fit, predicted = (table.to_markdown() for table in forecast_tables([model]))
    assert f"({model.worst_step_error:.1%})" in fit
    assert "Gbit/s |" not in predicted
    missed = f"misses a measured step by {model.worst_step_error:.0%}, and 20% is the limit"
    assert f"No prediction for horovod: the model {missed}" in predicted


def test_the_forecast_panel_shows_every_measured_point_and_no_line_of_a_model_that_misses() -> None:
    (model,) = forecasts(noise(), link=0.0)
    row = EfficiencyRow(
        scaling="weak",
        strategy="horovod",
        workers=2,
        hosts="dorchester + bath",
        batch=32,
        rate=Spread(1.0, None, None, 1),
        against_solo=None,
        against_independent=Spread(2.36, None, None, 1),
        step_seconds=1.0,
        parts={},
        allreduce_seconds=None,
        gigabytes_per_second=None,
    )
    panel = scaling_figure([row], [model], "noise").axes[3]
    assert [line.get_xydata().tolist() for line in panel.lines] == [[[2.0, 2.36]]]
    assert panel.get_ylim()[1] > 2.36
    assert "no prediction" in panel.texts[0].get_text()
    scaling_figure([replace(row, strategy="mpi")], [], "the strategy that docs/adding.md adds")
