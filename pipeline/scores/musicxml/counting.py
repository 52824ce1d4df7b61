"""How many notes a MusicXML file has, counted without reading their times."""

from __future__ import annotations

from xml.etree import ElementTree


def count_attacks(root: ElementTree.Element) -> tuple[int, int, int]:
    """Numbers of <note> elements: those that sound, those of them that end a tie, the cue notes.

    Rests and cue notes do not sound. A grace note is struck even where it ends a tie.
    """
    num_sounding = num_tied = num_cues = 0
    for note in root.iter("note"):
        if note.find("rest") is not None:
            continue
        if note.find("cue") is not None:
            num_cues += 1
            continue
        num_sounding += 1
        ties = [*note.iter("tie"), *note.iter("tied")]
        ends = any(tie.get("type") in ("stop", "continue") for tie in ties)
        num_tied += ends and note.find("grace") is None
    return num_sounding, num_tied, num_cues
