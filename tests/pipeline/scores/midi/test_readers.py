"""MIDI by symusic: the notes that music21's reader finds, or its reasons; the limits of both."""

from __future__ import annotations

from pathlib import Path

import music21
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
    assert one.adjustments == other.adjustments
    assert list(one.time_signatures) == list(other.time_signatures)


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
        pytest.param(
            midi_bytes(bytes([0x90, 0x00, 0x90, 60, 80])), id="left on, after a time like a status"
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
        st.tuples(st.just(0xB0), st.sampled_from([64, 120, 123]), st.just(0)),
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


# --- Notes that their file does not end


def on(key: int = 60, *, wait: int = 0) -> bytes:
    return bytes([wait, 0x90, key, 80])


def off(key: int = 60, *, wait: int = 0) -> bytes:
    return bytes([wait, 0x80, key, 0])


def mode(controller: int, *, wait: int = 0) -> bytes:
    return bytes([wait, 0xB0, controller, 0])


def onsets_and_lengths(score: Score) -> list[tuple[int, int]]:
    return score.notes[["onset", "duration"]].tolist()


LOST_NOTE_OFF = on() + on(wait=100) + off(wait=10) + on(wait=90) + off(wait=10)


@pytest.mark.parametrize("reader", [MUSIC21, SYMUSIC])
@pytest.mark.parametrize(
    ("track", "notes", "adjustments"),
    [
        # It lasts until the next one of its key, and the later notes keep their own ends.
        (LOST_NOTE_OFF, [(0, 100), (100, 10), (200, 10)], {"notes never ended": 1}),
        # Two notes of one key overlap, and later one is never ended.
        (
            on() + on(wait=10) + off(wait=10) + off(wait=20) + LOST_NOTE_OFF,
            [(0, 20), (10, 30), (40, 100), (140, 10), (240, 10)],
            {"notes never ended": 1},
        ),
        # Struck twice at one tick, ended once: one of the two has no length.
        (on() + on() + off(wait=9), [(0, 0), (0, 9)], {"notes never ended": 1}),
        (on() * 3 + off(62, wait=50), [(0, 0), (0, 0), (0, 50)], {"notes never ended": 3}),
        # A grace note as music21 writes it: note-off, note-on, both at the tick of the main note.
        (
            on(wait=5) + off(wait=96) + off() + on() + on(7) + off(7, wait=96) + LOST_NOTE_OFF[4:],
            [(5, 96), (101, 0), (101, 96), (297, 10), (397, 10)],
            {"notes ended before they begin": 1},
        ),
        # All Notes Off and All Sound Off, by running status, end the notes of their channel alone.
        (
            bytes([0, 0x91, 60, 80]) + on() + mode(123, wait=9) + bytes([9, 120, 0]) + on(wait=9),
            [(0, 9), (0, 27), (27, 0)],
            {"notes never ended": 2},
        ),
        (
            mode(123) + on() + mode(121, wait=3) + mode(124, wait=6) + on(wait=9) + off(wait=9),
            [(0, 9), (18, 9)],
            {},
        ),
        # A note-off that finds no note, and a whole note at its tick: the note keeps its length.
        (off() + on() + off(wait=9), [(0, 9)], {}),
        (
            on() + off(wait=9) + b"\x00\xff\x2f\x00" + on() + on() + off(wait=9) + off(),
            [(0, 9)],
            {"notes after End of Track left out": 2},
        ),
        # The bytes after it are no events.
        (on() + off(wait=9) + b"\x00\xff\x2f\x00" + on() + b"\x00\x3c", [(0, 9)], {
            "notes after End of Track left out": 1}),
    ],
)  # fmt: skip
def test_a_note_that_is_never_ended_lengthens_no_other_note_and_is_counted(
    reader: str, track: bytes, notes: list[tuple[int, int]], adjustments: dict[str, int]
) -> None:
    score = read_midi(midi_bytes(track), reader)
    assert sorted(onsets_and_lengths(score)) == notes
    assert dict(score.adjustments) == adjustments


def test_a_grace_note_written_by_music21_has_no_length(tmp_path: Path) -> None:
    line = music21.stream.Stream()
    grace = music21.note.Note("D5").getGrace()
    for element in (
        music21.note.Note("D5"),
        grace,
        music21.note.Note("C5"),
        music21.note.Note("D5"),
    ):
        line.append(element)
    path = tmp_path / "grace.mid"
    line.write("midi", path)
    for score in both(path.read_bytes()):
        quarters = [
            (onset / score.resolution, pitch, length / score.resolution)
            for onset, _, pitch, length, _ in score.notes.tolist()
        ]
        first = quarters[0][0]
        assert [(onset - first, pitch, length) for onset, pitch, length in quarters] == [
            *((0, 74, 1), (1, 72, 1), (1, 74, 0), (2, 74, 1))
        ]


def test_many_notes_that_are_never_ended_take_time_in_proportion() -> None:
    num_notes = 20_000
    score = read_midi(midi_bytes(on(wait=1) * num_notes), MUSIC21)
    assert score.notes.size == score.adjustments["notes never ended"] == num_notes


# --- Tempo and division


def tempo(microseconds: int, *, wait: int = 0) -> bytes:
    return bytes([wait, 0xFF, 0x51, 3]) + microseconds.to_bytes(3, "big")


@pytest.mark.parametrize(
    ("tracks", "bpm"),
    [
        ([tempo(500_000) + tempo(1_000_000) + NOTE], 60),
        ([tempo(1_000_000) + tempo(500_000) + NOTE], 120),
        ([tempo(500_000) + NOTE, tempo(1_000_000) + tempo(300_000, wait=1)], 60),
        # More than symusic keeps in order.
        ([b"".join(tempo(1_000_000 + 1_000 * n) for n in range(40)) + tempo(500_000) + NOTE], 120),
    ],
)
def test_of_several_tempi_at_one_tick_the_last_holds_by_both_readers(
    tracks: list[bytes], bpm: float
) -> None:
    one, other = both(midi_bytes(*tracks))
    assert one.tempo == bpm
    assert_same(one, other)


@pytest.mark.parametrize("reader", [MUSIC21, SYMUSIC])
@pytest.mark.parametrize("division", [0xD890, 0x8000 | 60, 0xFF60, 0xE660])
def test_a_division_that_names_no_frame_rate_is_refused(reader: str, division: int) -> None:
    with pytest.raises(ValueError, match=r"division 0x.* frames a second; MIDI has 24, 25, 29 and"):
        read_midi(midi_bytes(NOTE, division=division), reader)


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
    # music21 is needed whatever the flag says, and comes with an extra of another name.
    needed = r"^music21, which reads scores, is not installed for .*: make setup.*\[preprocess\]"
    with pytest.raises(ValueError, match=needed):
        Reading().check()
    monkeypatch.setattr(
        reading.importlib.util, "find_spec", lambda name: None if name == MUSIC21 else name
    )
    with pytest.raises(ValueError, match=needed):
        Reading(SYMUSIC).check()
    with pytest.raises(ValueError, match="--midi-reader mido; there are music21, symusic"):
        Reading("mido").check()


def test_the_reader_and_its_version_are_part_of_what_decides_the_ids() -> None:
    one, other = Reading().for_manifest(), Reading(SYMUSIC).for_manifest()
    assert one != other
    assert str(other["midi_reader"]).startswith("symusic 0.")
