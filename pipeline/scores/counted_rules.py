"""The rules by which notes are left out, added or changed, as manifests and reports name them.

Of every piece it holds that

    notes of the file + notes added = notes of the data set + notes left out.
"""

from __future__ import annotations

from collections.abc import Mapping

# Notes of the file that the data set does not have.
AFTER_END = "notes after End of Track left out"  # MIDI
CHORD_TRACK = "notes of the chord track left out"  # ComMU
CUES = "cue notes left out"  # MusicXML
FINGERED = "fingers of harmonics left out"  # MusicXML: where a string is stopped or touched
LATER_TIMES = "notes of later times left out"  # MusicXML: a passage that is repeated
PASSED_OVER = "notes that repeats pass over"  # notation, with --expand-repeats
PERCUSSION = "percussion left out"
DOUBLED = "doubled notes merged"  # vocabulary events
JOINED = "repeated or doubled notes joined"  # vocabulary grid
BEYOND = "notes that begin beyond the voices left out"
LEAVE_OUT = {
    *(AFTER_END, CHORD_TRACK, CUES, FINGERED, LATER_TIMES, PASSED_OVER),
    *(PERCUSSION, DOUBLED, JOINED, BEYOND),
}

# Notes of the data set that the file does not have.
PLAYED_AGAIN = "notes played again by repeats"  # notation, with --expand-repeats
BEGUN_AGAIN = "notes begun again in another voice or later"  # vocabulary grid
ADD = {PLAYED_AGAIN, BEGUN_AGAIN}

# Notes that were changed; the last four count pitches in frames, bars, and pieces.
NEVER_ENDED = "notes never ended"
ENDED_BEFORE = "notes ended before they begin"
LOOSE_TIES = "ties without another end"
PRINTED_TIES = "notes tied in print alone"
ROUNDED = "tones between two keys rounded"  # MusicXML
GIVEN_ONE_STEP = "notes given one step"
MOVED = "pitch moved by octaves"
CUT = "overlaps of one key cut"
CLIPPED = "duration clipped"
PITCHES_BEYOND = "pitches beyond the voices left out"
UNEQUAL_BARS = "bars that their parts fill unequally"
OTHER_METRES = "bars whose time signature is unknown or has no token"
NO_METRE = "pieces without a bar line"


def with_unit(rule: str) -> str:
    """The rule in words, with what it counts where that is neither notes nor named in it."""
    return f"{rule} (counted in every frame)" if rule == PITCHES_BEYOND else rule


def num_left_out(adjustments: Mapping[str, int]) -> int:
    """How many notes these adjustments (rule -> notes) leave out, less those that they add."""
    left_out = 0
    for rule, count in adjustments.items():
        left_out += count if rule in LEAVE_OUT else -count if rule in ADD else 0
    return left_out


def by_repeats(num_written: int, num_played: int) -> dict[str, int]:
    """The adjustment of a score whose repeats are played, from its numbers of notes."""
    more = num_played - num_written
    return {PLAYED_AGAIN if more > 0 else PASSED_OVER: abs(more)} if more else {}
