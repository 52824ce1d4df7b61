"""Command: how likely a trained model holds real music, by the protocols of published figures.

python model/evaluate.py runs/chorales --data jsb:Jsb16thSeparated.json --split valid
python model/evaluate.py --model bigram --data jsb:Jsb16thSeparated.json --split test
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

from pipeline.command import described_parser, run_command
from pipeline.manifest import SPLITS
from pipeline.quiet import load_tensorflow

if TYPE_CHECKING:
    import numpy as np

    from pipeline.frames import FrameSet

SOURCES = ("jsb", "nottingham")
NOTE_FLOORS = ("uniform", "unigram", "hold", "bigram")
FLOORS = (*NOTE_FLOORS, "bernoulli")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = described_parser(__doc__)
    add = parser.add_argument
    add("run", type=Path, nargs="?", metavar="RUN", help="a run folder or a checkpoint")
    add("--model", choices=FLOORS, help="no network, but this floor, fitted on train")
    add("--data", required=True, metavar="SOURCE", help="jsb:PATH or nottingham:PATH")
    add("--split", choices=SPLITS, default="valid", help="default: valid")
    add("--pieces", type=int, metavar="N", help="only the first N pieces of the split")
    add("--json", type=Path, metavar="FILE", help="write the result here for programs")
    flags = parser.parse_args(argv)
    if (flags.run is None) == (flags.model is None):
        parser.error("give a RUN or a --model, one of them")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    flags = parse_arguments(argv)
    return run_command(lambda: evaluate(flags))


def evaluate(flags: argparse.Namespace) -> None:
    """Measure and report. Raises ValueError or OSError, with what to do."""
    from pipeline.frames import FrameSet

    frame_set = _read_source(flags.data)
    if flags.pieces is not None:
        if flags.pieces < 1:
            raise ValueError(f"--pieces is {flags.pieces}; it must be 1 or more")
        cut = {**frame_set.splits, flags.split: frame_set.splits[flags.split][: flags.pieces]}
        frame_set = FrameSet(cut, frame_set.steps_per_quarter, frame_set.has_voices)
    contents = (
        _floor(flags.model, frame_set, flags.split)
        if flags.model
        else _network(flags.run, frame_set, flags.split)
    )
    from model.protocols import describe

    print(describe(contents))
    if flags.json:
        flags.json.parent.mkdir(parents=True, exist_ok=True)
        flags.json.write_text(json.dumps({"data": flags.data, **contents}, indent=2) + "\n")


def _read_source(text: str) -> FrameSet:
    from pipeline.frames import read_frames

    name, _, place = text.partition(":")
    if name not in SOURCES or not place:
        raise ValueError(
            f"--data {text}: the protocols are stated for {' and '.join(SOURCES)}. Write jsb:PATH "
            "or nottingham:PATH, PATH a .json file of frames"
        )
    return read_frames(Path(place))


def _floor(name: str, frame_set: FrameSet, split: str) -> dict[str, Any]:
    """The report of a model that has learned nothing but counts."""
    from model import floors
    from model.protocols import report

    if (name in NOTE_FLOORS) != frame_set.has_voices:
        raise ValueError(
            f"--model {name} is no floor of this protocol. Frames with voices (16ths) have "
            f"{', '.join(NOTE_FLOORS)}; frames of sounding pitches have bernoulli"
        )
    nats = getattr(floors, name)(frame_set.splits["train"], frame_set.splits[split])
    family = "no network: counts of train, each pitch or voice by itself"
    return report(frame_set, split, nats, name, family)


def _network(run: Path, frame_set: FrameSet, split: str) -> dict[str, Any]:
    """The report of a trained network."""
    load_tensorflow()
    from model.bundle import find_checkpoint
    from model.composer import Composer
    from model.likelihood import frame_nats, voices_of
    from model.protocols import report
    from pipeline.grid import GridVocabulary

    checkpoint = find_checkpoint(run)
    composer = Composer.load(checkpoint)
    vocabulary = composer.vocabulary
    if not isinstance(vocabulary, GridVocabulary):
        raise ValueError(
            f"{checkpoint} was trained on events, whose likelihood is not that of the same frames. "
            "Train on a data set made with: pipeline/preprocess.py SOURCE --vocabulary grid"
        )
    if vocabulary.steps_per_quarter != frame_set.steps_per_quarter:
        raise ValueError(
            f"{checkpoint} was trained on {vocabulary.steps_per_quarter} frames a quarter and the "
            f"data have {frame_set.steps_per_quarter}"
        )
    pieces: list[np.ndarray] = [
        voices_of(piece, frame_set.has_voices, vocabulary.voices)
        for piece in frame_set.splits[split]
    ]
    nats = frame_nats(composer.model, vocabulary, pieces)
    family = "one left-to-right model of the whole frame, voice after voice, no averaging of models"
    contents = report(frame_set, split, nats, str(checkpoint), family)
    # Of all tokens the STEPs count too, at no cost: what they say is certain.
    per_frame = contents["nats_per_frame"]
    return {**contents, "nats_per_token": per_frame / vocabulary.tokens_per_frame}


if __name__ == "__main__":
    sys.exit(main())
