"""Harmonics of strings: which notes are heard, and which only say where fingers are.

Source: MusicXML 4.0, https://www.w3.org/2021/06/musicxml40/musicxml-reference/elements/harmonic/.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element

# From the pitch that is heard to those of the stopped and of the touched string.
NEAREST_TO_SOUND = ("sounding-pitch", "base-pitch", "touching-pitch")


def fingered_notes(notes: Iterable[Element]) -> set[Element]:
    """Those of <note> elements, in their order, that are not heard.

    A chord may print a harmonic several times: where its string is stopped, where it is touched,
    and as it sounds. The sounding notes are heard, or the others where a chord has none of them:
    the stopped ones, before those that are touched.
    """
    fingered: set[Element] = set()
    chord: list[tuple[int, Element]] = []  # of harmonics: place in NEAREST_TO_SOUND, note
    for note in notes:
        if note.find("chord") is None:
            chord = []
        harmonic = note.find("notations/technical/harmonic")
        if harmonic is None:
            continue
        named = [
            place for place, tag in enumerate(NEAREST_TO_SOUND) if harmonic.find(tag) is not None
        ]
        if named:
            chord.append((named[0], note))
            heard = min(place for place, _ in chord)
            fingered |= {other for place, other in chord if place > heard}
    return fingered
