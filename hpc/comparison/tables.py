"""The comparison of runs as tables, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hpc.comparison.measures import differences, losses_differ_in, speeds
from hpc.reports.spread import duration, shown_spread, spread
from hpc.run_folder.recorded import RecordedRun, Stretch
from model.evaluation.music_report import interval, shown
from pipeline.runtime.tables import NOTHING, Table


def tables(runs: Sequence[RecordedRun], target: float | None) -> list[Table]:
    """All tables of a comparison; `target` is the validation loss whose time is asked for."""
    found = [stretches_table(runs), convergence_table(runs, target), speed_table(runs)]
    if any(run.music for run in runs):
        found.append(music_table(runs))
    return [*found, differences_table(runs)]


def stretches_table(runs: Sequence[RecordedRun]) -> Table:
    """One row for each stretch: a part of a run on the same hosts with the same settings."""
    rows = [_stretch_row(stretch) for run in runs for stretch in run.stretches]
    notes = [
        "Time: training time, from the end of set-up to the last line in metrics.jsonl (compiling, "
        "evaluations and checkpoints included), without gaps between stretches and steps that a "
        "kill undid. Tokens per second: median and quartiles over the intervals between log lines, "
        "without the first of each stretch and without evaluations."
    ]
    for run in runs:
        if run.cut_short:
            notes.append(f"{run.name}: the last line of metrics.jsonl is cut short and left out.")
        notes += [
            f"{stretch.name} ended before a line told its speed: {stretch.uncounted_steps} steps "
            "are not in its time."
            for stretch in run.stretches
            if stretch.uncounted_steps
        ]
    places = ("stretch", ">steps", "hosts", "strategy", ">workers")
    speed = (">tokens", ">time", ">tokens/s", ">per worker")
    return Table("Where the runs went", places + speed, tuple(rows), tuple(notes))


def convergence_table(runs: Sequence[RecordedRun], target: float | None) -> Table:
    """The lowest losses of each run, and the steps, tokens and time to the target."""
    goal = f"valid loss {target:.4f}" if target is not None else "a loss"
    rows = []
    for run in runs:
        best = run.best
        train = run.curves.get("train")
        reached = run.reached(target) if target is not None else None
        cost = (NOTHING, NOTHING, NOTHING, "not reached" if best else "not evaluated yet")
        if reached:
            there = run.stretches[reached.stretch - 1]
            where = f"{there.name} ({there.hosts}, {there.strategy})"
            cost = (f"{reached.step:,}", f"{reached.tokens:,}", duration(reached.seconds), where)
        rows.append(
            (
                run.name,
                f"{train[-1].loss:.4f}" if train else NOTHING,
                f"{best.loss:.4f}" if best else NOTHING,
                f"{best.step:,}" if best else NOTHING,
                *cost,
            )
        )
    losses = ("run", ">last train loss", ">best valid loss", ">at step")
    costs = (f">steps to {goal}", ">tokens", ">time", "reached in")
    notes = ["Losses are mean nats per token; a target counts as reached at an evaluation."]
    if target is None:
        unevaluated = ", ".join(run.name for run in runs if run.best is None)
        notes.append(f"No target, for want of an evaluation in {unevaluated}: give --loss.")
    if reasons := losses_differ_in(runs):
        notes.append(f"These losses do not compare: the {' and the '.join(reasons)} differs.")
    return Table("Convergence", losses + costs, tuple(rows), tuple(notes))


def speed_table(runs: Sequence[RecordedRun]) -> Table:
    """Tokens per second by servers and strategy, over all runs."""
    found = speeds(runs)
    several = len({speed.workload for speed in found}) > 1
    rows = [
        (
            ", ".join(speed.stretches),
            speed.hosts,
            speed.devices,
            speed.strategy,
            str(speed.workers),
            *((speed.workload,) if several else ()),
            shown_spread(speed.total),
            f"{speed.total.median / speed.workers:,.0f}",
            f"{speed.relative_to(found):.0%}",
            f"{speed.total.num_values}",
        )
        for speed in found
    ]
    columns = (
        *("stretch", "hosts", "devices of rank 0", "strategy", ">workers"),
        *(("model and batch",) if several else ()),
        *(">tokens/s", ">per worker", ">of best", ">log lines"),
    )
    notes = ["The best is that of the same model and batch."] if several else []
    if not rows:
        notes.append("No stretch has two log lines with a speed yet: the first does not count.")
    return Table("Speed by server and strategy", columns, tuple(rows), tuple(notes))


def music_table(runs: Sequence[RecordedRun]) -> Table:
    """Metrics of the pieces that runs composed, beside those of real pieces."""
    found = [(run.name, run.music) for run in runs if run.music]
    names = dict.fromkeys(name for _, music in found for name in music["metrics"])
    rows = []
    for name in names:
        metrics = [music["metrics"].get(name) for _, music in found]
        real = next(metric for metric in metrics if metric)
        cells = [_composed(metric) if metric else NOTHING for metric in metrics]
        rows.append((name, *cells, shown(real["train"]), shown(real["real"])))
    copies = [music["copies"] for _, music in found]
    cells = [_composed(each, 2) for each in copies]
    rows.append(("copied windows, %", *cells, NOTHING, shown(copies[0]["real"], 2)))
    split = found[0][1]["split"]
    columns = ("metric", *(f">{name}" for name, _ in found), ">train", f">{split}")
    notes = [
        "Means of composed pieces with 95 % bootstrap intervals (model/evaluate.py --samples), "
        f"beside real pieces; * lies outside the gap between train and {split} plus one interval, "
        f"and copies above twice {split}'s."
    ]
    if len({(music["split"], music["copies"]["real"]) for _, music in found}) > 1:
        notes.append(f"The real pieces are those of {found[0][0]}: other runs had other ones.")
    return Table("Composed music", columns, tuple(rows), tuple(notes))


def differences_table(runs: Sequence[RecordedRun]) -> Table:
    """The differences between runs; '->' where one changed within a run."""
    rows = [(found.kind, found.what, *found.values) for found in differences(runs)]
    notes = () if rows else ("Nothing: settings, data, hardware and software were the same.",)
    columns = ("kind", "what", *(run.name for run in runs))
    return Table("What differed", columns, tuple(rows), notes, keys=2)


def _composed(metric: dict[str, Any], digits: int = 3) -> str:
    """A mean of composed pieces with its interval; a star marks one unlike real pieces."""
    star = "" if metric["inside"] else " *"
    return f"{shown(metric['composed'], digits)} ({interval(metric['interval'], digits)}){star}"


def _stretch_row(stretch: Stretch) -> tuple[str, ...]:
    total = spread(stretch.rates)
    return (
        stretch.name,
        f"{stretch.first_step:,}-{stretch.last_step:,}",
        stretch.hosts,
        stretch.strategy,
        str(stretch.workers),
        f"{stretch.num_tokens:,}",
        duration(stretch.seconds),
        shown_spread(total),
        f"{total.median / stretch.workers:,.0f}" if total else NOTHING,
    )
