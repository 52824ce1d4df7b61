"""Score files -> notes: each oddity of real files by its stated rule, each broken file by name."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from pathlib import Path

import mido
import music21
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.scores.midi.rules import MAX_QUARTERS
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import DRUMS, NoNotesError, Score, make_notes, one_note_per_key
from pipeline.scores.reading import notes_from_names, read_score, read_scores
from pipeline.sources.bach import corpus_chorales
from pipeline.vocabulary.events import EventVocabulary

GOLDEN = Path(__file__).parents[1] / "golden" / "chorale.mid"
Message = mido.Message


def midi_bytes(*tracks: bytes, kind: int = 1, division: int = 480) -> bytes:
    """A MIDI file of tracks given as event bytes, End of Track not included."""
    header = b"MThd" + b"".join(
        value.to_bytes(size, "big")
        for value, size in ((6, 4), (kind, 2), (len(tracks), 2), (division, 2))
    )
    chunks = [track + b"\x00\xff\x2f\x00" for track in tracks]
    return header + b"".join(b"MTrk" + len(c).to_bytes(4, "big") + c for c in chunks)


def read_bytes(folder: Path, contents: bytes, name: str = "score.mid") -> Score:
    path = folder / name
    path.write_bytes(contents)
    return read_score(path)


def rows(score: Score) -> list[tuple[int, int, int, int, int]]:
    return score.notes.tolist()


def played_by_mido(path: Path) -> list[tuple[int, int, int, int, int]]:
    """The notes as a player of mido's merged messages hears them: one program per channel."""
    midi_file = mido.MidiFile(path)
    now, programs, sounding, notes = 0, {9: DRUMS}, {}, []
    for message in mido.merge_tracks(midi_file.tracks):
        now += message.time
        if message.type == "program_change":
            programs[message.channel] = message.program
        elif message.type == "note_on" and message.velocity:
            program = programs.get(message.channel, 0)
            sounding[message.channel, message.note] = (now, program, message.velocity)
        elif message.type in ("note_on", "note_off"):
            onset, program, velocity = sounding.pop((message.channel, message.note))
            notes.append((onset, program, message.note, now - onset, velocity))
    assert not sounding
    return sorted(notes)


def heard_by_music21(path: Path) -> tuple[list[tuple[float, int]], dict[int, float]]:
    """(onset in quarters, pitch) of every strike, and how long each pitch sounds in all.

    music21's own translation writes notes over a bar line as tied ones.
    """
    parsed = music21.converter.parse(path, forceSource=True, storePickle=False, quantizePost=False)
    strikes, lengths = [], Counter[int]()
    for part in parsed.parts:
        for element in part.flatten().notes:
            for head in getattr(element, "notes", [element]):
                if head.tie is None or head.tie.type == "start":
                    strikes.append((float(element.offset), head.pitch.midi))
                lengths[head.pitch.midi] += float(element.quarterLength)
    return sorted(strikes), dict(lengths)


# --- MIDI, as it is found in the world


def test_a_note_on_of_velocity_0_ends_a_note_and_running_status_holds(tmp_path: Path) -> None:
    track = bytes([0, 0x90, 60, 80, 96, 60, 0, 0, 62, 70, 48, 62, 0])
    assert rows(read_bytes(tmp_path, midi_bytes(track))) == [
        (0, 0, 60, 96, 80),
        (96, 0, 62, 48, 70),
    ]


def test_of_overlapping_notes_on_one_key_the_earliest_ends_first(tmp_path: Path) -> None:
    track = bytes([0, 0x90, 60, 80, 10, 60, 70, 10, 60, 0, 20, 60, 0])
    assert rows(read_bytes(tmp_path, midi_bytes(track))) == [
        (0, 0, 60, 20, 80),
        (10, 0, 60, 30, 70),
    ]


def test_a_note_of_no_length_is_kept(tmp_path: Path) -> None:
    track = bytes([5, 0x90, 60, 80, 0, 60, 0])
    assert rows(read_bytes(tmp_path, midi_bytes(track))) == [(5, 0, 60, 0, 80)]


def test_a_note_left_on_lasts_to_the_end_of_its_track(tmp_path: Path) -> None:
    track = bytes([0, 0x90, 60, 80, 0, 62, 80, 100, 62, 0])
    assert rows(read_bytes(tmp_path, midi_bytes(track))) == [
        (0, 0, 60, 100, 80),
        (0, 0, 62, 100, 80),
    ]


