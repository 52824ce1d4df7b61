"""Command: the likelihood of real music under trained models, by the published protocols.

python model/evaluate.py runs/chorales --data jsb:Jsb16thSeparated.json --split valid
python model/evaluate.py runs/a runs/b --transpositions 7 --data jsb:Jsb16thSeparated.json
python model/evaluate.py runs/a --data jsb:Jsb16thSeparated.json --samples 200 --plots pictures
python model/evaluate.py --model bigram --data jsb:Jsb16thSeparated.json --split test
python model/evaluate.py runs/a --data jsb:Jsb16thSeparated.json --listening-test 10
python model/evaluate.py runs/emotion --data data/emotion --emotions 50

Several RUNs, and several transpositions of each piece, are averaged: the mean of the probabilities
of every note. --samples composes pieces and compares them with real ones: metrics, voice leading,
and copies from train. --plots draws where the model is surprised, the composed pieces beside real
ones, and a map of its pitches; the map alone needs no --data. --listening-test writes a page on
which people say of N composed and N real excerpts which is which, and a file with the key.
--emotions composes N pieces for each of four emotions, and compares what was asked for with the
labels of real pieces: how both go with mode, density and register.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):  # run as a script: import from the root, not from model/
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from pipeline.runtime.interpreter import explain_missing_libraries

    explain_missing_libraries()

from model.evaluation.networks import (
    LISTENING_PAGE,
    draw_pitches,
    evaluate_emotions,
    evaluate_networks,
    frames_of_data_set,
    listening_test,
    open_networks,
)
from model.networks.checkpoint import require_checkpoint
from pipeline.dataset.manifest import FILE_NAME, SPLITS
from pipeline.runtime.command import described_parser, meant, run_command
from pipeline.runtime.files import write_json
from pipeline.runtime.tables import print_lines
from pipeline.sources.catalogue import NAMED_SOURCES

if TYPE_CHECKING:
    from pipeline.sources.json_frames import FrameSet

SOURCES = ("jsb", "nottingham", "musedata", "pianomidi")
WRITTEN = " or ".join(f"{name}:PATH" for name in SOURCES)
FOLDER = (
    "for --listening-test also a folder of preprocess.py --vocabulary grid, for --emotions one of "
    "preprocess.py --conditions emotion"
)
NOTE_BASELINES = ("uniform", "unigram", "hold", "bigram")
BASELINES = (*NOTE_BASELINES, "bernoulli")
FEWEST, MOST = 3, 30  # excerpts of a kind: guesses at two are too often right; 60 are 15 MB


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    flags = parse_arguments(argv)
    return run_command(lambda: evaluate(flags))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags; ends the program for flags that do not go together."""
    parser = described_parser(__doc__ or "")
    add = parser.add_argument
    add("runs", type=Path, nargs="*", metavar="RUN", help="run folders or checkpoints, averaged")
    add("--model", choices=BASELINES, help="no network, but this baseline, fitted on train")
    add("--data", metavar="SOURCE", help=f"{WRITTEN}; {FOLDER}")
    add("--split", choices=SPLITS, default="valid", help="default: valid")
    add("--pieces", type=int, metavar="N", help="only the first N pieces of the split")
    add("--transpositions", type=int, default=1, metavar="N", help="averaged (default: 1, none)")
    add("--samples", type=int, metavar="N", help="compose N pieces and compare them with real ones")
    add(
        "--listening-test",
        type=int,
        metavar="N",
        help=f"write a page with N composed and N real excerpts ({FEWEST} to {MOST}), and its key",
    )
    add("--emotions", type=int, metavar="N", help="compose N pieces for each of four emotions")
    page = f"of --listening-test (default: {LISTENING_PAGE})"
    add("--page", type=Path, metavar="FILE", help=page)
    add("--soundfont", type=Path, metavar="FILE", help="of --listening-test")
    add("--seed", type=int, default=1, help="of the pieces composed (default: 1)")
    add("--temperature", type=float, default=1.0, help="of the pieces composed (default: 1)")
    add("--top-p", type=float, default=1.0, help="of the pieces composed (default: 1, all tokens)")
    guidance = "of the pieces composed, as of generate.py (default: 1)"
    add("--guidance", type=float, default=1.0, metavar="G", help=guidance)
    add("--plots", type=Path, metavar="DIR", help="write pictures into this folder")
    add("--json", type=Path, metavar="FILE", help="write the result here for programs")
    flags = parser.parse_args(argv)
    _refuse_combinations(flags, parser)
    return flags


