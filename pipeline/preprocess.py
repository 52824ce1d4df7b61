"""Command: scores -> sharded TFRecords and `manifest.json`.

python pipeline/preprocess.py bach --out data/bach
python pipeline/preprocess.py my_midi_files/ more.zip --out data/mine --instruments
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import from the root, not from pipeline/
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from pipeline.runtime.interpreter import explain_missing_libraries

    explain_missing_libraries()

from pipeline.dataset.manifest import SPLITS, changes_alone, notes_in_words
from pipeline.preprocessing.build import MOST_LANES, Settings, build_data_set
from pipeline.preprocessing.killable_pool import Limits
from pipeline.preprocessing.mpi_ranks import Ranks, cores_of_this_process, num_ranks, open_ranks
from pipeline.runtime.command import (
    DefaultsFormatter,
    Parser,
    flag_type,
    run_command,
    said_by_rank_0,
)
from pipeline.runtime.files import write_json
from pipeline.runtime.tables import print_lines
from pipeline.scores.cache import default_folder, usable_folder
from pipeline.scores.counted_rules import with_unit
from pipeline.scores.formats import MIDI_READERS, MUSIC21, Reading
from pipeline.sources.catalogue import NAMED_SOURCES, list_sources
from pipeline.vocabulary.conditions import CONDITIONS, MEANING, parse_conditions
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.registry import KINDS, Vocabulary


def _share(text: str) -> float:
    """0.1 for '0.1' and '10%'."""
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def _pitches(text: str) -> tuple[int, int]:
    """(36, 81) for '36:81'."""
    lowest, _, highest = text.partition(":")
    return int(lowest), int(highest)


# The flags that are options of a vocabulary, by the same names.
OPTIONS = (
    "steps_per_quarter", "voices", "mark_moved", "velocity_bins", "instruments", "conditions",
)  # fmt: skip


def _vocabulary(flags: argparse.Namespace) -> Vocabulary:
    """The vocabulary of these flags. Raises ValueError for a flag of another vocabulary."""
    make = KINDS[flags.vocabulary]
    options: dict[str, Any] = {}
    for name in OPTIONS:
        value = getattr(flags, name)
        if value is None or value is False or value == ():
            continue
        if name not in signature(make).parameters:
            raise ValueError(
                f"--{name.replace('_', '-')} says nothing to --vocabulary {flags.vocabulary}: "
                "leave it out, or use the other vocabulary"
            )
        options[name] = value
    if flags.pitches:
        options |= zip(("lowest_pitch", "highest_pitch"), flags.pitches, strict=True)
    if make is EventVocabulary and "steps_per_quarter" in options:
        steps = options["steps_per_quarter"]
        options |= {"max_shift": 4 * steps, "max_duration": 8 * steps}  # one and two bars of 4/4
    return make(**options)


class _ListSources(argparse.Action):
    """Flag that prints the named data sets and exits, whatever the other flags are."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print_lines(list_sources())
        parser.exit()


