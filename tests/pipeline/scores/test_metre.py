"""How many quarters a bar of a score file has."""

from __future__ import annotations

from pathlib import Path

import mido
import pytest

from pipeline.scores.metre import quarters_per_bar


@pytest.mark.parametrize(
    ("metres", "quarters", "told"),
    [
        ([], 4, ""),  # 4/4, by the standard
        ([(0, 4, 4)], 4, ""),
        ([(0, 4, 2)], 8, "is in 4/2: a bar is counted as 8 quarters"),
        ([(0, 6, 8)], 3, "is in 6/8: a bar is counted as 3 quarters"),
        ([(0, 7, 8)], 4, "is in 7/8: a bar is counted as 4 quarters"),
        # An upbeat of a quarter is often written as a bar in 1/4.
        ([(0, 1, 4), (480, 3, 4)], 3, "is in 1/4, 3/4: a bar is counted as 3 quarters"),
        ([(960, 2, 4)], 2, "is in 4/4, 2/4: a bar is counted as 2 quarters"),
    ],
)
def test_the_metre_that_holds_for_longest_counts(
    metres: list[tuple[int, int, int]], quarters: int, told: str, tmp_path: Path
) -> None:
    track, now = mido.MidiTrack(), 0
    for tick, numerator, denominator in metres:
        metre = {"numerator": numerator, "denominator": denominator, "time": tick - now}
        track.append(mido.MetaMessage("time_signature", **metre))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=4800 - now))
    path = tmp_path / "piece.mid"
    mido.MidiFile(tracks=[track], ticks_per_beat=480).save(path)
    said: list[str] = []
    assert quarters_per_bar(path, said.append) == quarters
    told_lines = [line.partition("piece.mid ")[2].partition(";")[0] for line in said]
    assert told_lines == ([told] if told else [])


MUSICXML = (
    '<score-partwise xmlns="http://of.some/program"><part-list><score-part id="P1"/></part-list>'
    '<part id="P1"><measure number="1"><attributes><divisions>1</divisions><time><beats>{}</beats>'
    "<beat-type>{}</beat-type></time></attributes><note><pitch><step>G</step><octave>4</octave>"
    "</pitch><duration>3</duration></note></measure></part></score-partwise>"
)


@pytest.mark.parametrize(
    ("suffix", "text", "quarters", "told"),
    [
        ("abc", "X:1\nM:3/2\nL:1/4\nK:C\nCDEFGA|\n", 6, "3/2"),
        # music21 writes such bars as 1/4.
        ("abc", "X:1\nM:3/4\nL:1/4\nK:C\nCDE|[M:4/4]CDEF|CDEF|\n", 4, "3/4, 4/4"),
        ("abc", "X:1\nM:(2+4)/8\nL:1/8\nK:C\nCDEFGA|\n", 3, "6/8"),
        ("abc", "X:1\nM:C|\nL:1/4\nK:C\nCDEF|\n", 4, "2/2"),
        ("krn", "**kern\n*M4/2\n=1\n0c\n==\n*-\n", 8, "4/2"),
        ("krn", "**kern\n*M2+4/8\n=1\n2.c\n==\n*-\n", 3, "6/8"),
        ("musicxml", MUSICXML.format(3, 4), 3, "3/4"),
        ("musicxml", MUSICXML.format("3+3", 8), 3, "6/8"),
    ],
)
def test_the_metre_of_notation_is_that_of_the_reader_of_its_notes(
    suffix: str, text: str, quarters: int, told: str, tmp_path: Path
) -> None:
    path = tmp_path / f"piece.{suffix}"
    path.write_text(text)
    said: list[str] = []
    assert quarters_per_bar(path, said.append) == quarters
    assert said[0].startswith(f"{path} is in {told}: a bar is counted as {quarters} quarters;")


@pytest.mark.parametrize(
    ("suffix", "text"),
    [("krn", "**kern\n=1\n0c\n==\n*-\n"), ("abc", "X:1\nM:none\nL:1/4\nK:C\nCD|\n")],
)
def test_a_file_without_a_metre_is_told(suffix: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / f"piece.{suffix}"
    path.write_text(text)
    said: list[str] = []
    assert quarters_per_bar(path, said.append) == 4
    assert "no time signature is found in" in said[0]


@pytest.mark.parametrize("name", ["piece.abc", "piece.krn", "piece.musicxml", "piece.mid"])
def test_of_a_file_that_cannot_be_read_no_metre_is_told(name: str, tmp_path: Path) -> None:
    """What is wrong with it is said by whoever reads its notes."""
    (tmp_path / name).write_text("X:1\nK:C\nCDEF|\n\nX:2\nK:C\nGABc|\n")  # of ABC, two tunes
    said: list[str] = []
    assert quarters_per_bar(tmp_path / name, said.append) == 4
    assert said == []
