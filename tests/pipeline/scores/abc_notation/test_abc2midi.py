"""The ABC reader against abc2midi, over all tunes in ABC that music21 brings along.

abc2midi (Debian's `abcmidi`) gets the tunes without what it plays in its own way: ornaments,
staccato, swing by the name of a dance, chord symbols, grace notes, repeats.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mido
import music21
import pytest

from pipeline.scores.abc_notation.body import read_body
from pipeline.scores.abc_notation.performance import sounding_rows
from pipeline.scores.abc_notation.reader import decode
from pipeline.scores.abc_notation.tunes import split_tunes

pytestmark = pytest.mark.skipif(not shutil.which("abc2midi"), reason="abc2midi is not installed")
CORPUS = Path(music21.common.getCorpusFilePath())
TOLERANCE = 0.02  # quarters: abc2midi cuts a tick off each note and rounds tuplets
GRACE = "with -NGRA abc2midi forgets the accidentals of grace notes, which without it last"
QUINTUPLET = "abc2midi plays (5 and (9 in 3/4 and 3/8 in the time of 3, as in compound metres"
UNEQUAL_CHORD = "abc2midi gives all notes of a chord the length of the first one"
LINE_BREAK = "abc2midi drops the notes between two `!`, which end lines in old files"
EXPLAINED = {
    "airdsAirs/book5.abc#0860": GRACE,
    "airdsAirs/book6.abc#1101": GRACE,
    "airdsAirs/book6.abc#1091": LINE_BREAK,
    "airdsAirs/book6.abc#1110": LINE_BREAK,
    "oneills1850/0001-0050.abc#25": QUINTUPLET,
    "oneills1850/0051-0100.abc#71": QUINTUPLET,
    "oneills1850/0051-0100.abc#94": QUINTUPLET,
    "oneills1850/0101-0200.abc#174": QUINTUPLET,
    "oneills1850/1701-1780.abc#1766": UNEQUAL_CHORD,
    "ryansMammoth/DickCarrolsClog.abc#1": UNEQUAL_CHORD,
    "ryansMammoth/MugbyJimsHighlandFling.abc#1": UNEQUAL_CHORD,
    "ryansMammoth/HOnTheWabashJig.abc#1": GRACE,
}
# Inline fields stay; bar lines with their endings become |, decorations go.
LEFT_OUT = re.compile(
    r"(?P<field>\[[A-Za-z]:[^\]]*\])|(?P<bar>:*\[?\|[|:\]]*|::+)(?:\[?\d[\d,.-]*)?"
    r"|\[\d[\d,.-]*|[.~H-WYh-w]"
)
TITLED_ENDING = r'\["[^"]*"(?=[^\]]*\|)'  # abc2midi takes the bracket for that of a chord
Sounding = tuple[float, int, float]  # onset, pitch, length in quarters


class Comparison(NamedTuple):
    """What came of some tunes, by name."""

    equal: list[str]
    unequal: list[str]
    refused: dict[str, str]


def corpus_tunes() -> dict[Path, list[str]]:
    """The text of each tune in each file of the corpus."""
    return {
        path: re.split(r"(?m)^(?=X:)", decode(path.read_bytes()).replace("\r", ""))[1:]
        for path in sorted(CORPUS.rglob("*.abc"))
    }


def name_of(path: Path, text: str) -> str:
    return f"{path.relative_to(CORPUS)}#{text.splitlines()[0][2:].strip()}"


def read(text: str) -> list[Sounding]:
    """The notes but grace notes that our reader finds. Raises ValueError for a refused tune."""
    (tune,) = split_tunes(text)
    if tune.error:
        raise tune.error
    rows = []
    for voice in read_body(tune).voices.values():
        for bar in voice.bars:
            bar.chords = [chord for chord in bar.chords if chord.length]
        rows += sounding_rows(voice.bars, range(len(voice.bars)))
    return [(float(onset), pitch, float(length)) for onset, _, pitch, length, _ in rows]


def simplified(text: str, number: int) -> str:
    """A tune as abc2midi gets it."""
    lines, in_key = [f"X:{number}"], False
    for line in text.splitlines()[1:]:
        if re.match(r"[IRP]:", line):
            continue
        if in_key and not re.match(r"[A-Za-z]:(?![|:])|%", line):
            line = re.sub(rf'{TITLED_ENDING}|"[^"]*"|![^!\s|]+!', "", line)
            line = LEFT_OUT.sub(lambda found: found["field"] or ("|" if found["bar"] else ""), line)
        if line.strip():
            lines.append(line)
        if line.startswith("K:") and not in_key:
            in_key = True
            lines += ["%%MIDI trim 0/4", "%%MIDI chordattack 0"]
    return "\n".join(lines) + "\n"


def played(texts: list[str], folder: Path) -> Iterator[list[Sounding]]:
    """The notes of abc2midi's MIDI files of these tunes."""
    book = folder / "book.abc"
    book.write_text("\n".join(simplified(text, place) for place, text in enumerate(texts, 1)))
    command = ["abc2midi", book.name, "-NFER", "-NGRA", "-NGUI", "-silent"]
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    for place in range(1, len(texts) + 1):
        path = folder / f"book{place}.mid"
        yield notes_of(path)
        path.unlink(missing_ok=True)