def test_an_end_without_a_beginning_does_nothing(tmp_path: Path) -> None:
    track = bytes([0, 0x80, 60, 0, 7, 0x90, 62, 80, 1, 0x80, 62, 0])
    assert rows(read_bytes(tmp_path, midi_bytes(track))) == [(7, 0, 62, 1, 80)]


def test_channel_10_is_percussion_and_other_channels_have_the_program_set_last(
    tmp_path: Path,
) -> None:
    track = bytes([0, 0x99, 36, 80, 9, 36, 0])
    track += bytes([0, 0xC0, 5, 0, 0x90, 60, 80, 9, 60, 0, 0, 0xC0, 6, 0, 0x90, 60, 80, 9, 60, 0])
    assert rows(read_bytes(tmp_path, midi_bytes(track, kind=0))) == [
        (0, DRUMS, 36, 9, 80),
        (9, 5, 60, 9, 80),
        (18, 6, 60, 9, 80),
    ]


def test_a_track_without_programs_takes_those_of_the_conductor_track(tmp_path: Path) -> None:
    conductor = bytes([0, 0xC0, 40, 50, 0xC0, 41])
    note = bytes([0, 0x90, 60, 80, 9, 60, 0, 60, 62, 80, 9, 62, 0])
    own = bytes([0, 0xC0, 7]) + note
    score = read_bytes(tmp_path, midi_bytes(note, own, conductor))
    assert score.notes[["onset", "program", "pitch"]].tolist() == [
        *((0, 7, 60), (0, 40, 60), (69, 7, 62), (69, 41, 62))
    ]


def test_the_tracks_of_format_1_play_together_and_those_of_format_2_in_turn(tmp_path: Path) -> None:
    track = bytes([0, 0x90, 60, 80, 96, 60, 0])
    together = read_bytes(tmp_path, midi_bytes(track, track, kind=1))
    in_turn = read_bytes(tmp_path, midi_bytes(track, track, kind=2))
    assert together.notes["onset"].tolist() == [0, 0]
    assert in_turn.notes["onset"].tolist() == [0, 96]


def test_the_first_tempo_is_the_scores_and_120_where_none_is_set(tmp_path: Path) -> None:
    note = bytes([0, 0x90, 60, 80, 96, 60, 0])
    late = bytes([10, 0xFF, 0x51, 3]) + (1_000_000).to_bytes(3, "big")
    early = bytes([5, 0xFF, 0x51, 3]) + (750_000).to_bytes(3, "big")
    assert read_bytes(tmp_path, midi_bytes(note)).tempo == 120.0
    assert read_bytes(tmp_path, midi_bytes(late, early, note)).tempo == 80.0


def test_time_in_seconds_becomes_quarters_of_half_a_second(tmp_path: Path) -> None:
    division = (256 - 25) << 8 | 40  # 25 frames of 40 ticks: 1000 ticks a second
    score = read_bytes(
        tmp_path, midi_bytes(bytes([0x87, 0x68, 0x90, 60, 80, 100, 60, 0]), division=division)
    )
    assert (score.notes["onset"][0] / score.resolution, score.tempo) == (2.0, 120.0)


def test_sysex_meta_events_and_unknown_chunks_are_passed_over(tmp_path: Path) -> None:
    track = bytes([0, 0x90, 60, 80, 0, 0xF0, 3, 1, 2, 0xF7, 0, 0xFF, 0x7F, 2, 9, 9, 96, 60, 0])
    contents = midi_bytes(track)
    odd = contents[:14] + b"XFIH\x00\x00\x00\x02ab" + contents[14:] + b"trailing bytes"
    assert rows(read_bytes(tmp_path, odd)) == [(0, 0, 60, 96, 80)]


