"""Humdrum's codes of instruments -> General MIDI programs and percussion keys.

Codes: Huron, "The Humdrum User Guide", appendix 2, https://www.humdrum.org/guide/append2/.
Where General MIDI lacks an instrument, the program is that of music21, or of its family.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.scores.notes import DRUMS

VOICE = 53


class Sound(NamedTuple):
    """What plays the notes of a spine."""

    program: int  # General MIDI program, or DRUMS
    drum_key: int | None = None  # General MIDI percussion key of a single drum


# *IC: an instrument's class, for spines that name no instrument.
CLASSES = {
    "vox": Sound(VOICE),
    "str": Sound(48),
    "ww": Sound(0),
    "bras": Sound(61),
    "klav": Sound(0),
    "perc": Sound(0),
}

VOICES = (
    "soprn cant mezzo calto tenor barit bass vox alto feme male nfant recit lyrsp drmsp colsp "
    "ctenor heltn lyrtn bspro bscan false castr"
)
# fmt: off
PROGRAMS = {
    "piano": 0, "forte": 0, "rhode": 4, "cemba": 6, "clavi": 7, "clest": 8, "glock": 9, "vibra": 11,
    "marim": 12, "xylo": 13, "campn": 14, "caril": 14, "chime": 14, "dulc": 15, "hammd": 16,
    "organ": 19, "porta": 19, "reedo": 20, "accor": 21, "ctina": 21, "armon": 22, "guitr": 24,
    "liuto": 24, "archl": 24, "tiorb": 24, "quitr": 24, "eguit": 26, "bguit": 33, "violn": 40,
    "violp": 40, "viola": 41, "viold": 41, "viols": 41, "violt": 42, "violb": 42, "cello": 42,
    "cbass": 43, "arpa": 46, "timpa": 47, "mando": 48, "ukule": 48, "tromp": 56, "cornt": 56,
    "flugh": 56, "tromt": 57, "tromb": 57, "tuba": 58, "cor": 60, "saxN": 64, "saxS": 64,
    "saxA": 65, "saxT": 66, "saxR": 67, "saxB": 67, "oboe": 68, "oboeD": 68, "cangl": 69,
    "fagot": 70, "fag_c": 70, "clars": 71, "clarp": 71, "clara": 71, "clarb": 71, "baset": 71,
    "calam": 71, "picco": 72, "fife": 72, "flt": 73, "flt_a": 73, "flt_b": 73, "fltds": 74,
    "fltdn": 74, "fltda": 74, "fltdt": 74, "fltdb": 74, "panpi": 75, "shaku": 77, "ocari": 79,
    "sitar": 104, "banjo": 105, "shami": 106, "koto": 107, "bagpS": 109, "bagpI": 109,
    "steel": 114, **dict.fromkeys(VOICES.split(), VOICE),
}
DRUM_KEYS = {
    "bdrum": 35, "sdrum": 38, "tom": 41, "crshc": 49, "piatt": 49, "ridec": 51, "tambn": 54,
    "spshc": 55, "marac": 70, "trngl": 81, "casts": 85,
}
# fmt: on
INSTRUMENTS = {
    **{code: Sound(program) for code, program in PROGRAMS.items()},
    **{code: Sound(DRUMS, key) for code, key in DRUM_KEYS.items()},
}