def notes_of(path: Path) -> list[Sounding]:
    """The notes of a MIDI file, read by mido."""
    notes: list[Sounding] = []
    if not path.exists():
        return notes
    midi_file = mido.MidiFile(path)
    quarter = midi_file.ticks_per_beat
    for track in midi_file.tracks:
        now, sounding = 0, {}
        for message in track:
            now += message.time
            if message.type == "note_on" and message.velocity:
                sounding.setdefault((message.channel, message.note), []).append(now)
            elif message.type in ("note_on", "note_off"):
                onset = sounding[message.channel, message.note].pop(0)
                notes.append((onset / quarter, message.note, (now - onset) / quarter))
    return notes


def are_equal(ours: list[Sounding], theirs: list[Sounding]) -> bool:
    def order(note: Sounding) -> tuple[int, int, int]:
        return round(note[0] * 40), note[1], round(note[2] * 40)

    return len(ours) == len(theirs) and all(
        abs(one[0] - other[0]) < TOLERANCE
        and one[1] == other[1]
        and abs(one[2] - other[2]) < TOLERANCE
        for one, other in zip(sorted(ours, key=order), sorted(theirs, key=order), strict=True)
    )


def compare(tunes: dict[Path, list[str]], folder: Path) -> Comparison:
    comparison = Comparison([], [], {})
    for path, texts in tunes.items():
        ours: dict[str, list[Sounding]] = {}  # text -> notes
        for text in texts:
            try:
                ours[text] = read(text)
            except ValueError as error:
                comparison.refused[name_of(path, text)] = str(error)
        # The refused ones stay away: an octave that abc2midi finds in one is left on for the next.
        for text, theirs in zip(ours, played(list(ours), folder), strict=True):
            kind = comparison.equal if are_equal(ours[text], theirs) else comparison.unequal
            kind.append(name_of(path, text))
    return comparison


def test_tunes_drawn_from_all_collections_are_as_abc2midi_plays_them(tmp_path: Path) -> None:
    tunes = corpus_tunes()
    drawn = random.Random(17)
    sample = {path: drawn.sample(tunes[path], 1) for path in drawn.sample(sorted(tunes), 50)}
    for path in sorted(CORPUS.glob("essenFolksong/*.abc")) + sorted(CORPUS.glob("airds*/*.abc")):
        sample[path] = drawn.sample(tunes[path], 1)
    found = compare(sample, tmp_path)
    assert set(found.unequal) <= set(EXPLAINED)
    assert len(found.equal) >= 80


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_tunes_of_the_corpus_are_as_abc2midi_plays_them_but_for_what_is_explained(
    tmp_path: Path,
) -> None:
    tunes = corpus_tunes()
    found = compare(tunes, tmp_path)
    collections = sorted({path.parent.name for path in tunes})
    for part in collections:
        counts = [sum(name.startswith(part) for name in kind) for kind in found]
        print(f"{part}: {counts[0]} equal, {counts[1]} unequal, {counts[2]} refused")
    for name, reason in found.refused.items():
        print(f"refused: {name}: {reason}")
    assert set(found.unequal) == set(EXPLAINED)
    assert len(found.equal) >= 0.99 * sum(len(texts) for texts in tunes.values())
