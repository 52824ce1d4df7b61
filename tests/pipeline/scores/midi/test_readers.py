"""MIDI by symusic: the notes that music21's reader finds, or its reasons; the limits of both."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.scores import formats as reading
from pipeline.scores.formats import MUSIC21, SYMUSIC, Reading
from pipeline.scores.midi.rules import MAX_TICKS, MAX_TRACKS
from pipeline.scores.notes import DRUMS, Score
from pipeline.scores.reading import read_midi, read_scores
from pipeline.vocabulary.events import EventVocabulary
from tests.pipeline.scores.test_reading import midi_bytes

pytest.importorskip("symusic", reason="symusic is not installed: pip install -e '.[symusic]'")

NOTE = bytes([0, 0x90, 60, 80, 96, 60, 0])
CONDUCTOR = bytes([0, 0xC0, 40, 50, 0xC0, 41])
FASTEST_FIRST = [bytes([5, 0xFF, 0x51, 3]) + n.to_bytes(3, "big") for n in (800_000, 750_000)]
TIMES_LEFT_ON = 70  # more than symusic's reader has the patience for


def both(contents: bytes) -> list[Score]:
    return [read_midi(contents, reader) for reader in (MUSIC21, SYMUSIC)]


def assert_same(one: Score, other: Score) -> None:
    assert one.notes.tolist() == other.notes.tolist()
    assert (one.resolution, one.tempo) == (other.resolution, other.tempo)


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param(midi_bytes(NOTE, kind=0), id="format 0"),
        pytest.param(midi_bytes(NOTE, NOTE, kind=2), id="format 2"),
        pytest.param(midi_bytes(NOTE, division=(256 - 25) << 8 | 40), id="time in seconds"),
        pytest.param(
            midi_bytes(bytes([0, 0x90, 60, 80, 10, 60, 70, 10, 60, 0, 20, 60, 0])), id="overlap"
        ),
        pytest.param(midi_bytes(bytes([5, 0x90, 60, 80, 0, 60, 0])), id="no length"),
        pytest.param(midi_bytes(bytes([0, 0x90, 60, 80, 0, 62, 80, 100, 62, 0])), id="left on"),
        pytest.param(
            midi_bytes(bytes([0, 0x90, 60, 80]) + bytes([1, 60, 80]) * TIMES_LEFT_ON),
            id="left on many times",
        ),
        pytest.param(midi_bytes(NOTE, CONDUCTOR), id="programs in a conductor track"),
        pytest.param(midi_bytes(bytes([0, 0xC0, 9]), NOTE), id="a program in a conductor track"),
        pytest.param(
            midi_bytes(NOTE[:4] + bytes([0, 0xC0, 7]) + bytes([9, 0x90, 60, 0])),
            id="a program after a note of its moment",
        ),
        pytest.param(midi_bytes(bytes([0, 0xC9, 8]), NOTE), id="a drum kit in a conductor track"),
        pytest.param(
            midi_bytes(bytes([0, 0xC0, 5]) + NOTE + bytes([0, 0xC0, 6]) + NOTE[:2] + NOTE[2:]),
            id="a program changed",
        ),
        pytest.param(midi_bytes(bytes([0, 0x99, 36, 80, 9, 36, 0])), id="percussion"),
        pytest.param(midi_bytes(*FASTEST_FIRST, NOTE), id="two tempos at once"),
        pytest.param(
            midi_bytes(bytes([0, 0x90, 60, 80, 0, 0xF0, 3, 1, 2, 0xF7, 96, 60, 0])),
            id="running status over a system message",
        ),
        pytest.param(midi_bytes(NOTE)[:-4] + b"\x00\xff\x2f\x00", id="end of track"),
    ],
)
def test_an_odd_file_gives_the_same_notes_by_both_readers(contents: bytes) -> None:
    one, other = both(contents)
    assert one.notes.size
    assert_same(one, other)


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (midi_bytes(bytes([0, 60, 80])), "damaged in track 1.*data byte where an event must begin"),
        (midi_bytes(bytes([0, 0x90, 60, 200])), "velocity 200: more than 127"),
        (midi_bytes(b"\x00\xff\x01\x7fab"), "stops without an End of Track"),
        (
            midi_bytes(bytes([0xFF, 0xFF, 0xFF, 0x7F]) + NOTE[1:], division=1),
            "at most 100000 are read",
        ),
    ],
)
def test_a_broken_file_has_the_same_reason_by_both_readers(contents: bytes, reason: str) -> None:
    for reader in (MUSIC21, SYMUSIC):
        with pytest.raises(ValueError, match=reason):
            read_midi(contents, reader)


def test_all_real_files_give_the_same_notes_and_ids_by_both_readers(
    tiny_corpus: Path, shared_data: Path
) -> None:
    paths = sorted(tiny_corpus.iterdir())
    paths += sorted((shared_data / "vgmidi" / "labelled" / "midi").glob("*.mid"))[::6]
    vocabulary = EventVocabulary(velocity_bins=32, instruments=True)
    assert len(paths) > 16
    for path in paths:
        one, other = both(path.read_bytes())
        assert_same(one, other)
        assert vocabulary.encode(one).tolist() == vocabulary.encode(other).tolist()


def test_a_program_set_by_another_track_that_has_notes_holds_by_both_readers() -> None:
    with_notes = bytes([0, 0xC0, 40]) + bytes([0, 0x91, 60, 80, 96, 60, 0])
    one, other = both(midi_bytes(NOTE, with_notes))
    assert one.notes["program"].tolist() == [0, 40]
    assert_same(one, other)


# Few channels, keys and times, so that programs meet notes of other tracks and of the same moment.
events = st.tuples(
    st.integers(0, 2),  # ticks since the event before
    st.one_of(
        st.tuples(st.sampled_from([0x90, 0x91, 0x99, 0x80]), st.just(60), st.sampled_from([0, 80])),
        st.tuples(st.sampled_from([0xC0, 0xC1, 0xC9]), st.integers(0, 3)),
        st.just((0xFF, 0x01, 2, 0xC0, 0x90)),  # a text
    ),
)


@given(st.lists(st.lists(events, min_size=2, max_size=8), min_size=1, max_size=3))
@settings(max_examples=300)
def test_programs_and_ends_of_notes_are_the_same_by_both_readers(
    tracks: list[list[tuple[int, tuple[int, ...]]]],
) -> None:
    contents = [b"".join(bytes([delta, *event]) for delta, event in track) for track in tracks]
    assert_same(*both(midi_bytes(*contents)))


def test_percussion_is_told_from_the_piano_by_both_readers() -> None:
    for score in both(midi_bytes(bytes([0, 0x99, 36, 80, 9, 36, 0]) + NOTE)):
        assert sorted(score.notes["program"].tolist()) == [0, DRUMS]


@pytest.mark.parametrize("reader", [MUSIC21, SYMUSIC])
@pytest.mark.parametrize(
    ("delta", "count", "reason"),
    [
        (b"\xff\xff\xff\x7f", 9, f"32767 a quarter; at most {MAX_TICKS} are read"),
        # Past 32 bits, where a clock begins again at 0.
        (b"\xff\xff\xff\x7f", 17, "lasts 139268 quarters"),
        (b"\xff\xff\x7f", 2050, "lasts 13120. quarters"),
    ],
)
def test_more_ticks_than_an_onset_can_say_is_a_reason_and_no_crash(
    reader: str, delta: bytes, count: int, reason: str
) -> None:
    silence = (delta + bytes([0xB0, 7, 100])) * count
    with pytest.raises(ValueError, match=reason):
        read_midi(midi_bytes(silence + NOTE, division=32767), reader)


def test_more_tracks_than_music_has_is_a_reason() -> None:
    with pytest.raises(ValueError, match=f"has 1025 tracks; at most {MAX_TRACKS} are read"):
        read_midi(midi_bytes(*[b""] * 1025))


def test_a_file_larger_than_any_score_is_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "large.mid"
    with path.open("wb") as stream:
        stream.truncate((64 << 20) + 1)  # a hole: no disk is used
    with pytest.raises(ValueError, match="has more than 64 MiB"):
        read_scores(path)


def test_a_reader_that_is_not_installed_is_said_in_one_line_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"symusic is not installed here: pip install .*\[symusic\]"
    ):
        Reading(SYMUSIC).check()
    with pytest.raises(ValueError, match="--midi-reader mido; there are music21, symusic"):
        Reading("mido").check()


def test_the_reader_and_its_version_are_part_of_what_decides_the_ids() -> None:
    one, other = Reading().for_manifest(), Reading(SYMUSIC).for_manifest()
    assert one != other
    assert str(other["midi_reader"]).startswith("symusic 0.")
