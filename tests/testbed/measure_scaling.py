#!/usr/bin/env python3
"""Measure how training scales over dorchester and bath, and publish it: hpc/results/scaling.*.

Brings the testbed up (one core to each host), runs hpc/scaling.py across it at full speed, then on
links of 1 Gbit/s with the defaults that the program advises there, and takes the testbed down.
The same command goes on after a break. Run it on a machine that does nothing else.

A core here computes a step in 1.5 s that a GPU computes in 45 ms. What a GPU meets on a network of
10 or 1 Gbit/s is therefore measured on links so slow that an allreduce stands to the step as there:
the parts whose names begin with 30 and 270, the percentages.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import from tests/, not from tests/testbed/
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from hpc.config.train_config import parse_flags as parse_train_flags
from hpc.distributed.exchange import ADVISED, Exchange
from hpc.efficiency.link_plot import MeasuredEfficiency, link_figure
from hpc.efficiency.step_forecast import forecast_of_flags
from pipeline.runtime.plotting import save
from tests.testbed.cluster import DEFAULT_STATE_DIR, HEAD, Testbed

REPOSITORY = Path(__file__).resolve().parents[2]
HOSTS = "dorchester,bath"
WORKLOAD = ("--preset=base", "--sequence-length=128")  # 2 x 512 units
GPU_STEP = 0.045  # seconds
SHARES = (0.3, 2.7)  # of that step: 10 and 1 Gbit/s
EXCHANGES = (
    *ADVISED,
    Exchange("powersgd:4"),
    Exchange("fp16", local_steps=32),
)


@dataclass(frozen=True)
class Part:
    """One run of hpc/scaling.py over the two hosts."""

    name: str
    # Of the links: as tc(8) writes it, or the share of a step that an allreduce of the float32
    # gradient is to take there, by itself; None: no limit.
    rate: str | float | None
    flags: tuple[str, ...]
    train_flags: tuple[str, ...] = ()
    exchange: Exchange | None = None  # what is to be seen in the picture of links, if anything


def name_of(share: float, exchange: Exchange) -> str:
    """The name of the part that measures an exchange: '30%-none', '270%-local16-fp16'."""
    words = [f"local{exchange.local_steps}"] * (exchange.local_steps > 1)
    if exchange.compression != "none" or not words:
        words.append(exchange.compression.replace(":", ""))
    return "-".join([f"{share:.0%}", *words])


def part_of(share: float, exchange: Exchange) -> Part:
    """The part that measures an exchange where an allreduce takes this share of a step."""
    flags = ["--scaling=weak", "--workers=2"]
    train_flags = [f"--compression={exchange.compression}"]
    if exchange.local_steps > 1:  # a speed is recorded at every exchange, and the first warms up
        flags.append(f"--steps={max(4 * exchange.local_steps, 48)}")
        train_flags.append(f"--local-steps={exchange.local_steps}")
    return Part(name_of(share, exchange), share, tuple(flags), tuple(train_flags), exchange)


PARTS = (
    Part("full", None, ("--scaling=weak,strong", "--global-batch-size=32")),
    # What the program itself advises on such a link: half the bytes, and more computing for each.
    Part(
        "1gbit",
        "1gbit",
        # Its steps are twice as long, and 8 of them count.
        ("--scaling=weak", "--link=1", "--local-batch-size=64", "--steps=10"),
        ("--compression=fp16", "--accumulation=2"),
    ),
    # The link as it is, for what the advice is worth.
    Part("1gbit-plain", "1gbit", ("--scaling=weak", "--link=1", "--strategies=horovod")),
    # Whether Horovod's thread disturbs the computing less if it wakes less often.
    Part("cycle", None, ("--scaling=weak", "--strategies=horovod"), ("--cycle-time=5",)),
    *(part_of(share, exchange) for share in SHARES for exchange in EXCHANGES),
    # The other advice: more computing for each exchange, which stays exact.
    Part(
        "270%-batch4",
        2.7,
        ("--scaling=weak", "--workers=2", "--local-batch-size=128", "--steps=10"),
        ("--accumulation=4",),
    ),
)
TITLES = {
    "full": "Links without a limit",
    "1gbit": "Links of 1 Gbit/s, with what the program advises there",
    "1gbit-plain": "Links of 1 Gbit/s, with nothing changed",
    "cycle": "Links without a limit, Horovod's cycle of 5 ms",
    "270%-batch4": (
        "Links on which the allreduce of a float32 gradient is 270% of a step of 32 windows, "
        "steps of 128 windows"
    ),
} | {
    name_of(share, exchange): (
        f"Links on which the allreduce of a float32 gradient is {share:.0%} of a step, "
        f"{exchange.flags}"
    )
    for share in SHARES
    for exchange in EXCHANGES
}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 when all parts are measured and written."""
    flags = parse_flags(argv)
    started = time.monotonic()
    testbed = Testbed(flags.state, die_with_us=True)
    try:
        testbed.up(slurm=False)
        for part in PARTS:
            if part.name in flags.parts:
                measure(testbed, part, flags)
    except (RuntimeError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        testbed.down()
    measured = [part for part in PARTS if (flags.work / part.name / "scaling.json").exists()]
    publish(measured, flags.work, flags.out)
    draw_links(measured, flags.work, flags.data, flags.out / "links.png")
    print(f"wrote {flags.out}/scaling.md, .json and the pictures after ", end="")
    print(f"{(time.monotonic() - started) / 60:.1f} min")
    return 0


def parse_flags(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags of the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    names = [part.name for part in PARTS]
    add("--parts", nargs="+", choices=names, default=names[:2], help=f"[{' '.join(names[:2])}]")
    add("--data", type=Path, default=REPOSITORY / "data/bach", help="data set [data/bach]")
    add("--steps", type=int, default=12, help="of each training [12]")
    add("--repetitions", type=int, default=3, help="of every training [3]")
    add("--work", type=Path, default=REPOSITORY / "runs/scaling-testbed", help="measurements")
    add("--out", type=Path, default=REPOSITORY / "hpc/results", help="folder [hpc/results]")
    add("--state", type=Path, default=DEFAULT_STATE_DIR, help="folder of the testbed")
    add("train_flags", nargs="*", metavar="-- FLAG", help="of hpc/train.py, after our own")
    return parser.parse_args(argv)


def measure(testbed: Testbed, part: Part, flags: argparse.Namespace) -> None:
    """Run one part to its end, its lines shown as they come. Raises RuntimeError if it fails."""
    rate = part.rate
    if isinstance(rate, float):
        rate = rate_for(rate, flags.work / "full" / "scaling.json")
    testbed.set_rate(rate)
    argv = command_of(part, flags)
    print(f"{TITLES[part.name]} ({rate or 'no limit'})\n$ {shlex.join(argv)}", flush=True)
    command = testbed.popen(HEAD, argv, cwd=REPOSITORY)
    shown = 0
    while True:
        running = command.is_running
        told = command.stdout
        print(told[shown:], end="", flush=True)
        shown = len(told)
        if not running:
            break
        time.sleep(1.0)
    done = command.wait(60)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it told no reason"]
        raise RuntimeError(f"{part.name}: {lines[-1].removeprefix('error: ')}")


def rate_for(share: float, without_limit: Path) -> str:
    """The rate on which an allreduce takes this share of a step of independent processes.

    By the step and the allreduce that were measured without a limit: two workers send the whole
    gradient once each, and what the hosts spend on it remains. Raises ValueError without them.
    """
    if not without_limit.is_file():
        raise ValueError(f"{without_limit} is missing: measure the part full first")
    result = json.loads(without_limit.read_text())
    rows = {(row["scaling"], row["strategy"], row["workers"]): row for row in result["rows"]}
    step = rows["weak", "independent", 2]["step_seconds"]
    of_hosts = rows["weak", "horovod", 2]["allreduce_seconds"]
    (megabytes,) = {one["link"]["megabytes"] for one in result["measurements"] if one["link"]}
    return f"{megabytes * 8 / (share * step - of_hosts):.1f}mbit"


def command_of(part: Part, flags: argparse.Namespace) -> list[str]:
    """The command that measures a part, as the results and the pictures tell it."""
    data, out_dir = as_seen_from_here(flags.data), as_seen_from_here(flags.work / part.name)
    argv = ["python", "hpc/scaling.py", "-H", HOSTS, f"--steps={flags.steps}"]
    argv += [f"--data={data}", f"--out={out_dir}", "--workers=1,2", *part.flags]
    argv += [f"--repetitions={flags.repetitions}", "--", *WORKLOAD, *part.train_flags]
    return argv + flags.train_flags


def as_seen_from_here(path: Path) -> Path:
    """A path without the place of this checkout, if it lies in it."""
    path = path.absolute()
    return path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path


def publish(parts: Sequence[Part], work_dir: Path, out_dir: Path) -> None:
    """Write scaling.md, scaling.json and a picture for each part: scaling.png is the first's."""
    out_dir.mkdir(parents=True, exist_ok=True)
    text = [
        "# Scaling over two hosts",
        "",
        "    python tests/testbed/measure_scaling.py",
        "",
        "Two network namespaces on one machine, dorchester and bath, each with one core of it and",
        "a link of its own (tests/testbed). Independent processes at the same time are the",
        "measure: the cores share caches and power.",
    ]
    results: dict[str, Any] = {}
    for part in parts:
        source = work_dir / part.name
        picture = "scaling.png" if part.name == "full" else f"scaling-{part.name}.png"
        shutil.copyfile(source / "scaling.png", out_dir / picture)
        results[part.name] = json.loads((source / "scaling.json").read_text())
        report = (source / "scaling.md").read_text().replace("scaling.png", picture)
        report = report.partition("\n")[2].replace("\n## ", "\n### ")
        text += ["", f"## {TITLES[part.name]}", *report.rstrip().splitlines()]
    (out_dir / "scaling.md").write_text("\n".join(text) + "\n")
    (out_dir / "scaling.json").write_text(json.dumps(results, indent=2) + "\n")


def draw_links(parts: Sequence[Part], work_dir: Path, data: Path, path: Path) -> None:
    """The picture of what the parts with a share of a step reached, if there are any."""
    config, _ = parse_train_flags(WORKLOAD, "hpc/train.py")
    forecast = forecast_of_flags(config, data, GPU_STEP)
    if measured := measured_on_links(parts, work_dir, sum(forecast.sent["none"])):
        save(link_figure(forecast, 2, measured), path)


def measured_on_links(
    parts: Sequence[Part], work_dir: Path, num_bytes: int
) -> list[MeasuredEfficiency]:
    """What the parts with a share of a step reached.

    Their links are told as those on which a gradient of so many bytes stands to a GPU's step as the
    measured one to its own.
    """
    return [
        MeasuredEfficiency(
            strategy=row["strategy"],
            exchange=part.exchange,
            gigabits=num_bytes * 8e-9 / (part.rate * GPU_STEP),
            efficiency=row["against_independent"]["median"],
        )
        for part in parts
        if part.exchange and isinstance(part.rate, float)
        for row in json.loads((work_dir / part.name / "scaling.json").read_text())["rows"]
        if row["against_independent"]
    ]


if __name__ == "__main__":
    sys.exit(main())
