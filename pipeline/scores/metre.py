"""The metre that a score file names: how many quarters a bar has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.runtime.tables import print_line
from pipeline.scores.formats import MIDI_SUFFIXES

Metre = tuple[int, int]
COMMON = (4, 4)
MOST_BEATS = 64  # quarters in a bar


def quarters_per_bar(path: Path, say: Callable[[str], None] = print_line) -> int:
    """The quarters in a bar of a score file, by the time signature that holds for longest.

    It is 4 where the file names none, or one that is no whole number of quarters. All but a file
    that is in 4/4 throughout is told by `say`.
    """
    metres = _metres(path)
    if not metres:
        say(f"no time signature is found in {path}: a bar is counted as 4 quarters")
        return 4
    numerator, denominator = max(metres, key=metres.__getitem__)
    quarters, rest = divmod(4 * numerator, denominator)
    fits = not rest and 1 <= quarters <= MOST_BEATS
    quarters = quarters if fits else 4
    if not fits or metres.keys() != {COMMON}:
        names = ", ".join(f"{upper}/{lower}" for upper, lower in metres)
        count = f"{quarters} quarter{'s' if quarters > 1 else ''}"
        say(f"{path} is in {names}: a bar is counted as {count}; --beats-per-bar changes that")
    return quarters


def _metres(path: Path) -> dict[Metre, float]:
    """How long each time signature of a file holds, in its order.

    A MIDI file is in 4/4 where it names none, by the standard. So is a file that cannot be read:
    whoever reads its notes says why.
    """
    if path.suffix.lower() in MIDI_SUFFIXES:
        return _metres_of_midi(path)
    from pipeline.scores.reading import read_score  # it loads music21

    try:
        score = read_score(path)
    except (ValueError, OSError):
        return {COMMON: 0}
    found = [(onset, (upper, lower)) for onset, upper, lower in score.time_signatures if upper]
    last = max((onset for onset, _ in found), default=0.0)
    return _lengths(found, max(score.end / score.resolution, last))


def _metres_of_midi(path: Path) -> dict[Metre, float]:
    import mido

    try:
        tracks = mido.MidiFile(path, clip=True).tracks
    except (OSError, EOFError, ValueError, IndexError, mido.KeySignatureError):
        return {COMMON: 0}
    found: list[tuple[float, Metre]] = [(0, COMMON)]
    end = 0
    for track in tracks:
        tick = 0
        for event in track:
            tick += event.time
            if event.type == "time_signature":
                found.append((tick, (event.numerator, event.denominator)))
        end = max(end, tick)
    return _lengths(found, end)


def _lengths(found: list[tuple[float, Metre]], end: float) -> dict[Metre, float]:
    """How long each metre holds; `found` are the times at which they begin, in any order."""
    found = sorted(found, key=lambda change: change[0])
    lengths: dict[Metre, float] = {}
    for (begin, metre), (following, _) in zip(found, [*found, (end, COMMON)][1:], strict=True):
        if following > begin or begin >= end:
            lengths[metre] = lengths.get(metre, 0) + following - begin
    return lengths
