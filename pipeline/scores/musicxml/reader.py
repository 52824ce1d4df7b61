"""The notes that sound in a MusicXML file.

Source: MusicXML 4.0, https://www.w3.org/2021/06/musicxml40/.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from xml.etree import ElementTree

from pipeline.scores.bars import signatures_of_bars
from pipeline.scores.counted_rules import LOOSE_TIES, PRINTED_TIES, UNEQUAL_BARS, by_repeats
from pipeline.scores.musicxml.counting import count_attacks
from pipeline.scores.musicxml.document import load_document
from pipeline.scores.musicxml.instruments import part_instruments
from pipeline.scores.musicxml.part_reader import Bar, Head, PartReader
from pipeline.scores.musicxml.playing_order import playing_order, signs_of
from pipeline.scores.notes import CountError, Score
from pipeline.scores.quarters import NotatedRow, grace_rows, score_in_quarters

ROUNDING = Fraction(1, 8)  # quarters by which rounded tuplets may miss the length of a bar


def read_musicxml(path: Path, *, expand_repeats: bool = False) -> Score:
    """The sounding notes of a MusicXML file.

    - The bars of all parts begin together: a bar is as long as the part that fills it most, which
      may be less than the time signature says.
    - Tied notes are one note, across voices and staves of a part; a tie without its other end is
      ignored. A tie that is printed only (<tied> without <tie>) is a tie, as in MuseScore and
      verovio; music21 and partitura strike the note again.
    - A length is the duration, or the printed one where the file's divisions are too coarse for it.
    - Grace notes come right before the beat, a twelfth of a quarter each, or shorter where the
      piece has no room before it. Cue notes are silent, and so are the `fingered_notes` of
      artificial harmonics; music21, verovio, partitura and MuseScore play them.
    - A sharp or flat that is printed without <alter> sounds, as in music21, verovio and partitura.
    - Parts of transposing instruments sound where they sound, not where they are written.
    - Repeated sections are read once, without the notes that only sound when they are repeated
      (`time-only`). With `expand_repeats` they are read in `playing_order`.
    - Chord symbols are not played; dynamics and ornaments are not realised.
    - The instrument of a note, or else of its part, gives the program and the key of percussion.
    - The first tempo mark is the tempo of the score: of several at one time the last one, and one
      that is said to sound goes before those that are printed.
    - A tone between two keys is rounded to the nearest key, halves up.

    The notes read are held against `count_attacks`. Raises ValueError where the numbers differ, and
    naming the bar where the file contradicts itself.
    """
    root = load_document(path)
    parts = root.findall("part")
    instruments = part_instruments(root)
    tally: Counter[str] = Counter()
    music = [
        PartReader(instruments.get(part.get("id", ""), {}), tally).bars(part) for part in parts
    ]
    lengths = _bar_lengths(music, parts, tally)

    # As written: this is what the count is of.
    score = _laid_out(music, lengths, range(len(lengths)), tally)
    num_sounding, num_tied, num_silent = count_attacks(root)
    num_continuing = num_tied - tally[LOOSE_TIES]
    num_struck, num_written = num_sounding - num_continuing, score.notes.size
    if num_written != num_struck:
        detail = f": {num_sounding} that sound, of which {num_continuing} continue a tie"
        raise CountError(num_struck, num_written, detail)
    order = list(range(len(lengths)))
    if expand_repeats:
        order = playing_order(signs_of([part.findall("measure") for part in parts]))
        if order != list(range(len(lengths))):
            _check_times(parts)
            score = _laid_out(music, lengths, order, Counter())
            tally.update(by_repeats(num_written, score.notes.size))
    metres = [bar.metre for bar in max(music, key=len, default=())]
    return replace(
        score,
        adjustments=+tally,
        notes_read=num_struck + num_silent,
        time_signatures=signatures_of_bars((lengths[place], metres[place]) for place in order),
    )


def _check_times(parts: Sequence[ElementTree.Element]) -> None:
    """Raise ValueError naming the first bar with notes that do not sound whenever it is played."""
    for measure in (measure for part in parts for measure in part.findall("measure")):
        if any(note.get("time-only") for note in measure.iter("note")):
            raise ValueError(
                f"bar {measure.get('number', '?')}: notes that sound at certain times only "
                "(time-only), with --expand-repeats; write the repeats out"
            )


def _laid_out(
    music: Sequence[Sequence[Bar]],
    lengths: Sequence[Fraction],
    order: Sequence[int],
    tally: Counter[str],
) -> Score:
    """The score of the bars in this order."""
    starts = list(accumulate((lengths[place] for place in order), initial=Fraction(0)))
    rows: list[NotatedRow] = []
    tempos: list[tuple[Fraction, bool, float]] = []  # onset, is heard, quarters per minute
    for bars in music:
        played = [
            (start, bars[place])
            for start, place in zip(starts[:-1], order, strict=True)
            if place < len(bars)
        ]
        rows += _part_rows(played, tally)
        tempos += [
            (start + mark.onset, mark.is_heard, mark.rate)
            for start, bar in played
            for mark in bar.tempos
        ]
    tempos.sort(key=lambda mark: mark[:2])  # at one time those that are heard come last
    return score_in_quarters(rows, [(float(onset), rate) for onset, _, rate in tempos])


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
