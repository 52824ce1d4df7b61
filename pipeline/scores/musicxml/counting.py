"""How many notes a MusicXML file has, counted without reading their times."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from pipeline.scores.musicxml.harmonics import fingered_notes

NUMBER = re.compile(r"\d+")


def count_attacks(root: ElementTree.Element) -> tuple[int, int, int]:
    """Numbers of <note> elements: those that sound, those of them that end a tie, the silent ones.

    Silent are cue notes, those of a repeated section that are not for its first time, and the
    `fingered_notes` of harmonics. Rests are no notes. A grace note is struck even where it ends
    a tie.
    """
    num_sounding = num_tied = num_silent = 0
    fingered = fingered_notes(root.iter("note"))
    for note in root.iter("note"):
        if note.find("rest") is not None:
            continue
        is_later = "1" not in NUMBER.findall(note.get("time-only", "1"))
        if note.find("cue") is not None or is_later or note in fingered:
            num_silent += 1
            continue
        num_sounding += 1
        ties = [*note.iter("tie"), *note.iter("tied")]
        ends = any(tie.get("type") in ("stop", "continue") for tie in ties)
        num_tied += ends and note.find("grace") is None
    return num_sounding, num_tied, num_silent
