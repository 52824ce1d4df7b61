"""Bar lines: as the readers of all formats find them, and as they are written again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import mido
import music21
import pytest

from pipeline.scores.bars import bar_lines, measures_of, time_signatures_of
from pipeline.scores.formats import MIDI_READERS, Reading
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.musicxml.writer import write_musicxml
from pipeline.scores.notes import Score, TimeSignature, make_notes
from pipeline.scores.reading import read_midi, read_score
from tests.pipeline.scores.test_reading import midi_bytes

GRID = 12  # steps of a quarter
QUARTER = "<note><pitch><step>C</step><octave>4</octave></pitch><duration>{}</duration></note>"
MEASURE = '<measure number="{}"{}>{}{}</measure>'
NOTE = bytes([0, 0x90, 60, 80, 96, 60, 0])  # a quarter


def musicxml(*bars: tuple[str, int, str]) -> str:
    """Bars with one note each: the time signature or nothing, its quarters, further attributes."""
    measures = []
    for number, (metre, quarters, more) in enumerate(bars):
        upper, _, lower = metre.partition("/")
        time = f"<time><beats>{upper}</beats><beat-type>{lower}</beat-type></time>" if metre else ""
        attributes = f"<attributes><divisions>1</divisions>{time}</attributes>"
        measures.append(MEASURE.format(number, more, attributes, QUARTER.format(quarters)))
    return (
        '<score-partwise><part-list><score-part id="P1"/></part-list><part id="P1">'
        f"{''.join(measures)}</part></score-partwise>"
    )


def known(score: Score) -> list[TimeSignature]:
    return [(onset, upper, lower) for onset, upper, lower in score.time_signatures]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "upbeat.abc",  # an eighth, then 6/8 to quarter 3.5, then two bars of 3/4
            "X:1\nM:6/8\nL:1/8\nK:C\nG|CDE FGA|[M:3/4]C2D2E2|F6|\n",
            [(0, 6, 8), (0.5, 6, 8), (3.5, 3, 4)],
        ),
        (
            "half_bars.abc",
            "X:1\nM:4/4\nL:1/4\nK:C\nCDE:|F|CDEF|\n",
            [(0, 4, 4), (3, 4, 4), (4, 4, 4)],
        ),
        ("free.abc", "X:1\nM:none\nL:1/4\nK:C\nCD|E|\n", [(0, 0, 0), (2, 0, 0)]),
        (
            "upbeat.krn",
            "**kern\n*M4/4\n4c\n=1\n1d\n=2\n*M3/4\n2.e\n=3\n2.f\n==\n*-\n",
            [(0, 4, 4), (1, 4, 4), (5, 3, 4)],
        ),
        ("unmetred.krn", "**kern\n=1\n1c\n=2\n2d\n==\n*-\n", [(0, 0, 0), (4, 0, 0)]),
        ("no_bars.krn", "**kern\n1c\n2d\n*-\n", []),
        (
            "upbeat.musicxml",
            musicxml(("4/4", 1, ' implicit="yes"'), ("", 4, ""), ("6/8", 3, ""), ("", 3, "")),
            [(0, 4, 4), (1, 4, 4), (5, 6, 8)],
        ),
        # A bar that is longer than its time signature has that of its length.
        (
            "long.musicxml",
            musicxml(("4/4", 4, ""), ("", 6, ""), ("", 4, "")),
            [(0, 4, 4), (4, 6, 4), (10, 4, 4)],
        ),
        ("unmetred.musicxml", musicxml(("", 4, ""), ("", 4, "")), [(0, 0, 0), (4, 0, 0)]),
    ],
)
def test_notation_says_where_its_bars_begin(
    name: str, text: str, expected: list[TimeSignature], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    assert known(read_score(tmp_path / name)) == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        # A quarter and three quarters, twice, then a whole bar.
        ("a.abc", "X:1\nM:4/4\nL:1/4\nK:C\n|:C|DEF:|GABc|\n", [0, 1, 4, 5, 8]),
        ("a.krn", "**kern\n*M3/4\n=1!|:\n2.c\n=2:|!\n*M2/4\n2d\n==\n*-\n", [0, 3, 6]),
    ],
)
def test_bars_are_repeated_with_their_notes(
    name: str, text: str, expected: list[float], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    score = read_score(tmp_path / name, Reading(expand_repeats=True))
    lines = bar_lines(score.time_signatures, GRID, score.end * GRID // score.resolution)
    assert [onset / GRID for onset, _, _ in lines] == expected


def event(delta: int, upper: int, power: int) -> bytes:
    return bytes([delta, 0xFF, 0x58, 4, upper, power, 24, 8])


@pytest.mark.parametrize(
    ("tracks", "expected"),
    [
        ([NOTE], []),
        ([event(0, 6, 3) + NOTE], [(0, 6, 8)]),
        # An upbeat of a quarter as notation programs write it, and a real bar of three quarters.
        ([event(0, 1, 2) + event(96, 4, 2) + NOTE], [(0, 4, 4), (1, 4, 4)]),
        ([event(0, 3, 2) + event(96, 4, 2) + NOTE], [(0, 3, 4), (1, 4, 4)]),
        # Of two at one time the last; in several tracks.
        ([event(0, 2, 2) + event(0, 3, 2), event(96, 3, 2) + NOTE], [(0, 3, 4), (1, 3, 4)]),
        # Before the first one no bar is known.
        ([event(96, 2, 1) + NOTE], [(1, 2, 2)]),
        # No time signatures.
        ([event(0, 0, 2) + event(96, 4, 7) + NOTE], [(0, 0, 0), (1, 0, 0)]),
        ([bytes([0, 0xFF, 0x58, 1, 4]) + NOTE], []),
        ([event(0, 1, 6) + NOTE], [(0, 0, 0)]),
        ([event(0, 1, 4) + event(24, 2, 2) + NOTE], [(0, 2, 4), (0.25, 2, 4)]),
        ([NOTE + event(0, 3, 3) + event(48, 4, 2)], [(1, 3, 8), (1.5, 4, 4)]),
    ],
)
def test_both_readers_of_midi_find_the_same_time_signatures(
    tracks: list[bytes], expected: list[TimeSignature]
) -> None:
    pytest.importorskip("symusic")
    for reader in MIDI_READERS:
        assert known(read_midi(midi_bytes(*tracks, division=96), reader)) == expected


def test_the_tracks_of_format_2_have_their_bars_one_after_the_other() -> None:
    score = read_midi(midi_bytes(event(0, 3, 2) + NOTE, event(0, 2, 2) + NOTE, kind=2, division=96))
    assert known(score) == [(0, 3, 4), (1, 2, 4)]


WRITTEN = {
    "an upbeat of a quarter": [(0, 4, 4), (1, 4, 4)],
    "an upbeat of three quarters": [(0, 4, 4), (3, 4, 4)],
    "an upbeat of a third of a quarter": [(0, 3, 4), (1 / 3, 3, 4)],
    "six eighths": [(0, 6, 8)],
    "an upbeat to six eighths": [(0, 6, 8), (0.5, 6, 8)],
    "seven eighths": [(0, 7, 8)],
    "changes": [(0, 4, 4), (4, 6, 8), (10, 2, 2)],
    "a bar in two halves": [(0, 4, 4), (7, 4, 4), (8, 4, 4)],
    "a first bar of its own": [(0, 3, 4), (3, 4, 4)],
    "an upbeat in another metre": [(0, 12, 8), (2, 4, 4)],
}


def tune(signatures: Sequence[TimeSignature]) -> Score:
    """Sixteen quarters of eighths, with a note over bar lines and silence."""
    rows = [(6 * i, 0, 60 + i % 7, 6, 80) for i in range(32) if i not in (9, 10, 11, 12)]
    rows.append((10, 40, 50, 60, 80))
    return Score(make_notes(rows), GRID, time_signatures=signatures)


def write_xml(score: Score, path: Path) -> None:
    write_musicxml(score, path, "A piece")


@pytest.mark.parametrize("signatures", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize(("suffix", "write"), [("mid", write_midi), ("musicxml", write_xml)])
def test_bars_are_written_as_they_are(
    signatures: list[TimeSignature],
    suffix: str,
    write: Callable[[Score, Path], None],
    tmp_path: Path,
) -> None:
    score = tune(signatures)
    write(score, tmp_path / f"piece.{suffix}")
    again = read_score(tmp_path / f"piece.{suffix}")
    lines = [bar_lines(s.time_signatures, GRID, score.end) for s in (score, again)]
    assert lines[1] == lines[0] and len(lines[0]) >= 4
    heard = [
        sorted((n["onset"] * GRID // s.resolution, n["pitch"]) for n in s.notes)
        for s in (score, again)
    ]
    assert heard[1] == heard[0]


def test_music21_finds_the_bars_of_a_written_score(tmp_path: Path) -> None:
    """An independent reader: an upbeat, 6/8 from quarter 5 on, 2/2 from quarter 11 on."""
    score = tune([(0, 4, 4), (1, 4, 4), (5, 6, 8), (11, 2, 2)])
    write_xml(score, tmp_path / "piece.musicxml")
    parsed = music21.converter.parse(tmp_path / "piece.musicxml", forceSource=True)
    bars = list(parsed.parts[0].getElementsByClass(music21.stream.Measure))
    assert [bar.offset for bar in bars] == [0, 1, 5, 8, 11, 15]
    assert [bar.number for bar in bars] == [0, 1, 2, 3, 4, 5]
    marks = [(bar.number, bar.timeSignature.ratioString) for bar in bars if bar.timeSignature]
    assert marks == [(0, "4/4"), (2, "6/8"), (4, "2/2")]


def test_eighths_of_six_eighths_are_beamed_in_threes(tmp_path: Path) -> None:
    rows = [(6 * i, 0, 60, 6, 80) for i in range(12)]
    write_xml(Score(make_notes(rows), GRID, time_signatures=[(0, 6, 8)]), tmp_path / "a.musicxml")
    parsed = music21.converter.parse(tmp_path / "a.musicxml", forceSource=True)
    kinds = [note.beams.getTypes()[0] for note in parsed.flatten().notes]
    assert kinds == ["start", "continue", "stop"] * 4


def test_midi_has_a_time_signature_where_a_bar_is_not_expected(tmp_path: Path) -> None:
    def events(signatures: list[TimeSignature]) -> list[tuple[int, int, int]]:
        write_midi(tune(signatures), tmp_path / "piece.mid")
        found, tick = [], 0
        for message in mido.MidiFile(tmp_path / "piece.mid").tracks[0]:
            tick += message.time
            if message.type == "time_signature":
                found.append((tick, message.numerator, message.denominator))
        return found

    assert events([(0, 6, 8)]) == [(0, 6, 8)]
    # An upbeat is a bar of its own where it has a time signature and is at most half a bar.
    assert events([(0, 4, 4), (1, 4, 4)]) == [(0, 1, 4), (480, 4, 4)]
    assert events([(0, 4, 4), (3, 4, 4)]) == [(0, 4, 4), (1440, 4, 4)]


def test_an_unknown_time_signature_is_written_as_long_as_its_bar() -> None:
    score = tune([(0, 0, 0), (5.5, 0, 0), (11, 4, 4)])
    bars = [(bar.start, bar.metre) for bar in measures_of(score, 4)]
    assert bars == [(0, (11, 8)), (66, (11, 8)), (132, (4, 4)), (180, (4, 4))]


def test_bar_lines_and_time_signatures_say_the_same() -> None:
    # 5/16 on a grid of 2 steps a quarter: 1.25 quarters are 2.5 steps, which are rounded up.
    lines = bar_lines([(0, 5, 16), (5, 3, 4)], 2, 20)
    assert lines == [(0, 5, 16), (3, 5, 16), (5, 5, 16), (8, 5, 16), (10, 3, 4), (16, 3, 4)]
    assert time_signatures_of(lines, 2) == [(0, 5, 16), (5, 3, 4)]
