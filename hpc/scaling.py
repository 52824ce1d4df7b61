"""Command: how well training scales, from one worker to many, and where the rest of the time goes.

    python hpc/scaling.py --data data/bach --workers 1,2,4
    python hpc/scaling.py -H dorchester,bath --strategies horovod -- --preset base
    python hpc/scaling.py --step-ms 45 --workers 2..512 -- --preset base

Starts hpc/train.py under mpirun: on this machine, on the hosts of -H, or on those of the Slurm
allocation that it runs in. Every number of workers is measured under every strategy, beside one
process alone and as many independent processes at the same time. All of these take turns, and then
again. What --out holds already is not measured again: the same command continues after a break.

With --step-ms, or --like RUN, nothing is measured: from the time of a step on one worker it
predicts what a second one, or 512, would win on networks of 1 to 100 Gbit/s.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

if __package__ in (None, ""):  # run as a script: import from the root, not from hpc/
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from pipeline.runtime.interpreter import explain_missing_libraries

    explain_missing_libraries()

from hpc.config.fields import flag
from hpc.config.train_config import parse_flags as parse_train_flags
from hpc.distributed.hosts import find_slots
from hpc.efficiency.flags import parse_flags
from hpc.efficiency.forecast import forecast_tables, forecasts
from hpc.efficiency.measure import measure_cell
from hpc.efficiency.plan import (
    Comparison,
    cells_of,
    default_workers,
    local_slots,
    most_on_a_host,
    plan,
    require_slots,
)
from hpc.efficiency.store import Measured, open_store, store
from hpc.efficiency.tables import FORMULA, MOST_BUSY, caution, rows, tables, to_json
from hpc.reports.event_files import FOLDER, tensorboard_is_installed
from hpc.reports.spread import duration
from pipeline.runtime.command import run_command, signals_interrupt
from pipeline.runtime.files import write_json
from pipeline.runtime.plotting import require_matplotlib, save
from pipeline.runtime.tables import print_line, print_lines, print_tables

NUM_WINDOWS = 10
# What this command sets itself; behind `--` they would contradict it.
OWN = ("strategy", "run", "from_run", "steps", "global_batch_size", "local_batch_size", "log_every")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of a measurement with the given flags."""
    flags = parse_flags(argv)
    with signals_interrupt():
        return run_command(lambda: scale(flags))


def scale(flags: argparse.Namespace) -> None:
    """Predict from one step if that was asked for; else measure, show and write everything."""
    if flags.step_ms or flags.like:
        if flags.plot:
            require_matplotlib("leave --plot out")
        predict(flags)
        return
    require_matplotlib()
    hosts = find_slots(flags.hosts, os.environ, local_slots())
    workers = flags.workers or default_workers(len(hosts))
    require_slots(workers, hosts)
    batches = {"weak": flags.local_batch_size, "strong": flags.global_batch_size}
    comparisons = plan(hosts, workers, flags.strategies, flags.scaling, batches)
    settings = settings_of(flags, comparisons)
    measured = open_store(flags.out, settings)
    measure_missing(flags, comparisons, settings, measured)
    write(flags, comparisons, settings, measured)


def predict(flags: argparse.Namespace) -> None:
    """Print what the network would leave of the speed of a step; write it to --json and --plot."""
    from hpc.efficiency.link_plot import link_figure
    from hpc.efficiency.step_forecast import WORKERS, forecast_of_flags, forecast_of_run

    seconds = flags.step_ms and flags.step_ms / 1000
    if flags.like:
        forecast = forecast_of_run(flags.like, seconds)
    else:
        config, _ = parse_train_flags(flags.train_flags, "hpc/train.py")
        forecast = forecast_of_flags(config, flags.data, seconds)
    workers = flags.workers or WORKERS
    print_tables([forecast.table(workers)])
    if flags.json:
        write_json(flags.json, forecast.to_json(workers))
    if flags.plot:
        save(link_figure(forecast, min(workers)), flags.plot)


