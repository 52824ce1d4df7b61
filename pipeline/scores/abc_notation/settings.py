"""What the fields K:, M:, L: and I: set: for a tune in its header, for a voice in the music."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from fractions import Fraction

from pipeline.scores.abc_notation.fields import (
    FREE_METRE,
    Metre,
    default_unit_length,
    read_metre,
    read_unit_length,
)
from pipeline.scores.abc_notation.keys import Shifts, read_key
from pipeline.scores.notes import DRUMS

# How far an accidental lasts within the bar (I:propagate-accidentals); the standard's is "pitch".
NOT_AT_ALL, SAME_OCTAVE, ALL_OCTAVES = PROPAGATION = ("not", "octave", "pitch")
PERCUSSION_CHANNEL = 10  # as users of MIDI count
# They change notes, each in its own program's way.
OTHER_DIRECTIVES = ("abc-include", "beginabc", "transpose", "map", "voicemap", "pitch")
OTHER_MIDI_DIRECTIVES = ("drummap", "voice")
SETTING_FIELDS = frozenset("KMLI")


@dataclass
class Setting:
    """What decides how a note is read."""

    key: dict[str, int] = field(default_factory=dict)  # letter -> semitones up
    metre: Metre = FREE_METRE
    unit_length: Fraction | None = None  # quarters; None: as the metre says
    shifts: dict[str, int] = field(default_factory=dict)  # semitones by name of what shifts
    propagation: str = ALL_OCTAVES
    ratio: tuple[int, int] = (3, 1)  # of the two notes of a broken rhythm
    program: int = 0
    breaks_lines_by_mark: bool = False  # I:linebreak !: then `!` encloses no decoration

    def for_voice(self, shifts: Shifts) -> Setting:
        """A copy that a voice may change. The unit length no longer follows the metre."""
        return replace(
            self,
            unit_length=self.unit_length or default_unit_length(self.metre),
            shifts={**self.shifts, **shifts},
        )

    def set(self, letter: str, value: str) -> None:
        """Obey a field. Raises ValueError naming what it cannot read."""
        if letter == "K":
            key, shifts = read_key(value)
            self.key = self.key if key is None else key
            self.shifts.update(shifts)
        elif letter == "M":
            self.metre = read_metre(value)
        elif letter == "L":
            self.unit_length = read_unit_length(value)
        else:
            assert letter == "I"
            self._obey_directive(value)

    def _obey_directive(self, text: str) -> None:
        name, *values = text.split() or [""]
        if name == "propagate-accidentals":
            if values[:1] not in [[choice] for choice in PROPAGATION]:
                raise ValueError(f"directive {text}")
            self.propagation = values[0]
        elif name == "linebreak":
            self.breaks_lines_by_mark = "!" in values
        elif name == "MIDI" and values:
            self._obey_midi_directive(values[0], values[1:], text)
        elif name in OTHER_DIRECTIVES:
            raise ValueError(f"directive {text}")

    def _obey_midi_directive(self, name: str, values: list[str], text: str) -> None:
        """Obey what abc2midi calls `%%MIDI`; most of it is about loudness and accompaniment."""
        numbers = [int(value) for value in values if re.fullmatch(r"[+-]?\d+", value)]
        if name in ("transpose", "rtranspose") and numbers:
            before = self.shifts.get("midi", 0) if name == "rtranspose" else 0
            self.shifts["midi"] = before + numbers[0]
        elif name == "ratio" and len(numbers) == 2 and min(numbers) > 0:
            self.ratio = (numbers[0], numbers[1])
        elif name == "program" and numbers and 0 <= numbers[-1] <= 127:
            self.program = numbers[-1]
        elif name == "channel" and numbers:
            self.program = DRUMS if numbers[0] == PERCUSSION_CHANNEL else self.program % DRUMS
        elif name in ("nobarlines", "barlines"):
            self.propagation = NOT_AT_ALL if name == "nobarlines" else ALL_OCTAVES
        elif name in ("transpose", "rtranspose", "ratio", "program", *OTHER_MIDI_DIRECTIVES):
            raise ValueError(f"directive {text}")
