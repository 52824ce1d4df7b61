"""The time signatures of a MIDI file, by which both readers know its bars."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from pipeline.scores.bars import UNKNOWN_METRE, Metre, bar_length
from pipeline.scores.notes import TimeSignature

LARGEST_POWER = 6  # of two: the lower number of a time signature is at most 64
SHORTEST = Fraction(1, 2)  # quarters of a bar: a broken file must not have a million bars


def time_signatures(
    changes: Iterable[tuple[int, int, int]], resolution: int
) -> list[TimeSignature]:
    """The time signatures of (onset, upper number, power of two of the lower), in a file's order.

    A bar begins at each of them; of several at one onset the last counts. An upper number of 0 and
    a lower one over 64 are unknown, and so are bars of less than an eighth. A first bar of another
    time signature that is alone and at most half as long as the next one is an upbeat, which
    notation programs write so: it gets the next one's numbers. No time signature is known before
    the first one, or in a file without any.
    """
    latest = {
        onset: (upper, 1 << power) if upper and power <= LARGEST_POWER else UNKNOWN_METRE
        for onset, upper, power in changes
    }
    found = [(onset, latest[onset]) for onset in sorted(latest)]
    if len(found) > 1:
        (onset, first), (following, second) = found[:2]
        if UNKNOWN_METRE not in (first, second):
            is_alone = Fraction(following - onset, resolution) == bar_length(*first)
            if is_alone and 2 * bar_length(*first) <= bar_length(*second):
                found[0] = onset, second
    return [
        (onset / resolution, *(metre if _is_long_enough(metre) else UNKNOWN_METRE))
        for onset, metre in found
    ]


def _is_long_enough(metre: Metre) -> bool:
    return metre != UNKNOWN_METRE and bar_length(*metre) >= SHORTEST
