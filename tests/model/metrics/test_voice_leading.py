"""Voice leading: cases that a textbook would mark, and Bach's own rates."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from model.metrics.voice_leading import (
    notes_out_of_range,
    parallel_fifths,
    parallel_octaves,
    voice_crossings,
    voice_leading,
)
from pipeline.sources.json_frames import read_frames


def chords(*rows: tuple[int, int, int, int]) -> np.ndarray:
    """Frames of soprano, alto, tenor and bass, each chord held for four of them."""
    return np.array(rows).repeat(4, axis=0)


FIFTHS = chords((67, 64, 60, 48), (69, 65, 60, 50))  # soprano and bass: G over C to A over D
OCTAVES = chords((67, 64, 60, 48), (67, 65, 62, 50))  # tenor and bass: C to D


def test_two_voices_that_move_from_fifth_to_fifth_are_parallel() -> None:
    assert parallel_fifths(FIFTHS) == 100
    assert parallel_octaves(FIFTHS) == 0
    # Half the rate, with as many correct changes again.
    longer = np.concatenate([FIFTHS, chords((69, 66, 62, 50))])
    assert parallel_fifths(longer) == 50


def test_two_voices_that_move_in_octaves_are_parallel() -> None:
    assert parallel_octaves(OCTAVES) == 100
    assert parallel_fifths(OCTAVES) == 0


@pytest.mark.parametrize(
    "frames",
    [
        chords((67, 64, 60, 48), (67, 65, 60, 48)),  # a fifth that is held
        chords((67, 64, 60, 48), (57, 65, 60, 50)),  # from fifth to fifth in contrary motion
        chords((67, 64, 60, 48), (0, 65, 60, 50)),  # a voice that rests
        chords((67, 64, 60, 48), (68, 65, 60, 50)),  # a diminished fifth after a perfect one
    ],
)
def test_what_is_no_parallel_is_not_counted(frames: np.ndarray) -> None:
    assert parallel_fifths(frames) == parallel_octaves(frames) == 0


def test_a_voice_above_its_upper_neighbour_crosses_it() -> None:
    assert voice_crossings(chords((67, 64, 60, 48), (62, 64, 60, 48))) == 50
    assert voice_crossings(chords((67, 64, 60, 48), (64, 64, 60, 48))) == 0  # a unison
    assert voice_crossings(chords((67, 64, 60, 48), (67, 0, 69, 48))) == 50  # tenor over soprano


def test_a_note_beyond_its_voice_is_counted_once_however_long() -> None:
    frames = chords((67, 64, 60, 48), (67, 64, 60, 36))
    assert notes_out_of_range(frames) == pytest.approx(100 / 5)  # five notes, of which C2


def test_one_chord_has_no_rate_of_parallels() -> None:
    values = voice_leading(FIFTHS[:4])
    assert math.isnan(values["parallel fifths"])
    assert values["voice crossings"] == 0
    with pytest.raises(ValueError, match="3 voices"):
        voice_leading(FIFTHS[:, :3])


def test_bach_seldom_does_what_is_forbidden_and_random_music_often(shared_data: Path) -> None:
    pieces = read_frames(shared_data / "jsb" / "Jsb16thSeparated.json").splits["test"]
    frames = [np.maximum(piece, 0) for piece in pieces]
    rates = [voice_leading(piece) for piece in frames]
    bach = {name: np.mean([rate[name] for rate in rates]) for name in rates[0]}
    assert bach["parallel fifths"] == pytest.approx(0.20, abs=0.01)
    assert bach["parallel octaves"] == pytest.approx(0.11, abs=0.01)
    assert bach["voice crossings"] == pytest.approx(2.49, abs=0.01)
    assert bach["notes out of range"] == pytest.approx(0.53, abs=0.01)
    # Each voice is a real line, but from a different piece: they do not fit together.
    length = min(map(len, frames[:8]))
    mixed = np.stack([frames[voice][:length, voice] for voice in range(4)], 1)
    assert parallel_fifths(mixed) + parallel_octaves(mixed) > 5 * (
        bach["parallel fifths"] + bach["parallel octaves"]
    )
