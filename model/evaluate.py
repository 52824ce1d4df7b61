"""Command: how likely trained models hold real music, by the protocols of published figures.

python model/evaluate.py runs/chorales --data jsb:Jsb16thSeparated.json --split valid
python model/evaluate.py runs/a runs/b --transpositions 7 --data jsb:Jsb16thSeparated.json
python model/evaluate.py runs/a --data jsb:Jsb16thSeparated.json --samples 200 --plots pictures
python model/evaluate.py --model bigram --data jsb:Jsb16thSeparated.json --split test

Several RUNs, and each piece in several transpositions, are averaged: the mean of the probabilities
of every note. --samples composes pieces and compares them with real ones: metrics, voice leading,
and what is copied from train. --plots draws where the model is surprised, the pieces composed
beside real ones, and a map of its pitches, which alone needs no --data.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):  # run as a script: import from the root, not from model/
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from model.evaluation.networks import draw_pitches, evaluate_networks, open_networks
from pipeline.dataset.manifest import SPLITS
from pipeline.runtime.command import described_parser, run_command

if TYPE_CHECKING:
    from pipeline.sources.json_frames import FrameSet

SOURCES = ("jsb", "nottingham")

NOTE_FLOORS = ("uniform", "unigram", "hold", "bigram")

FLOORS = (*NOTE_FLOORS, "bernoulli")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    flags = parse_arguments(argv, __doc__ or "")
    return run_command(lambda: evaluate(flags))


def evaluate(flags: argparse.Namespace) -> None:
    """Measure and report. Raises ValueError or OSError, with what to do."""
    if flags.data is None:
        draw_pitches(open_networks(flags.runs)[0], flags.runs[0], flags.plots)
        return
    from model.evaluation.protocols import describe

    frame_set = _read_source(flags.data)
    if flags.pieces is not None:
        frame_set = _first_pieces(frame_set, flags.split, flags.pieces)
    if flags.transpositions < 1:
        raise ValueError(f"--transpositions is {flags.transpositions}; it must be 1 or more")
    if flags.model:
        contents = _floor(flags.model, frame_set, flags.split)
        print(describe(contents))
    else:
        contents = evaluate_networks(flags, frame_set)
    if flags.json:
        flags.json.parent.mkdir(parents=True, exist_ok=True)
        flags.json.write_text(json.dumps({"data": flags.data, **contents}, indent=2) + "\n")


def _first_pieces(frame_set: FrameSet, split: str, count: int) -> FrameSet:
    """The set with fewer pieces in one split."""
    from pipeline.sources.json_frames import FrameSet

    if count < 1:
        raise ValueError(f"--pieces is {count}; it must be 1 or more")
    cut = {**frame_set.splits, split: frame_set.splits[split][:count]}
    return FrameSet(cut, frame_set.steps_per_quarter, frame_set.has_voices)


def _read_source(text: str) -> FrameSet:
    from pipeline.sources.json_frames import read_frames

    name, _, place = text.partition(":")
    if name not in SOURCES or not place:
        raise ValueError(
            f"--data {text}: the protocols are stated for {' and '.join(SOURCES)}. Write jsb:PATH "
            "or nottingham:PATH, PATH a .json file of frames"
        )
    return read_frames(Path(place))


def _floor(name: str, frame_set: FrameSet, split: str) -> dict[str, Any]:
    """The report of a model that has learned nothing but counts."""
    from model.evaluation import baselines as floors
    from model.evaluation.protocols import report

    if (name in NOTE_FLOORS) != frame_set.has_voices:
        raise ValueError(
            f"--model {name} is no floor of this protocol. Frames with voices (16ths) have "
            f"{', '.join(NOTE_FLOORS)}; frames of sounding pitches have bernoulli"
        )
    nats = getattr(floors, name)(frame_set.splits["train"], frame_set.splits[split])
    family = "no network: counts of train, each pitch or voice by itself"
    return report(frame_set, split, nats, name, family)


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


if __name__ == "__main__":
    sys.exit(main())
