"""The notes that sound in a MusicXML file.

Source: MusicXML 4.0, https://www.w3.org/2021/06/musicxml40/.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from pipeline.scores.counted_rules import (
    CUES,
    LOOSE_TIES,
    PRINTED_TIES,
    UNEQUAL_BARS,
    by_repeats,
)
from pipeline.scores.musicxml.counting import count_attacks
from pipeline.scores.musicxml.document import load_document
from pipeline.scores.musicxml.instruments import Instrument, part_instruments
from pipeline.scores.musicxml.playing_order import playing_order, signs_of
from pipeline.scores.notes import DEFAULT_VELOCITY, DRUMS, CountError, Score
from pipeline.scores.quarters import NotatedRow, grace_rows, score_in_quarters

SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
TYPES = ["maxima", "long", "breve", "whole", "half", "quarter", "eighth", "16th", "32nd"]
TYPES += ["64th", "128th", "256th", "512th", "1024th"]
QUARTERS = {name: Fraction(32) / 2**place for place, name in enumerate(TYPES)}
ROUNDING = Fraction(1, 8)  # quarters by which rounded tuplets may miss the length of a bar


class Head(NamedTuple):
    """A note of a bar; grace notes have length 0."""

    onset: Fraction  # quarters from the start of the bar
    length: Fraction
    program: int
    pitch: int
    velocity: int
    voice: str
    in_chord: bool
    ends_tie: bool
    starts_tie: bool
    in_print: bool  # the tie that it ends is printed, but not said to sound


@dataclass
class Bar:
    """The notes of a part in one bar, and how much of the bar the part fills."""

    heads: list[Head] = field(default_factory=list)
    filled: Fraction = Fraction(0)  # quarters, by notes and rests
    by_notes: Fraction = Fraction(0)  # where the last note ends
    rests: Fraction = Fraction(0)  # length of a rest for the whole bar
    is_implicit: bool = False  # not counted by musicians
    nominal: Fraction | None = None  # length by the time signature
    tempos: list[tuple[Fraction, float]] = field(default_factory=list)  # onset, quarters per minute


def read_musicxml(path: Path, *, expand_repeats: bool = False) -> Score:
    """The sounding notes of a MusicXML file.

    - The bars of all parts begin together: a bar is as long as the part that fills it most, which
      may be less than the time signature says.
    - Tied notes are one note, across voices and staves of a part; a tie without its other end is
      ignored. A tie that is printed only (<tied> without <tie>) is a tie, as in MuseScore and
      verovio; music21 and partitura strike the note again.
    - Grace notes come right before the beat, a twelfth of a quarter each, or shorter where the
      piece has no room before it. Cue notes are silent.
    - Parts of transposing instruments sound where they sound, not where they are written.
    - Repeated sections are read once. With `expand_repeats` they are read in `playing_order`.
    - Chord symbols are not played; dynamics and ornaments are not realised.
    - The instrument of a note, or else of its part, gives the program and the key of percussion.
    - The first tempo mark is the tempo of the score.

    The notes read are held against `count_attacks`. Raises ValueError where the numbers differ, and
    naming the bar where the file contradicts itself.
    """
    root = load_document(path)
    parts = root.findall("part")
    instruments = part_instruments(root)
    tally: Counter[str] = Counter()
    music = [
        _PartReader(instruments.get(part.get("id", ""), {}), tally).bars(part) for part in parts
    ]
    lengths = _bar_lengths(music, parts, tally)

    # As written: this is what the count is of.
    score = _laid_out(music, lengths, range(len(lengths)), tally)
    num_sounding, num_tied, num_cues = count_attacks(root)
    num_continuing = num_tied - tally[LOOSE_TIES]
    num_struck, num_written = num_sounding - num_continuing, score.notes.size
    if num_written != num_struck:
        detail = f": {num_sounding} that sound, of which {num_continuing} continue a tie"
        raise CountError(num_struck, num_written, detail)
    if expand_repeats:
        order = playing_order(signs_of([part.findall("measure") for part in parts]))
        if order != list(range(len(lengths))):
            score = _laid_out(music, lengths, order, Counter())
            tally.update(by_repeats(num_written, score.notes.size))
    return replace(score, adjustments=+tally, notes_read=num_struck + num_cues)


def _laid_out(
    music: Sequence[Sequence[Bar]],
    lengths: Sequence[Fraction],
    order: Sequence[int],
    tally: Counter[str],
) -> Score:
    """The score of the bars in this order."""
    starts = list(accumulate((lengths[place] for place in order), initial=Fraction(0)))
    rows: list[NotatedRow] = []
    tempos: list[tuple[float, float]] = []
    for bars in music:
        played = [
            (start, bars[place])
            for start, place in zip(starts[:-1], order, strict=True)
            if place < len(bars)
        ]
        rows += _part_rows(played, tally)
        tempos += [(float(start + at), bpm) for start, bar in played for at, bpm in bar.tempos]
    return score_in_quarters(rows, tempos)


def _part_rows(played: Sequence[tuple[Fraction, Bar]], tally: Counter[str]) -> list[NotatedRow]:
    """The notes of a part, given the start of each bar, with ties joined and grace notes placed."""
    graces: dict[str, dict[Fraction, list[list[tuple[int, int, int]]]]] = defaultdict(dict)
    heads: list[tuple[Fraction, Head]] = []
    for start, bar in played:
        for head in bar.heads:
            if head.length:
                heads.append((start + head.onset, head))
                continue
            chords = graces[head.voice].setdefault(start + head.onset, [])
            if not head.in_chord or not chords:
                chords.append([])
            chords[-1].append((head.program, head.pitch, head.velocity))

    # A tie is joined where a note of its key ends as the other begins.
    rows: list[NotatedRow] = []
    tied: dict[tuple[int, int, Fraction], list[tuple[int, str]]] = defaultdict(list)
    for onset, head in sorted(heads, key=lambda found: found[0]):
        before = tied[head.program, head.pitch, onset] if head.ends_tie else []
        if before:
            same_voice = [found for found in before if found[1] == head.voice]
            found = (same_voice or before)[0]
            before.remove(found)
            row = found[0]
            rows[row] = (*rows[row][:3], rows[row][3] + head.length, rows[row][4])
            tally[PRINTED_TIES] += head.in_print
        else:
            tally[LOOSE_TIES] += head.ends_tie
            row = len(rows)
            rows.append((onset, head.program, head.pitch, head.length, head.velocity))
        if head.starts_tie:
            tied[head.program, head.pitch, onset + head.length].append((row, head.voice))
    for chords_at in graces.values():
        rows += grace_rows(chords_at)
    return rows


def _bar_lengths(
    music: Sequence[Sequence[Bar]], parts: Sequence[ElementTree.Element], tally: Counter[str]
) -> list[Fraction]:
    """The length of each bar: that of the part that fills it most.

    Rests beyond the length by the time signature count only where all parts go beyond it: some
    converters leave a rest too many in one part. In an implicit bar, such as the half of a bar
    after a repeat sign, a part without notes does not count: its rest may be that of a whole bar.
    Raises ValueError where parts have other bars.
    """
    longest = max(music, key=len, default=())
    numbers = [[measure.get("number") for measure in part.findall("measure")] for part in parts]
    for own in numbers:
        if len(own) < len(longest) and own != max(numbers, key=len)[: len(own)]:
            raise ValueError(f"parts of {len(longest)} and {len(own)} bars with other numbers")
    lengths = []
    for place in range(len(longest)):
        bars = [bars[place] for bars in music if place < len(bars)]
        with_notes = [bar for bar in bars if bar.by_notes]
        if any(bar.is_implicit for bar in bars) and with_notes:
            bars = with_notes
        filled = [bar.filled for bar in bars if bar.filled]
        nominal = next((bar.nominal for bar in bars if bar.nominal), Fraction(4))
        rests = max(bar.rests for bar in bars)
        if filled:
            by_rests = min(max(filled), max(nominal, min(filled)))
            length = max(by_rests, max(bar.by_notes for bar in bars))
        else:
            length = min(rests, nominal) if rests else nominal
        if abs(length - nominal) < ROUNDING:
            length = nominal
        tally[UNEQUAL_BARS] += any(abs(length - other) >= ROUNDING for other in filled)
        lengths.append(length)
    return lengths


class _PartReader:
    """Reads the bars of a part: what holds from one bar to the next, and the place within a bar."""

    def __init__(self, instruments: dict[str, Instrument], tally: Counter[str]) -> None:
        self.instruments = instruments
        self.tally = tally
        self.divisions = Fraction(1)  # of a quarter
        self.nominal: Fraction | None = None
        self.transposition: dict[str | None, int] = {}  # staff, or None for all -> semitones

    def bars(self, part: ElementTree.Element) -> list[Bar]:
        """The bars of the part. Raises ValueError naming a bar that cannot be read."""
        bars = []
        for measure in part.findall("measure"):
            try:
                bars.append(self._bar(measure))
            except (ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
                number = measure.get("number", "?")
                raise ValueError(f"bar {number} of part {part.get('id')}: {error}") from None
        return bars

    def _bar(self, measure: ElementTree.Element) -> Bar:
        bar = Bar(is_implicit=measure.get("implicit") == "yes")
        now = previous = Fraction(0)
        for element in measure:
            if element.tag == "note":
                is_chord = element.find("chord") is not None
                onset = previous if is_chord else now
                length = self._length(element)
                self._add_note(bar, element, onset, length)
                if not is_chord:
                    previous, now = now, now + length
                rest = element.find("rest")
                if rest is not None and rest.get("measure") == "yes":
                    bar.rests = max(bar.rests, length)
                else:
                    bar.filled = max(bar.filled, onset + length)
                    if rest is None:
                        bar.by_notes = max(bar.by_notes, onset + length)
            elif element.tag == "backup":
                now -= self._quarters(element)
                if now < 0:
                    raise ValueError(f"<backup> goes {-now} quarters before its start")
            elif element.tag == "forward":
                now += self._quarters(element)
                bar.filled = max(bar.filled, min(now, self.nominal or now))
            elif element.tag == "attributes":
                self._take_attributes(element)
            elif element.tag in ("direction", "sound"):
                bar.tempos += [(now, tempo) for tempo in _tempos(element)]
        bar.nominal = self.nominal
        return bar

    def _take_attributes(self, element: ElementTree.Element) -> None:
        if element.find("divisions") is not None:
            self.divisions = Fraction(element.findtext("divisions", "").strip())
        for time in element.findall("time"):
            total = Fraction(0)  # 3+2/8, 2/4 3/8
            for beats, unit in zip(time.findall("beats"), time.findall("beat-type"), strict=True):
                count = sum(int(number) for number in (beats.text or "").split("+"))
                total += Fraction(4 * count, int(unit.text or ""))
            self.nominal = total or None
        for transpose in element.findall("transpose"):
            semitones = int(transpose.findtext("chromatic", "0"))
            semitones += 12 * int(transpose.findtext("octave-change", "0"))
            staff = transpose.get("number")
            self.transposition = (
                {**self.transposition, staff: semitones} if staff else {None: semitones}
            )

    def _quarters(self, element: ElementTree.Element) -> Fraction:
        return Fraction(element.findtext("duration", "0").strip()) / self.divisions

    def _length(self, note: ElementTree.Element) -> Fraction:
        """Quarters that a note or rest lasts; 0 for grace notes."""
        if note.find("grace") is not None:
            return Fraction(0)
        if note.find("duration") is not None:
            return self._quarters(note)
        length = QUARTERS[note.findtext("type", "").strip()]
        length *= 2 - Fraction(1, 2 ** len(note.findall("dot")))
        change = note.find("time-modification")
        if change is not None:
            length *= Fraction(
                int(change.findtext("normal-notes", "1")), int(change.findtext("actual-notes", "1"))
            )
        return length

    def _add_note(
        self, bar: Bar, note: ElementTree.Element, onset: Fraction, length: Fraction
    ) -> None:
        if note.find("rest") is not None:
            return
        if note.find("cue") is not None:
            self.tally[CUES] += 1
            return
        program, pitch = self._program_and_pitch(note)
        said = {tie.get("type") for tie in note.findall("tie")}
        printed = {tied.get("type") for tied in note.iterfind("notations/tied")}
        ends_tie = bool((said | printed) & {"stop", "continue"})
        bar.heads.append(
            Head(
                onset,
                length,
                program,
                pitch,
                _velocity(note),
                note.findtext("voice", ""),
                note.find("chord") is not None,
                ends_tie,
                bool((said | printed) & {"start", "continue"}),
                "stop" not in said,
            )
        )

    def _program_and_pitch(self, note: ElementTree.Element) -> tuple[int, int]:
        chosen = note.find("instrument")
        instrument = self._instrument(chosen.get("id", "") if chosen is not None else "")
        unpitched, pitch = note.find("unpitched"), note.find("pitch")
        if unpitched is not None:
            if instrument.unpitched is not None:
                return DRUMS, instrument.unpitched
            step = unpitched.findtext("display-step", "B")
            octave = int(unpitched.findtext("display-octave", "4"))
            return DRUMS, _key(SEMITONES[step] + 12 * (octave + 1))
        if pitch is None:
            raise ValueError("a <note> that has no pitch and is no rest")
        staff = note.findtext("staff")
        transposition = self.transposition.get(staff, self.transposition.get(None, 0))
        written = SEMITONES[pitch.findtext("step", "").strip()] + float(
            pitch.findtext("alter", "0")
        )
        key = _key(written + 12 * (int(pitch.findtext("octave", "")) + 1) + transposition)
        return (DRUMS if instrument.is_percussion else instrument.program), key

    def _instrument(self, name: str) -> Instrument:
        """The instrument of a note, or the first of its part.

        Of several instruments the first one's key of percussion is not that of every note.
        """
        if name in self.instruments:
            return self.instruments[name]
        first = next(iter(self.instruments.values()), Instrument())
        return replace(first, unpitched=None) if len(self.instruments) > 1 else first


def _key(semitones: float) -> int:
    return min(max(math.floor(semitones + 0.5), 0), 127)


def _velocity(note: ElementTree.Element) -> int:
    """The velocity that a note names: 100 % is 90."""
    percentage = note.get("dynamics")
    velocity = math.floor(float(percentage) * 0.9 + 0.5) if percentage else 0
    return min(max(velocity, 0), 127) or DEFAULT_VELOCITY


def _tempos(element: ElementTree.Element) -> list[float]:
    """Quarters per minute that a <direction> or <sound> sets: as it sounds, else as printed."""
    sounding = [sound.get("tempo") for sound in element.iter("sound")]
    tempos = [float(tempo) for tempo in sounding if tempo]
    if not tempos:
        for mark in element.iter("metronome"):
            unit, number = mark.findtext("beat-unit"), mark.findtext("per-minute", "")
            if unit in QUARTERS and number.replace(".", "", 1).isdigit():
                dots = len(mark.findall("beat-unit-dot"))
                quarters = QUARTERS[unit] * (2 - Fraction(1, 2**dots))
                tempos.append(float(number) * float(quarters))
    return [tempo for tempo in tempos if tempo > 0]
