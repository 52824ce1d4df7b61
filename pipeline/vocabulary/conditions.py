"""Conditions: labels of a piece as tokens, so that a trained model can be asked for them.

Key, tempo, valence and arousal are one token each. They stand before the piece's first note and
again every four quarters, since most windows begin within a piece. A chord token stands where the
chord begins, and with the others. Value 0 of every condition is UNKNOWN: the label is missing or
not understood, or, when composing, not asked for. (Control tokens: Keskar et al. 2019, CTRL.)
They are learned like notes, and count in the loss per token.

A metre token stands at every bar line and says the time signature of the bar that begins there.
It is thus the Bar token of REMI (Huang and Yang 2020, arXiv 2002.00212) and the TimeSig token that
MidiTok puts after each Bar, in one: neither says anything without the other. As in both, the first
one stands before the first note; a first bar that is shorter than its time signature is an upbeat.
Where no bar is known there is one token at the start, UNKNOWN. The metre is that of the score, not
a label of the data set.

Values are made of the labels of `labels.Features`, which are also the form of a wish:

key      24: the root's pitch class, major before minor
tempo    10: quarter notes a minute by quarters of an octave; bounds 42, 50, 60, 71, 85, 101, ...
valence  2: below 0, above 0; the same for arousal. 0 is neutral and counts as UNKNOWN
chords   the root's pitch class, quality by quality; a bracket (C7(b9)) and the bass after a slash
         are ignored
metre    the time signature as it is written, of `METRES`; others are UNKNOWN
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.runtime.command import meant
from pipeline.scores.labels import Features

UNKNOWN = 0
QUARTERS = 4  # from one place with all conditions to the next, from the first note on
CHORDS, METRE = "chords", "metre"
CONDITIONS = ("key", "tempo", "valence", "arousal", CHORDS, METRE)
MEANING = {"emotion": ("valence", "arousal")}  # names that stand for several

NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"": 0, "#": 1, "b": -1}
ROOTS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MODES = ("major", "minor")
TEMPO_BOUNDS = 60 * 2 ** (np.arange(-2, 7) / 4)  # quarter notes a minute
# Quality -> other ways to write it, and larger chords that count as it.
QUALITIES = {
    "": ("maj", "M", "add9", "add2"),
    "m": ("min", "-", "madd9"),
    "7": ("9", "11", "13"),
    "maj7": ("M7", "maj9", "M9"),
    "m7": ("min7", "-7", "m9", "m11", "mM7", "madd2"),  # the last two as in ComMU's own code
    "dim": ("o", "°"),
    "m7b5": ("ø", "ø7", "min7b5"),
    "dim7": ("o7", "°7"),
    "aug": ("+", "+7", "aug7", "7#5"),
    "sus4": ("sus", "7sus4", "9sus4"),
    "sus2": (),
    "6": ("69", "6/9"),
    "m6": ("min6", "-6"),
}
QUALITY_NUMBER = {
    spelling: number
    for number, (quality, others) in enumerate(QUALITIES.items())
    for spelling in (quality, *others)
}
# All but one bar in a thousand of VGMIDI, of music21's chorales and of O'Neill's 1,850 tunes.
METRES = (
    *((upper, 1) for upper in (3, 4)),
    *((upper, 2) for upper in (2, 3, 4, 6)),
    *((upper, 4) for upper in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12)),
    *((upper, 8) for upper in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)),
    *((upper, 16) for upper in (6, 9, 12)),
)
NO_CHORD = ("", "N", "NN", "NC", "N.C.")
SYMBOL = re.compile(r"([A-G])([#b]?)(.*?)(?:\(.*\))?(?:/[A-G][#b]?)?")

VALUES: dict[str, tuple[str, ...]] = {
    "key": tuple(f"{root} {mode}" for mode in MODES for root in ROOTS),
    "tempo": tuple(
        f"{low:.0f} to {high:.0f}" if low else f"below {high:.0f}"
        for low, high in zip([0, *TEMPO_BOUNDS], [*TEMPO_BOUNDS, np.inf], strict=True)
    ),
    "valence": ("negative", "positive"),
    "arousal": ("calm", "excited"),
    CHORDS: tuple(f"{root}{quality}" for quality in QUALITIES for root in ROOTS),
    METRE: tuple(f"{upper}/{lower}" for upper, lower in METRES),
}


def parse_conditions(text: str) -> tuple[str, ...]:
    """The names in a text such as 'key,emotion', each once and in the order of `CONDITIONS`.

    Raises ValueError for an unknown name, and for a text without a name.
    """
    asked = [name.strip() for name in text.split(",") if name.strip()]
    found = {part for name in asked for part in MEANING.get(name, (name,))}
    if wrong := sorted(found - set(CONDITIONS)):
        known = (*CONDITIONS, *MEANING)
        raise ValueError(
            f"{wrong[0]!r} is no condition; there are {', '.join(known)}{meant(wrong[0], known)}"
        )
    if not found:
        raise ValueError(f"{text!r} names no condition; leave the flag out for none")
    return tuple(name for name in CONDITIONS if name in found)


def parse_key(text: str) -> str:
    """'A minor' for 'A minor', 'a minor' and 'Am'; 'Bb major' for 'Bb'. Raises ValueError."""
    match = re.fullmatch(r"([A-Ga-g])([#b]?)\s*(m|min|minor|maj|major|)", text.strip())
    if not match:
        raise ValueError(f"{text!r} is no key; needed is one such as 'A minor', Bb or f#m")
    mode = MODES[match[3] in ("m", "min", "minor")]
    return f"{ROOTS[_pitch_class(match[1].upper(), match[2])]} {mode}"


def parse_emotion(text: str) -> tuple[float, float]:
    """(-0.5, 1.0), valence and arousal, for '-0.5,1'. Raises ValueError."""
    try:
        valence, arousal = map(float, text.split(","))
    except ValueError:
        raise ValueError(f"{text!r}: needed are valence and arousal, such as 1,-1") from None
    if not (-1 <= valence <= 1 and -1 <= arousal <= 1):
        raise ValueError(f"{text!r}: valence and arousal must be -1 to 1")
    return valence, arousal


def parse_chords(text: str) -> tuple[str, ...]:
    """The chord symbols of 'C G Am F'. Raises ValueError for other words, or if all are N.C."""
    symbols = tuple(text.split())
    numbers = [chord_number(symbol) for symbol in symbols]
    if not any(numbers):
        raise ValueError(f"{text!r} names no chord; needed are symbols such as 'C G Am F'")
    return symbols


def parse_metre(text: str) -> str:
    """'6/8' for '6/8' and ' 6 / 8'. Raises ValueError for a time signature that has no token."""
    metre = re.sub(r"\s", "", text)
    if metre not in VALUES[METRE]:
        raise ValueError(f"{text!r}: needed is a time signature among {', '.join(VALUES[METRE])}")
    return metre


def num_values(condition: str) -> int:
    """Number of values of a condition, UNKNOWN included."""
    return 1 + len(VALUES[condition])


def value_name(condition: str, number: int) -> str:
    """'C major' of key 1; '?' of UNKNOWN."""
    return VALUES[condition][number - 1] if number else "?"


def roots(condition: str) -> np.ndarray:
    """[num_values] int32: the pitch class of each value of a key or chord; -1 for others."""
    found = np.full(num_values(condition), -1, np.int32)
    if condition in ("key", CHORDS):
        found[1:] = np.arange(len(found) - 1) % len(ROOTS)
    return found


def number_of(condition: str, features: Features) -> int:
    """The value of a condition, other than chords and metre, of a piece with these features."""
    label = getattr(features, condition)
    if label is None:
        return UNKNOWN
    if condition == "key":
        root, _, mode = label.partition(" ")
        return 1 + len(ROOTS) * MODES.index(mode) + _pitch_class(root[:1], root[1:])
    if condition == "tempo":
        return 1 + int(np.searchsorted(TEMPO_BOUNDS, label, side="right"))
    return UNKNOWN if label == 0 else 1 + int(label > 0)


def metre_of(name: str) -> tuple[int, int]:
    """The upper and the lower number of a metre by its name, such as 6/8."""
    return METRES[VALUES[METRE].index(name)]


def metre_number(upper: int, lower: int) -> int:
    """The value of a time signature; UNKNOWN for one that is not among `METRES`."""
    return 1 + METRES.index((upper, lower)) if (upper, lower) in METRES else UNKNOWN


def chord_number(symbol: str) -> int:
    """The value of a chord symbol such as C, Am7, F#dim, Bb/D; UNKNOWN for 'N.C.'.

    Raises ValueError for any other text, and for a quality that is not among `QUALITIES`.
    """
    if symbol in NO_CHORD:
        return UNKNOWN
    match = SYMBOL.fullmatch(symbol)
    if not match or match[3] not in QUALITY_NUMBER:
        qualities = ", ".join(quality for quality in QUALITIES if quality)
        raise ValueError(
            f"{symbol!r} is no chord; needed: a root (C, F#, Bb) and nothing or one of {qualities}"
        )
    return 1 + len(ROOTS) * QUALITY_NUMBER[match[3]] + _pitch_class(match[1], match[2])


def is_understood(symbol: str) -> bool:
    """Whether the chord symbol has a value."""
    try:
        chord_number(symbol)
    except ValueError:
        return False
    return True


def check_labelled(conditions: Sequence[str], pieces: Iterable[Features]) -> None:
    """Raise ValueError if no piece of a data set has the label of a condition.

    The metre is no label: it is read with the notes.
    """
    known = {METRE}
    for features in set(pieces):
        known |= features.known().keys()
    if missing := [name for name in conditions if name not in known]:
        raise ValueError(
            f"--conditions {missing[0]}: no piece of these sources has that label; labels here: "
            f"{', '.join(name for name in CONDITIONS if name in known) or 'none'}. See "
            "--list-sources"
        )


def check_wishes(wishes: Features, conditions: Sequence[str]) -> None:
    """Raise ValueError if a wish is not among the conditions that a model was trained with."""
    if missing := [name for name in wishes.known() if name not in conditions]:
        raise ValueError(
            f"this model cannot be asked for {missing[0]}: it was trained with "
            f"{', '.join(conditions) or 'no condition'}. Preprocess a data set that has the label "
            "with --conditions, and train on that"
        )


def _pitch_class(letter: str, accidental: str) -> int:
    return (NATURALS[letter] + ACCIDENTALS[accidental]) % len(ROOTS)
