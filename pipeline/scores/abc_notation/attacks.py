"""Attacks in an ABC text, counted without reading it: what the reader's notes are held against.

Nothing here knows of lengths, keys, metres or repeats, and nothing is shared with the reader.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict

TUNE = re.compile(r"^(?=X:)", re.MULTILINE)
KEY = re.compile(r"^K:.*\n?", re.MULTILINE)
NO_MUSIC = re.compile(r"(?:[H-WYh-wy+]:|[A-GXZa-gxz]:(?![|:]))")
TEXT_BLOCK = re.compile(r"^%%begin(\w+).*?^%%end\1", re.MULTILINE | re.DOTALL)
LINE_END = re.compile(r"\r\n?")
COMMENT = re.compile(r"(?<!\\)%.*")  # \% is a character of a text
MARKED_LINE_BREAKS = re.compile(r"^(?:I:|%%)linebreak.*!", re.MULTILINE)  # no decorations then
VOICE_LINE = re.compile(r"V:\s*(\S+)")
VOICE_MARK = re.compile(r"\[V:\s*([^\s\]]+)[^\]]*\]")
SILENT = re.compile(r'"[^"]*"|![^!\s|]+!|\+[^+\s|]+\+|\[[A-Za-z]:[^\]]*\]')
GRACE = re.compile(r"\{([^}]*)\}")
NOTE = re.compile(r"([_^=]*)([A-Ga-g])([,']*)[\d/]*(-?)")
WORD = re.compile(rf"\[[^\]|:\d][^\[\]|]*\][\d/]*-?|{NOTE.pattern}|[zxZX]|-|::|[|&]")
Name = tuple[str, int]  # letter, octave


def count_attacks(text: str) -> list[int]:
    """How many notes each tune of a file strikes, as written: ties, voices and grace notes counted.

    A note that is tied to has been struck before. Repeats are not played out.
    """
    before, *tunes = TUNE.split(TEXT_BLOCK.sub("%", LINE_END.sub("\n", text)))
    return [_attacks(tune) for tune in tunes or [before]]


def _attacks(tune: str) -> int:
    if MARKED_LINE_BREAKS.search(tune):
        tune = tune.replace("!", " ")
    music = KEY.split(tune, maxsplit=1)[-1]
    voices: dict[str, str] = defaultdict(str)
    voice = next(iter(VOICE_LINE.findall(tune.removesuffix(music))), "1")
    for line in music.split("\n"):
        if not line.strip():
            break
        if found := VOICE_LINE.match(line):
            voice = found[1]
        elif not NO_MUSIC.match(line) and not line.startswith("%"):
            # [music, name of a voice, its music, name, music, ...]
            first, *others = VOICE_MARK.split(COMMENT.sub("", line))
            voices[voice] += first + "\n"
            for name, written in zip(others[::2], others[1::2], strict=True):
                voice = name
                voices[voice] += written + "\n"
    return sum(_attacks_of_voice(written) for written in voices.values())


def _attacks_of_voice(written: str) -> int:
    written = SILENT.sub(" ", written)
    attacks = sum(len(NOTE.findall(graces)) for graces in GRACE.findall(written))
    held: dict[int, Counter[Name]] = defaultdict(Counter)  # by layer: those that & separates
    signs: dict[str, str] = {}  # letter -> the last accidental written in the bar
    layer, last = 0, Counter[Name]()
    for found in WORD.finditer(GRACE.sub(" ", written)):
        word = found[0]
        if word in ("|", "::"):
            layer = 0
            signs = {letter: signs[letter] for letter, _ in last if letter in signs}
        elif word == "&":
            layer += 1
        elif word == "-":
            held[layer] = last.copy()
        elif word in "zxZX":
            held[layer], last = Counter(), Counter()
        else:
            before, held[layer], last = held[layer], Counter(), Counter()
            for sign, letter, octaves, tie in NOTE.findall(word):
                name = letter.upper(), letter.islower() + octaves.count("'") - octaves.count(",")
                is_other = bool(sign) and sign != signs.get(name[0], sign)
                if before[name] and not is_other:
                    before[name] -= 1
                else:
                    attacks += 1
                if sign:
                    signs[name[0]] = sign
                last[name] += 1
                if tie or word.endswith("]-"):
                    held[layer][name] += 1
            if word.endswith("-"):
                held[layer] = last.copy()
    return attacks
