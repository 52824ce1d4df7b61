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


def test_printed_scores_have_metres_too_and_a_file_without_one_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    for name, text in {
        "tune.abc": "X:1\nM:3/2\nL:1/4\nK:C\nCDEFGA|\n",
        "tune.krn": "**kern\n*M4/2\n=1\n0c\n==\n*-\n",
        "free.krn": "**kern\n=1\n0c\n==\n*-\n",
    }.items():
        (tmp_path / name).write_text(text)
    found = [quarters_per_bar(path, said.append) for path in sorted(tmp_path.iterdir())]
    assert found == [4, 6, 8]
    assert "no time signature is found in" in said[0]
    assert [line.partition("is in ")[2][:3] for line in said[1:]] == ["3/2", "4/2"]