def settings_of(flags: argparse.Namespace, comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The settings that must be equal for figures to compare.

    Raises ValueError if a flag contradicts them, or the data set cannot be shared by all workers.
    """
    from pipeline.dataset.manifest import Manifest
    from pipeline.dataset.schedule import check_sharing
    from pipeline.runtime.provenance import commit

    own = " ".join(map(flag, OWN))
    given = {text.partition("=")[0] for text in flags.train_flags}
    if refused := sorted(given & {*own.split(), "--data", "--dry-run", "--json"}):
        raise ValueError(
            f"{', '.join(refused)} behind -- would change what is measured. Use this command's own "
            "flags (see --help)"
        )
    parse_train_flags([*flags.train_flags, f"--steps={flags.steps}"], "hpc/train.py")
    manifest = Manifest.load(flags.data)
    lanes = manifest.num_lanes
    for cell in cells_of(comparisons):
        if cell.batch % lanes:
            raise ValueError(
                f"{cell}: the {lanes} lanes of this data set cannot share {cell.batch} windows. "
                f"--local-batch-size must be a multiple of {lanes}, --global-batch-size one of "
                f"{lanes} times the workers"
            )
        workers = 1 if cell.is_alone else cell.workers
        check_sharing(manifest, size=workers, global_batch_size=cell.batch * workers)
    return {
        # An edit without a commit may be one of the README: each measurement has its own '+'.
        "commit": commit().removesuffix("+"),
        "data": manifest.digest()[:12],
        "steps": flags.steps,
        "train_flags": flags.train_flags,
        "workers_per_host": most_on_a_host(cells_of(comparisons)),
    }


def measure_missing(
    flags: argparse.Namespace,
    comparisons: Sequence[Comparison],
    settings: dict[str, Any],
    measured: Measured,
) -> None:
    """Measure every cell in turn, then all again: A B C A B C.

    Raises KeyboardInterrupt, with what is kept, when a signal ends it.
    """
    cells = cells_of(comparisons)
    missing = [
        (cell, repetition)
        for repetition in range(1, flags.repetitions + 1)
        for cell in cells
        if (cell, repetition) not in measured
    ]
    total = len(cells) * flags.repetitions
    if missing:
        print_line(
            f"{len(missing)} of {total} trainings are to be measured, of {flags.steps} steps each; "
            "fewer with --repetitions, --scaling or --strategies"
        )
    train_flags, work_dir = train_flags_of(flags), (flags.out / "work").resolve()
    begun, num_kept = monotonic(), total - len(missing)
    try:
        for done, (cell, repetition) in enumerate(missing, start=1):
            print(f"[{num_kept + 1}/{total}] {cell} ... ", end="", flush=True)
            share = settings["workers_per_host"]
            found = measure_cell(cell, repetition, work_dir, train_flags, share)
            store(flags.out, found)
            measured[cell, repetition], num_kept = found, num_kept + 1
            left = (monotonic() - begun) / done * (len(missing) - done)
            until_end = f", about {duration(left)} left" if num_kept < total else ""
            print(f"{found.rate:,.0f} tokens/s{until_end}", flush=True)
            if found.busy and found.busy > MOST_BUSY:
                print(f"    beside other programs, which used {found.busy:.0%} of the processors")
    except KeyboardInterrupt:
        kept = f"{num_kept} of {total} trainings are kept in {flags.out}"
        raise KeyboardInterrupt(f"{kept}; the same command continues") from None
    shutil.rmtree(work_dir, ignore_errors=True)  # after a failure it stays for the user


def train_flags_of(flags: argparse.Namespace) -> list[str]:
    """The flags of hpc/train.py that are the same in all trainings."""
    given = {text.partition("=")[0] for text in flags.train_flags}
    train_flags = [f"--data={flags.data.resolve()}", f"--steps={flags.steps}"]
    train_flags.append(f"--log-every={max(flags.steps // NUM_WINDOWS, 1)}")
    # By default they come at the end, where no window counts them.
    train_flags += [
        f"{name}={flags.steps}" for name in ("--eval-every", "--save-every") if name not in given
    ]
    return [*train_flags, *flags.train_flags]


def write(
    flags: argparse.Namespace,
    comparisons: Sequence[Comparison],
    settings: dict[str, Any],
    measured: Measured,
) -> None:
    """Print the tables, and write them, the picture, the JSON and the TensorBoard run."""
    from hpc.efficiency.plot import scaling_figure

    # What was measured, and what the cost model makes of it.
    out_dir = flags.out
    found = rows(comparisons, measured)
    foreseen = forecasts(measured, flags.link)
    shown = [*tables(found), *forecast_tables(foreseen)]
    commits = ", ".join(sorted({measurement.commit for measurement in measured.values()}))
    about = {"command": flags.command, **settings, "commit": commits}
    about["hardware"] = hardware(measured)
    warning = caution(measured)

    # For the terminal.
    print()
    print_tables(shown)
    if warning:
        print_lines([warning, ""])

    # As files.
    facts = "\n".join(f"- {name}: {value}" for name, value in about.items())
    head = ["# Scaling\n", f"`{FORMULA}`\n", *([f"**{warning}**\n"] if warning else [])]
    text = "\n".join([*head, *(table.to_markdown() for table in shown)])
    text += f"\n{facts}\n"
    # The command is in scaling.md beside the picture.
    title = "\n".join([f"{about['hardware']}; commit {commits}", *([warning] if warning else [])])
    picture = out_dir / "scaling.png"
    save(scaling_figure(found, foreseen, title), picture)
    (out_dir / "scaling.md").write_text(f"{text}\n![scaling]({picture.name})\n")
    result = to_json(found, measured, {**about, "link": flags.link, "caution": warning})
    result["cost_models"] = [model.to_json() for model in foreseen]
    for path in [out_dir / "scaling.json", *([flags.json] if flags.json else [])]:
        write_json(path, result)
    for path in (out_dir / "scaling.md", picture, out_dir / "scaling.json"):
        print_line(f"wrote {path}")
    if tensorboard_is_installed():
        from hpc.efficiency.events import write_events

        write_events(found, foreseen, text, picture, out_dir)
        print_line(f"wrote {out_dir / FOLDER}: tensorboard --logdir {out_dir / FOLDER}")


def hardware(measured: Measured) -> str:
    """Hosts with their processors, and the devices of the workers, over all measurements."""
    machines = dict.fromkeys(name for found in measured.values() for name in found.machines)
    # Each worker took its own share of the cores; what mpirun had left it does not matter.
    names = [name for found in measured.values() for name in found.devices]
    devices = dict.fromkeys(name.partition(" of a share")[0] for name in names)
    return f"{', '.join(machines)}: {'; '.join(devices)}"


if __name__ == "__main__":
    sys.exit(main())