def _refuse_combinations(flags: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """End the program for flags that do not go together."""
    if (not flags.runs) == (flags.model is None):
        parser.error("give a RUN or a --model, one of them")
    asked = {"--transpositions": flags.transpositions != 1, "--samples": flags.samples is not None}
    asked["--plots"] = flags.plots is not None
    if flags.model and any(asked.values()):
        parser.error(f"{', '.join(name for name in asked if asked[name])} need a RUN, no --model")
    if flags.samples is not None and (len(flags.runs) > 1 or flags.split == "train"):
        parser.error("--samples composes with one RUN, and compares with train and another split")
    if flags.listening_test is None:
        if flags.page or flags.soundfont:
            parser.error("--page and --soundfont go with --listening-test")
    elif len(flags.runs) != 1 or any(asked.values()) or flags.json:
        parser.error(
            "--listening-test needs one RUN, and goes without --samples, --plots, "
            "--transpositions and --json"
        )
    if flags.emotions is not None:
        asked["--listening-test"] = flags.listening_test is not None
        asked["--pieces"] = flags.pieces is not None
        if len(flags.runs) != 1 or any(asked.values()) or flags.data is None:
            parser.error(
                "--emotions needs one RUN and the folder of a data set with --data, and goes "
                f"without {', '.join(asked)}"
            )
    if flags.data is None and (flags.samples or flags.json or not flags.plots):
        chorales = f"Jsb16thSeparated.json from {NAMED_SOURCES['jsb'].origin}"
        parser.error(f"--data is needed: {WRITTEN}, such as {chorales}; {FOLDER}")


def evaluate(flags: argparse.Namespace) -> None:
    """Measure and report. Raises ValueError or OSError, with advice."""
    for run in flags.runs:
        require_checkpoint(run)
    if flags.data is None:
        draw_pitches(open_networks(flags.runs)[0], flags.runs[0], flags.plots)
        return
    if flags.emotions is not None:
        contents = evaluate_emotions(flags)
        if flags.json:
            write_json(flags.json, {"data": flags.data, **contents})
        return
    from model.evaluation.protocols import describe

    if flags.listening_test is not None and (Path(flags.data) / FILE_NAME).is_file():
        frame_set = frames_of_data_set(Path(flags.data), flags.split)
    else:
        frame_set = _read_source(flags.data)
    if flags.pieces is not None:
        frame_set = _first_pieces(frame_set, flags.split, flags.pieces)
    if flags.transpositions < 1:
        raise ValueError(f"--transpositions is {flags.transpositions}; it must be 1 or more")
    if flags.listening_test is not None:
        if not FEWEST <= flags.listening_test <= MOST:
            raise ValueError(
                f"--listening-test is {flags.listening_test}; it must be {FEWEST} to {MOST}"
            )
        listening_test(flags, frame_set)
        return
    if flags.model:
        contents = _baseline_report(flags.model, frame_set, flags.split)
        print_lines(describe(contents).splitlines())
    else:
        contents = evaluate_networks(flags, frame_set)
    if flags.json:
        write_json(flags.json, {"data": flags.data, **contents})


def _read_source(text: str) -> FrameSet:
    """The frames of a --data value. Raises ValueError for one without a protocol."""
    from pipeline.sources.json_frames import read_frames, the_file

    name, _, place = text.partition(":")
    if name not in SOURCES or not place:
        raise ValueError(
            f"--data {text}: the protocols are stated for {', '.join(SOURCES)}. Write {WRITTEN}, "
            f"PATH a .json file of frames{meant(name, SOURCES)}"
        )
    source = NAMED_SOURCES[name]
    if not Path(place).exists():
        raise ValueError(
            f"--data {text}: {place} does not exist; needed: {source.needs}, from {source.origin}"
        )
    return read_frames(the_file(Path(place)))


def _first_pieces(frame_set: FrameSet, split: str, count: int) -> FrameSet:
    """The set with fewer pieces in one split."""
    from pipeline.sources.json_frames import FrameSet

    if count < 1:
        raise ValueError(f"--pieces is {count}; it must be 1 or more")
    cut = {**frame_set.splits, split: frame_set.splits[split][:count]}
    return FrameSet(cut, frame_set.steps_per_quarter, frame_set.has_voices)


def _baseline_report(name: str, frame_set: FrameSet, split: str) -> dict[str, Any]:
    """The report of a baseline: a model of counts alone, without a network."""
    from model.evaluation import baselines
    from model.evaluation.protocols import report

    if (name in NOTE_BASELINES) != frame_set.has_voices:
        raise ValueError(
            f"--model {name} is no baseline of this protocol. Frames with voices (16ths) have "
            f"{', '.join(NOTE_BASELINES)}; frames of sounding pitches have bernoulli"
        )
    nats = getattr(baselines, name)(frame_set.splits["train"], frame_set.splits[split])
    family = "no network: counts of train, each pitch or voice by itself"
    return report(frame_set, split, nats, name, family)


if __name__ == "__main__":
    sys.exit(main())
