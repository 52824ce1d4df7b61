"""The flags of hpc/scaling.py."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from hpc.config.settings import StrategyName
from hpc.efficiency.plan import SCALINGS
from pipeline.runtime.command import Parser, flag_type, meant

STRATEGIES = tuple(name for name in get_args(StrategyName) if name not in ("auto", "single"))
FEWEST_STEPS = 10  # two warm up, and the first window does not count
OF_MEASURING = (
    "hosts",
    "strategies",
    "scaling",
    "local_batch_size",
    "global_batch_size",
    "repetitions",
    "steps",
    "link",
    "out",
)


def parse_flags(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags, with their text as `command`; ends the program where they do not go together."""
    parser = Parser(
        description="How well training scales with workers, and where the rest of the time goes.",
        usage="%(prog)s [flags] [-- flags of hpc/train.py]",
    )
    add = parser.add_argument
    add("--data", type=Path, default=Path("data/bach"), metavar="DIR", help="data set [data/bach]")
    workers = flag_type(numbers, "numbers of workers, such as 1,2,4 or 1..8")
    add("--workers", type=workers, metavar="N,N..N", help="numbers of workers [1,2,4,... all]")
    add(
        "--step-ms",
        type=float,
        metavar="MS",
        help="predict only, from a step of this many milliseconds on one worker",
    )
    add("--like", type=Path, metavar="RUN", help="predict only, from a run of one worker")
    strategies, known = names_of(STRATEGIES), ",".join(STRATEGIES)
    add(
        "--strategies",
        type=strategies,
        default=list(STRATEGIES),
        metavar="NAME,...",
        help=f"[{known}]",
    )
    held = "; ".join(f"{name}: {what}" for name, what in SCALINGS.items())
    scalings = names_of(tuple(SCALINGS))
    add(
        "--scaling", type=scalings, default=list(SCALINGS), metavar="NAME,...", help=f"{held} [all]"
    )
    add("-H", "--hosts", metavar="HOST[:N],...", help="hosts and the workers that fit each")
    one = flag_type(number, "a whole number above 0")
    add("--local-batch-size", type=one, default=32, metavar="N", help="of weak scaling [32]")
    add("--global-batch-size", type=one, default=64, metavar="N", help="of strong scaling [64]")
    add("--repetitions", type=one, default=5, metavar="N", help="of every training [5]")
    add("--steps", type=one, default=40, metavar="N", help="of each training [40]")
    add(
        "--link",
        type=float,
        default=0.0,
        metavar="GBIT",
        help="Gbit/s of the link between the hosts, to predict other links [too fast to count]",
    )
    add(
        "--out",
        type=Path,
        default=Path("runs/scaling"),
        metavar="DIR",
        help="folder of all results [runs/scaling]",
    )
    add("--json", type=Path, metavar="FILE", help="also write the result to this file")
    add(
        "--plot",
        type=Path,
        metavar="FILE",
        help="with --step-ms or --like: a PNG over the rate of the links, for the fewest workers",
    )
    add("train_flags", nargs="*", metavar="FLAG", help=argparse.SUPPRESS)
    flags = parser.parse_args(argv)
    if flags.steps < FEWEST_STEPS:
        parser.error(f"--steps is {flags.steps}; at least {FEWEST_STEPS} are needed")
    if flags.step_ms is not None and flags.step_ms <= 0:
        parser.error(f"--step-ms is {flags.step_ms:g}; give milliseconds above 0")
    if flags.link < 0:
        parser.error(f"--link is {flags.link:g}; give Gbit/s above 0")
    _refuse_unused(flags, parser)
    words = sys.argv if argv is None else ["hpc/scaling.py", *argv]
    flags.command = shlex.join(["python", *words])
    return flags


def _refuse_unused(flags: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """End the program for flags that the others leave without effect."""
    if not (flags.step_ms or flags.like):
        if flags.plot:
            parser.error("--plot draws a prediction; a measurement is drawn in --out: scaling.png")
        return
    unused = [*OF_MEASURING, *(["data"] if flags.like else [])]
    if given := [name for name in unused if getattr(flags, name) != parser.get_default(name)]:
        parser.error(
            f"--step-ms and --like only predict, without --{given[0].replace('_', '-')}; "
            "leave it out"
        )
    if flags.like and flags.train_flags:
        parser.error("--like predicts for the run's own network; leave the flags behind -- out")


def number(text: str) -> int:
    """The whole number in a text. Raises ValueError if it is below 1."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def numbers(text: str) -> list[int]:
    """The numbers between commas, once each, in order; 'A..B' is A, doubled up to B."""
    found = set()
    for part in text.split(","):
        first, dots, last = part.partition("..")
        value, limit = number(first), number(last) if dots else number(first)
        while value <= limit:
            found.add(value)
            value *= 2
    return sorted(found)


def names_of(known: tuple[str, ...]) -> Any:
    """A parser of known names between commas. It raises ArgumentTypeError for another name."""

    def names(text: str) -> list[str]:
        asked = list(dict.fromkeys(text.split(",")))
        if unknown := [name for name in asked if name not in known]:
            raise argparse.ArgumentTypeError(
                f"there is no {', '.join(unknown)}; there are {', '.join(known)}"
                f"{meant(unknown[0], known)}"
            )
        return asked

    return names
