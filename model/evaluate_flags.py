"""The flags of model/evaluate.py, and the refusal of what does not go together."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.dataset.manifest import SPLITS
from pipeline.runtime.command import described_parser

SOURCES = ("jsb", "nottingham")
NOTE_FLOORS = ("uniform", "unigram", "hold", "bigram")
FLOORS = (*NOTE_FLOORS, "bernoulli")


def parse_arguments(argv: Sequence[str] | None, doc: str) -> argparse.Namespace:
    """The flags; `doc` is the command's description."""
    parser = described_parser(doc)
    add = parser.add_argument
    add("runs", type=Path, nargs="*", metavar="RUN", help="run folders or checkpoints, averaged")
    add("--model", choices=FLOORS, help="no network, but this floor, fitted on train")
    add("--data", metavar="SOURCE", help="jsb:PATH or nottingham:PATH")
    add("--split", choices=SPLITS, default="valid", help="default: valid")
    add("--pieces", type=int, metavar="N", help="only the first N pieces of the split")
    add("--transpositions", type=int, default=1, metavar="N", help="averaged (default: 1, none)")
    add("--samples", type=int, metavar="N", help="compose N pieces and compare them with real ones")
    add("--seed", type=int, default=1, help="of the pieces composed (default: 1)")
    add("--temperature", type=float, default=1.0, help="of the pieces composed (default: 1)")
    add("--top-p", type=float, default=1.0, help="of the pieces composed (default: 1, all tokens)")
    add("--plots", type=Path, metavar="DIR", help="write pictures into this folder")
    add("--json", type=Path, metavar="FILE", help="write the result here for programs")
    flags = parser.parse_args(argv)
    _check(flags, parser)
    return flags


def _check(flags: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse what does not go together."""
    if (not flags.runs) == (flags.model is None):
        parser.error("give a RUN or a --model, one of them")
    asked = {"--transpositions": flags.transpositions != 1, "--samples": flags.samples is not None}
    asked["--plots"] = flags.plots is not None
    if flags.model and any(asked.values()):
        parser.error(f"{', '.join(name for name in asked if asked[name])} need a RUN, no --model")
    if flags.samples is not None and (len(flags.runs) > 1 or flags.split == "train"):
        parser.error("--samples composes with one RUN, and compares with train and another split")
    if flags.data is None and (flags.samples or flags.json or not flags.plots):
        parser.error("--data is needed: jsb:PATH or nottingham:PATH")
