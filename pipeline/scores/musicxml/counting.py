"""How many notes a MusicXML file has, counted without reading their times."""

from __future__ import annotations

from xml.etree import ElementTree


def count_attacks(root: ElementTree.Element) -> tuple[int, int]:
    """Number of <note> elements that sound, and how many of them are the end of a tie.

    Rests and cue notes do not sound. A grace note is struck even where it ends a tie.
    """
    num_sounding = num_tied = 0
    for note in root.iter("note"):
        if note.find("rest") is not None or note.find("cue") is not None:
            continue
        num_sounding += 1
        ties = [*note.iter("tie"), *note.iter("tied")]
        ends = any(tie.get("type") in ("stop", "continue") for tie in ties)
        num_tied += ends and note.find("grace") is None
    return num_sounding, num_tied
