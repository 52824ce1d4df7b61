"""Command: a data set in numbers and a picture; which sequence length fits it, and why."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):  # run as a script: import from the root, not from pipeline/
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from pipeline.runtime.interpreter import explain_missing_libraries

    explain_missing_libraries()

from pipeline.dataset.manifest import changes_alone, notes_in_words
from pipeline.runtime.command import Parser, run_command
from pipeline.runtime.files import write_json
from pipeline.runtime.tables import aligned_lines, print_line, print_lines
from pipeline.runtime.tensorflow_loading import load_tensorflow
from pipeline.scores.counted_rules import with_unit
from pipeline.scores.labels import FIELDS

if TYPE_CHECKING:
    from pipeline.description.contents import Description
    from pipeline.description.sequence_length import Recommendation


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The values of the flags."""
    parser = Parser(
        description=(__doc__ or "").partition("\n")[0].removeprefix("Command: "),
    )
    add = parser.add_argument
    add("data", type=Path, nargs="?", default=Path("data/bach"), help="default: data/bach")
    add(
        "--out",
        type=Path,
        default=Path("out"),
        metavar="PNG",
        help="the picture, or the folder for it (default: out)",
    )
    add("--json", type=Path, metavar="FILE", help="write the numbers there too")
    return parser.parse_args(argv)


def report(found: Description) -> Iterator[str]:
    """The description as lines of text."""
    manifest, vocabulary = found.manifest, found.vocabulary
    total = sum(split.num_pieces for split in found.splits.values())
    yield (
        f"{found.name}: {total} pieces from {manifest.num_sources} sources, "
        f"{manifest.vocabulary['kind']} vocabulary of {vocabulary.size} ids, "
        f"{manifest.num_lanes} lanes"
    )
    yield ""
    rows = []
    for name, split in found.splits.items():
        row = split.to_dict()
        spread = row["piece_tokens"]
        numbers = (row["pieces"], row["notes"], row["tokens"], spread["min"], spread["median"])
        rows.append((name, *(f"{number:,.0f}" for number in (*numbers, spread["max"]))))
    columns = ("split", ">pieces", ">notes", ">tokens", ">shortest", ">median", ">longest")
    yield from aligned_lines(columns, rows)
    yield ""
    yield from _coverage_lines(found)
    yield _counts_line("rejected", manifest.rejects, "no source")
    adjustments = manifest.adjustments
    if notes := notes_in_words(manifest.notes):
        yield f"notes: {notes}"
        adjustments = changes_alone(adjustments)
    yield _counts_line("adjusted", adjustments, "no note")
    yield from _feature_lines(found)
    if found.recommendation:
        yield ""
        yield from _length_lines(found.recommendation)


def _coverage_lines(found: Description) -> Iterator[str]:
    coverage = found.coverage()
    used, size = (sum(counts) for counts in zip(*coverage.values(), strict=True))
    kinds = ", ".join(f"{kind} {used} of {size}" for kind, (used, size) in coverage.items())
    yield f"coverage: train uses {used} of {size} ids ({used / size:.0%}): {kinds}"
    for split in ("valid", "test"):
        unseen, tokens = found.unseen(split), found.splits[split].tokens.sum()
        if unseen:
            names = ", ".join(list(unseen)[:5]) + (", ..." if len(unseen) > 5 else "")
            yield (
                f"  {split}: {len(unseen)} {'ids are' if len(unseen) > 1 else 'id is'} in no train "
                f"piece, {sum(unseen.values())} of "
                f"{tokens:,} tokens: {names}"
            )
        elif tokens:
            yield f"  {split}: every id is in some train piece"


def _counts_line(title: str, counts: Mapping[str, int], nothing: str) -> str:
    named = (f"{n:,} {with_unit(what)}" for what, n in counts.items())
    return f"{title}: " + (", ".join(named) or nothing)


SHOWN_VALUES = 6  # on the screen; --json has them all


def _feature_lines(found: Description) -> Iterator[str]:
    """A line for each feature: in how many pieces of each split it is, and its values."""
    summary = found.manifest.features
    yield "features:" if summary else "features: no piece has any"
    if not summary:
        return
    rows = []
    for name in (name for name in FIELDS if name in summary):
        counts = (found.features[split].get(name, {}).get("pieces", 0) for split in found.splits)
        rows.append((name, *(f"{count:,}" for count in counts), _values_text(summary[name])))
    columns = ("", *(f">{split}" for split in found.splits), "in all splits")
    yield from (f"  {line}" for line in aligned_lines(columns, rows))


def _values_text(row: Mapping[str, Any]) -> str:
    """A feature's range, as '-1 to 1', or its most frequent values: 'Am 120, C 96, ...'."""
    if "values" not in row:
        return f"{row['min']:g} to {row['max']:g}"
    by_frequency = sorted(row["values"].items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{value} {count:,}" for value, count in by_frequency[:SHOWN_VALUES])
    num_values = len(by_frequency)
    return shown if num_values <= SHOWN_VALUES else f"{shown}, ... ({num_values} values)"


def _length_lines(recommendation: Recommendation) -> Iterator[str]:
    yield (
        f"sequence length ({recommendation.num_pieces} train pieces looked at; "
        f"{recommendation.tokens_per_quarter:.1f} tokens a quarter)"
    )
    rows = [
        (
            "*" if row.sequence_length == recommendation.sequence_length else "",
            str(row.sequence_length),
            f"{row.quarters:.1f}",
            f"{row.repetition:.0%}",
            f"{row.whole_pieces:.0%}",
            f"{row.cuts:.1f}",
            f"{row.padding:.1%}",
            f"{row.steps_per_epoch:,}",
        )
        for row in recommendation.candidates
    ]
    lengths = ("", ">tokens", ">quarters", ">repetition", ">whole pieces")
    costs = (">cuts/piece", ">padding", ">steps/epoch")
    yield from aligned_lines(lengths + costs, rows)
    yield "  repetition: share of the repetitions that are no further apart than a window"
    yield "  padding: what windows would waste if, unlike here, they did not join pieces"
    yield f"recommended: --sequence-length {recommendation.sequence_length}"
    yield f"  {recommendation.reason}"


def run(argv: Sequence[str] | None) -> None:
    """Describe as the flags say."""
    flags = parse_arguments(argv)
    load_tensorflow()
    from pipeline.description.contents import describe
    from pipeline.description.picture import save_description

    found = describe(flags.data)
    print_lines(report(found))
    picture = flags.out if flags.out.suffix.lower() == ".png" else flags.out / f"{found.name}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    save_description(found, picture)
    print_line(f"picture: {picture}")
    if flags.json is not None:
        write_json(flags.json, found.to_dict())


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code of the command."""
    return run_command(lambda: run(argv))


if __name__ == "__main__":
    sys.exit(main())