# --- MIDI that is broken: every reason true


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"These are only words.", "not a MIDI file: it begins with b'Thes'"),
        (b"", "not a MIDI file"),
        (GOLDEN.read_bytes()[:9], "cut off in the header"),
        (GOLDEN.read_bytes()[: GOLDEN.stat().st_size // 2], "cut off in track 2 of 2"),
        (midi_bytes(b"", b"")[:26], "cut off after track 1 of 2"),
        (midi_bytes(b"", kind=3), "MIDI format 3"),
        (midi_bytes(b"", division=0), "0 ticks per quarter"),
        (midi_bytes(bytes([0, 60, 80])), "damaged in track 1.*data byte where an event must begin"),
        (midi_bytes(bytes([0, 0x90, 60, 200])), "velocity 200: more than 127"),
        (midi_bytes(bytes([0, 0xF4, 1])), "damaged in track 1"),
        (midi_bytes(b"\x00\xff\x01\x7fab"), "stops without an End of Track"),
        (midi_bytes(b"\xff" * 6), "damaged in track 1"),
    ],
)
def test_a_broken_midi_file_is_refused_with_the_true_reason(
    tmp_path: Path, contents: bytes, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        read_bytes(tmp_path, contents)


def test_a_midi_file_without_notes_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoNotesError, match="no notes"):
        read_bytes(tmp_path, midi_bytes(b""))


def test_a_file_that_claims_years_of_silence_is_refused(tmp_path: Path) -> None:
    longest_delta = bytes([0xFF, 0xFF, 0xFF, 0x7F])
    track = longest_delta + bytes([0x90, 60, 80, 9, 60, 0])
    with pytest.raises(ValueError, match=f"at most {MAX_QUARTERS} are read"):
        read_bytes(tmp_path, midi_bytes(track, division=1))


@given(place=st.integers(0, GOLDEN.stat().st_size - 1), value=st.integers(0, 255))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_is_a_reason_or_a_score_and_never_a_crash(
    tmp_path: Path, place: int, value: int
) -> None:
    contents = bytearray(GOLDEN.read_bytes())
    contents[place] = value
    try:
        assert read_bytes(tmp_path, bytes(contents)).notes.size
    except ValueError as error:
        assert str(error)


def test_a_suffix_that_is_no_score_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"suffix \.txt; readable are \.mid"):
        read_bytes(tmp_path, b"", "words.txt")


# --- What we write


def test_written_midi_reads_back_the_same_by_us_by_mido_and_by_music21(tmp_path: Path) -> None:
    score = read_score(GOLDEN)
    path = tmp_path / "again.mid"
    write_midi(score, path)
    again = read_score(path)
    assert rows(again) == rows(score) == played_by_mido(path)
    assert (again.resolution, again.tempo) == (score.resolution, score.tempo)
    lengths = Counter[int]()
    for _, pitch, length in in_quarters(score):
        lengths[pitch] += length
    strikes = [(onset, pitch) for onset, pitch, _ in in_quarters(score)]
    assert heard_by_music21(path) == (strikes, pytest.approx(lengths))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 200),
            st.sampled_from([0, 24, 127, DRUMS]),
            st.integers(0, 127),
            st.integers(1, 60),
            st.integers(1, 127),
        ),
        min_size=1,
        max_size=30,
    )
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_score_with_instruments_and_percussion_survives_writing(
    tmp_path: Path, given_rows: list[tuple[int, int, int, int, int]]
) -> None:
    notes = one_note_per_key(make_notes(given_rows))[0]
    path = tmp_path / "any.mid"
    write_midi(Score(notes, 12, 90.0), path)
    scale = read_score(path).resolution // 12
    expected = [(o * scale, p, k, d * scale, v) for o, p, k, d, v in notes.tolist()]
    assert rows(read_score(path)) == expected == played_by_mido(path)


def test_more_programs_than_channels_are_all_kept(tmp_path: Path) -> None:
    notes = make_notes([(program, program, 60, 1, 80) for program in range(40)])
    path = tmp_path / "orchestra.mid"
    write_midi(Score(notes, 480), path)
    assert rows(read_score(path)) == notes.tolist() == played_by_mido(path)


def test_a_grid_finer_than_midi_can_say_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at most 32767"):
        write_midi(Score(make_notes([(0, 0, 60, 1, 80)]), 40_000), tmp_path / "fine.mid")
    assert list(tmp_path.iterdir()) == []


def test_a_primer_can_be_given_as_names_of_notes() -> None:
    score = notes_from_names("C4 F#4 Bb3 eb5 G", steps_per_quarter=12)
    assert score.notes["pitch"].tolist() == [60, 66, 58, 75, 67]
    assert score.notes["onset"].tolist() == [0, 12, 24, 36, 48]
    assert set(score.notes["duration"]) == {12}


