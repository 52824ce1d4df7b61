"""The primer of a piece: the music that the composer continues, from a file or notes by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from model.composing.given_voice import require_pitches
from pipeline.runtime.tables import print_line
from pipeline.scores.bars import bar_lines, signatures_from
from pipeline.scores.counted_rules import ADD, PITCHES_BEYOND, with_unit
from pipeline.scores.notes import DRUMS, Score, opening, sort_notes
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.registry import Vocabulary


def read_primer(
    text: str,
    vocabulary: Vocabulary,
    bars: int | None = None,
    beats_per_bar: int = 4,
    say: Callable[[str], None] = print_line,
) -> Score:
    """The primer as the vocabulary can express it, from a file or from notes; reports changes.

    With `bars` only so many of its bars, counted from its first note.
    Raises ValueError for a file that is missing, no score or without pitches, and for a word that
    is no note.
    """
    from pipeline.scores.formats import SCORE_SUFFIXES
    from pipeline.scores.reading import notes_from_names, read_score

    path = Path(text)
    is_file = path.suffix.lower() in SCORE_SUFFIXES
    if is_file and not path.is_file():
        raise ValueError(f"primer {path} does not exist. Give a score file, or notes: 'C4 E4 G4'")
    try:
        score = read_score(path) if is_file else notes_from_names(text)
    except ValueError as error:
        raise ValueError(f"primer {text!r}: {error}") from None
    require_pitches(score, f"--primer {text}")
    if bars is not None:  # what is reported is of these bars
        has_drums = isinstance(vocabulary, EventVocabulary) and vocabulary.instruments
        counted = score.notes[has_drums | (score.notes["program"] != DRUMS)]
        start = int(counted["onset"].min(initial=score.end))
        score = opening(score, start + bars * beats_per_bar * score.resolution)
    fitted, adjustments = vocabulary.fit(score)
    for rule, count in adjustments.items():
        of_notes = "" if rule in ADD | {PITCHES_BEYOND} else f" of {score.notes.size} notes"
        say(f"primer: {with_unit(rule)}: {count}{of_notes}")
    if bars is None:
        return fitted
    bar = beats_per_bar * fitted.resolution
    if fitted.end <= (bars - 1) * bar:
        say(f"primer: it has {-(-fitted.end // bar)} bars; all are taken")
    return opening(fitted, bars * bar)  # a note may have been rounded to the end of the bars


def without_primer(score: Score, primer: Score, bar: int) -> Score:
    """What was composed after the primer, from a bar line on.

    Where no bar line is known, one stands every `bar` grid steps. A note of the primer that is
    still held after its end begins anew there.
    """
    key = ["onset", "program", "pitch"]
    given = set(primer.notes[key].tolist())
    is_given = np.array([row in given for row in score.notes[key].tolist()], bool)
    held = score.notes[is_given & (score.notes["onset"] + score.notes["duration"] > primer.end)]
    held["duration"] -= primer.end - held["onset"]
    held["onset"] = primer.end
    notes = np.concatenate([score.notes[~is_given], held])
    first = int(notes["onset"].min(initial=primer.end))
    start = last_bar_line(score, first, bar)
    notes["onset"] -= start
    metres = signatures_from(score.time_signatures, score.resolution, start, max(score.end, 1))
    return replace(score, notes=sort_notes(notes), time_signatures=metres)


def last_bar_line(score: Score, step: int, bar: int) -> int:
    """The last bar line at or before a step; bars are of `bar` steps if the score has none."""
    lines = bar_lines(score.time_signatures, score.resolution, step + 1)
    return lines[-1][0] if lines else step // bar * bar