def parse_arguments(argv: Sequence[str] | None) -> tuple[Settings, Path | None]:
    """The settings of these flags, and the file for the summary."""
    parser = Parser(
        description=(__doc__ or "").partition("\n")[0].removeprefix("Command: "),
        formatter_class=DefaultsFormatter,
    )
    add = parser.add_argument
    add(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a folder, a score, a .zip or .tar of scores, or: "
        + ", ".join(map(str, NAMED_SOURCES.values())),
    )
    add("--list-sources", action=_ListSources, help="what each data set needs, from where; exit")
    add("--out", type=Path, required=True, help="folder to write; it appears when complete")
    add("--processes", type=int, default=cores_of_this_process(), help="parsers of this process")
    add("--timeout", type=float, default=60.0, help="processor seconds for one file")
    add("--max-memory", type=float, default=Limits().memory_gib, help="GiB for one process")
    add(
        "--max-rejects",
        type=flag_type(_share, "a share or a number of files, such as 10% or 5"),
        default="10%",
        help="files, and tunes of books, that may fail: share or number",
    )
    add(
        "--num-lanes",
        type=int,
        help="streams of pieces; workers must divide them (default: "
        f"{MOST_LANES}, or fewer where the train pieces are fewer)",
    )
    add("--num-shards", type=int, default=0, help="files per split; 0: of about 100 MB")
    share = flag_type(_share, "a share, such as 0.1 or 10%")
    add(
        "--valid",
        type=share,
        default="10%",
        help="share for validation, of pieces without an official split",
    )
    add("--test", type=share, default="10%", help="the same for the final test")
    add("--seed", type=int, default=0, help="decides the splits and the order in the shards")
    add("--midi-reader", choices=MIDI_READERS, default=MUSIC21, help="symusic is the fast one")
    add("--expand-repeats", action="store_true", help="notation: play repeats as they are written")
    add("--no-cache", action="store_true", help="read notation again that was read before")
    add("--vocabulary", choices=tuple(KINDS), default="events", help="how notes become ids")
    add("--steps-per-quarter", type=int, help="time grid (default: events 12, grid 4)")
    add("--voices", type=int, help="grid: voices in a frame (default: 4)")
    add(
        "--mark-moved",
        action="store_true",
        help="grid: a network is told which pieces training transposed, and composes as the others",
    )
    pitches = flag_type(_pitches, "the lowest and the highest MIDI key, such as 36:81")
    add("--pitches", type=pitches, metavar="LOW:HIGH", help="MIDI keys (default: by vocabulary)")
    add("--velocity-bins", type=int, help="events: levels of loudness (default: 0, none)")
    add("--instruments", action="store_true", help="events: keep programs and percussion")
    add(
        "--conditions",
        type=flag_type(parse_conditions),
        default=(),
        metavar="NAME,...",
        help="events: labels to ask a model for: "
        + ", ".join((*CONDITIONS, *MEANING))
        + " (default: none)",
    )
    add("--force", action="store_true", help="replace a data set of other settings")
    add("--json", type=Path, metavar="FILE", help="write the summary there too")
    flags = parser.parse_args(argv)
    settings = Settings(
        sources=tuple(flags.sources),
        out=flags.out,
        vocabulary=_vocabulary(flags),
        num_lanes=MOST_LANES if flags.num_lanes is None else flags.num_lanes,
        fewer_lanes=flags.num_lanes is None,
        num_shards=flags.num_shards,
        seed=flags.seed,
        valid=flags.valid,
        test=flags.test,
        limits=Limits(flags.timeout, flags.max_memory),
        num_processes=flags.processes,
        max_rejects=flags.max_rejects,
        force=flags.force,
        reading=Reading(flags.midi_reader, flags.expand_repeats),
        cache=None if flags.no_cache else default_folder(),
    )
    return settings, flags.json


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print the contents of the data set, the rejected files and the changed notes."""
    pieces, tokens = summary["pieces"], summary["tokens"]
    lines = [f"{summary['out']}: {sum(pieces.values())} pieces from {summary['files']} files"]
    for split in SPLITS:
        counts = f"{pieces[split]:8} pieces {tokens[split]:12} tokens"
        lines.append(f"  {split:5} {counts}, longest {summary['longest'][split]}")
    if notes := notes_in_words(summary["notes"]):
        lines.append(f"  notes: {notes}")
    adjustments = summary["adjustments"]
    changed = changes_alone(adjustments) if notes else adjustments
    for title, by_rule in (("rejected", summary["rejects"]), ("adjusted", changed)):
        lines += [f"  {title}: {count} {with_unit(what)}" for what, count in by_rule.items()]
    print_lines([*lines, f"  {summary['seconds']:.1f} seconds"])


def run(argv: Sequence[str] | None) -> None:
    """Preprocess as the flags say; under mpirun all ranks parse and the first one writes."""
    with said_by_rank_0():
        settings, json_file = parse_arguments(argv)
    if num_ranks() > 1:
        with open_ranks() as ranks:
            if ranks is not None:
                write_data_set(settings, json_file, ranks)
    else:
        write_data_set(settings, json_file)


def write_data_set(settings: Settings, json_file: Path | None, ranks: Ranks | None = None) -> None:
    """Write the data set and print its summary."""
    if settings.cache is not None:
        usable_folder(settings.cache)
    summary = build_data_set(settings, ranks)
    print_summary(summary)
    if json_file is not None:
        write_json(json_file, summary)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code of the command."""
    return run_command(lambda: run(argv))


if __name__ == "__main__":
    sys.exit(main())