@pytest.mark.parametrize(
    ("names", "reason"),
    [("C4 H4", "'H4' is not a note"), ("C99", "'C99' is MIDI key 1200"), (" ", "no notes given")],
)
def test_what_is_no_note_is_named(names: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        notes_from_names(names)


# --- Notation


def musicxml(measures: str, attributes: str = "", parts: int = 1) -> bytes:
    """A MusicXML score of divisions 12, every part with the same measures."""
    header = "<attributes><divisions>12</divisions>" + attributes + "</attributes>"
    body = measures.replace("<measure>", '<measure number="1">' + header, 1)
    body = body.replace("<measure>", '<measure number="2">')
    names = "".join(
        f'<score-part id="P{i}"><part-name>P{i}</part-name></score-part>' for i in range(parts)
    )
    music = "".join(f'<part id="P{i}">{body}</part>' for i in range(parts))
    return (
        '<?xml version="1.0" encoding="UTF-8"?><score-partwise version="4.0">'
        f"<part-list>{names}</part-list>{music}</score-partwise>"
    ).encode()


def xml_note(step: str, length: int, more: str = "", octave: int = 4) -> str:
    pitch = f"<pitch><step>{step}</step><octave>{octave}</octave></pitch>"
    chord = "<chord/>" if "chord" in more else ""
    return f"<note>{chord}{pitch}<duration>{length}</duration>{more.replace('chord', '')}</note>"


def xml_tie(*kinds: str) -> str:
    return "".join(f'<tie type="{kind}"/>' for kind in kinds)


def in_quarters(score: Score) -> list[tuple[float, int, float]]:
    return [
        (onset / score.resolution, pitch, duration / score.resolution)
        for onset, _, pitch, duration, _ in rows(score)
    ]


def read_xml(folder: Path, measures: str, attributes: str = "", parts: int = 1) -> Score:
    return read_bytes(folder, musicxml(measures, attributes, parts), "score.musicxml")


def test_tied_notes_are_one_note_within_chords_too(tmp_path: Path) -> None:
    first = xml_note("C", 24, xml_tie("start")) + xml_note("E", 24, "chord")
    second = xml_note("C", 12, xml_tie("stop")) + xml_note("E", 12, "chord")
    score = read_xml(tmp_path, f"<measure>{first}</measure><measure>{second}</measure>")
    assert in_quarters(score) == [(0, 60, 3), (0, 64, 2), (2, 64, 1)]


def test_a_tie_that_leads_nowhere_is_no_tie(tmp_path: Path) -> None:
    lone = xml_note("C", 12, xml_tie("stop")) + xml_note("D", 12, xml_tie("start"))
    score = read_xml(tmp_path, f"<measure>{lone}{xml_note('C', 12)}</measure>")
    assert in_quarters(score) == [(0, 60, 1), (1, 62, 1), (2, 60, 1)]


def test_grace_notes_come_right_before_the_beat(tmp_path: Path) -> None:
    grace = (
        xml_note("B", 0).replace("<duration>0</duration>", "").replace("<note>", "<note><grace/>")
    )
    score = read_xml(
        tmp_path, f"<measure>{grace}{xml_note('C', 12)}{grace}{grace}{xml_note('D', 12)}</measure>"
    )
    twelfth = pytest.approx(1 / 12)
    assert in_quarters(score) == [
        (0, 60, 1),
        (0, 71, 0),  # the piece has no room before it
        (pytest.approx(10 / 12), 71, twelfth),
        (pytest.approx(11 / 12), 71, twelfth),
        (1, 62, 1),
    ]


def test_a_transposing_instrument_sounds_where_it_sounds(tmp_path: Path) -> None:
    clarinet_in_b_flat = "<transpose><diatonic>-1</diatonic><chromatic>-2</chromatic></transpose>"
    score = read_xml(tmp_path, f"<measure>{xml_note('C', 12)}</measure>", clarinet_in_b_flat)
    assert in_quarters(score) == [(0, 58, 1)]


def test_triplets_are_exact(tmp_path: Path) -> None:
    triplet = (
        "<time-modification><actual-notes>3</actual-notes>"
        "<normal-notes>2</normal-notes></time-modification>"
    )
    notes = xml_note("C", 4, triplet) + xml_note("D", 4, triplet) + xml_note("E", 4, triplet)
    score = read_xml(tmp_path, f"<measure>{notes}</measure>")
    assert score.resolution % 10080 == 0
    assert score.notes["onset"].tolist() == [0, score.resolution // 3, 2 * score.resolution // 3]


def test_chord_symbols_are_not_played_and_two_parts_are_both_heard(tmp_path: Path) -> None:
    harmony = "<harmony><root><root-step>C</root-step></root><kind>major</kind></harmony>"
    score = read_xml(tmp_path, f"<measure>{harmony}{xml_note('G', 12)}</measure>", parts=2)
    assert in_quarters(score) == [(0, 67, 1), (0, 67, 1)]


def test_two_voices_in_a_bar_keep_their_times(tmp_path: Path) -> None:
    backup = "<backup><duration>24</duration></backup>"
    lower = xml_note("C", 12, "<voice>2</voice>") + xml_note("D", 12, "<voice>2</voice>")
    score = read_xml(
        tmp_path, f"<measure>{xml_note('G', 24, '<voice>1</voice>')}{backup}{lower}</measure>"
    )
    assert in_quarters(score) == [(0, 60, 1), (0, 67, 2), (1, 62, 1)]


def test_kern_and_abc_are_read(tmp_path: Path) -> None:
    kern = b"**kern\t**kern\n*M4/4\t*M4/4\n4C\t4c\n2D\t2d\n*-\t*-\n"
    abc = b"X:1\nT:One\nM:4/4\nL:1/4\nK:C\nCDEF|\n"
    assert in_quarters(read_bytes(tmp_path, kern, "score.krn")) == [
        *((0, 48, 1), (0, 60, 1), (1, 50, 2), (1, 62, 2))
    ]
    assert [row[1] for row in in_quarters(read_bytes(tmp_path, abc, "one.abc"))] == [60, 62, 64, 65]


def test_a_tune_book_is_several_pieces(tmp_path: Path) -> None:
    path = tmp_path / "book.abc"
    path.write_text(
        "X:1\nT:One\nM:4/4\nL:1/4\nK:C\nCDEF|\n\nX:2\nT:Two\nM:4/4\nL:1/4\nK:G\nGABc|\n"
    )
    assert [score.notes["pitch"].tolist() for score in read_scores(path)] == [
        [60, 62, 64, 65],
        [67, 69, 71, 72],
    ]
    with pytest.raises(ValueError, match="holds 2 pieces; one was needed"):
        read_score(path)


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("words.musicxml", b"These are only words."),
        ("cut.xml", musicxml(f"<measure>{xml_note('C', 12)}</measure>")[:-60]),
        ("words.mxl", b"These are only words."),
        ("words.krn", b"\x00\x01\x02"),
        ("empty.abc", b""),
    ],
)
def test_broken_notation_is_refused_with_a_reason(
    tmp_path: Path, name: str, contents: bytes
) -> None:
    with pytest.raises(
        ValueError,
        match=r"(music21 cannot read it|not readable as MusicXML): \w+|no notes in it|line 1: ",
    ):
        read_bytes(tmp_path, contents, name)


def test_a_cut_mxl_archive_is_refused(tmp_path: Path) -> None:
    chorale = corpus_chorales()[0]
    assert zipfile.is_zipfile(chorale)
    with pytest.raises(ValueError, match="not readable as MusicXML"):
        read_bytes(tmp_path, chorale.read_bytes()[:2000], "cut.mxl")


def test_a_chorale_of_the_corpus_is_read_as_it_sounds(tmp_path: Path) -> None:
    [chorale] = [path for path in corpus_chorales() if path.stem == "bwv347"]
    shutil.copy(chorale, tmp_path / "copy.mxl")
    vocabulary = EventVocabulary()
    score, _ = vocabulary.fit(read_score(tmp_path / "copy.mxl"))
    golden, _ = vocabulary.fit(read_score(GOLDEN))
    assert [row for row in in_quarters(score) if row[0] < 32] == in_quarters(golden)


def test_the_corpus_has_350_different_chorales_under_371_numbers() -> None:
    paths = corpus_chorales()
    assert len(paths) == len(set(paths)) == 350
    assert all(path.is_file() for path in paths)
    assert len(list(music21.corpus.chorales.Iterator(returnType="filename"))) == 371
