"""Real music is odd: metre changes, pick-ups, tuplets, repeats, drums, 2,000 pages. Rule by rule.

What MIDI files do by themselves (formats, running status, notes without end) is in test_reading.py
and, for both readers, in midi/test_readers.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.scores.formats import MIDI_READERS, Reading
from pipeline.scores.midi.rules import MAX_NOTES
from pipeline.scores.notes import DRUMS
from pipeline.scores.reading import read_midi, read_scores
from pipeline.vocabulary.events import EventVocabulary
from tests.pipeline.scores.test_reading import (
    in_quarters,
    midi_bytes,
    musicxml,
    read_xml,
    xml_note,
    xml_tie,
)

NOTE = bytes([0, 0x90, 60, 80, 96, 60, 0])


def time_signature(beats: int, unit: int) -> str:
    return f"<time><beats>{beats}</beats><beat-type>{unit}</beat-type></time>"


def attributes(inside: str) -> str:
    return f"<attributes>{inside}</attributes>"


def tuplet(actual: int, normal: int) -> str:
    return (
        f"<time-modification><actual-notes>{actual}</actual-notes>"
        f"<normal-notes>{normal}</normal-notes></time-modification>"
    )


def repeat_sign(direction: str, ending: str = "") -> str:
    side = {"forward": "left", "backward": "right"}[direction]
    return f'<barline location="{side}">{ending}<repeat direction="{direction}"/></barline>'


def ending(number: int, kind: str) -> str:
    return f'<ending number="{number}" type="{kind}"/>'


def played(folder: Path, measures: list[str], *, expand: bool, parts: int = 1) -> list[int]:
    """Pitches in the order they sound, of measures that hold one note each."""
    path = folder / "score.musicxml"
    body = "".join(f"<measure>{measure}</measure>" for measure in measures)
    path.write_bytes(musicxml(body, time_signature(1, 4), parts=parts))
    [score] = read_scores(path, Reading(expand_repeats=expand))
    onsets = [onset for onset, _, _ in in_quarters(score)]
    assert onsets == sorted(index // parts for index in range(len(onsets)))
    return [pitch for _, pitch, _ in in_quarters(score)]


# --- Time


@pytest.mark.parametrize("reader", MIDI_READERS)
def test_metre_and_tempo_changes_of_midi_move_no_note(reader: str) -> None:
    pytest.importorskip(reader)
    to_3_8 = bytes([0, 0xFF, 0x58, 4, 3, 3, 24, 8])
    slower = bytes([0, 0xFF, 0x51, 3]) + (900_000).to_bytes(3, "big")
    plain = read_midi(midi_bytes(NOTE + NOTE), reader)
    changed = read_midi(midi_bytes(NOTE + to_3_8 + slower + NOTE), reader)
    assert changed.notes.tolist() == plain.notes.tolist()


def test_a_metre_change_of_notation_moves_no_note(tmp_path: Path) -> None:
    first = xml_note("C", 24) + xml_note("D", 12)
    second = attributes(time_signature(2, 4)) + xml_note("E", 24)
    measures = f"<measure>{first}</measure><measure>{second}</measure>"
    score = read_xml(tmp_path, measures + f"<measure>{first}</measure>", time_signature(3, 4))
    assert [onset for onset, _, _ in in_quarters(score)] == [0, 2, 3, 5, 7]


def test_a_pick_up_lasts_as_long_as_its_notes_and_not_a_whole_bar(tmp_path: Path) -> None:
    bar = xml_note("E", 36) + xml_note("F", 12)
    measures = f"<measure>{xml_note('C', 12)}</measure><measure>{bar}</measure>"
    score = read_xml(tmp_path, measures, time_signature(4, 4))
    assert in_quarters(score) == [(0, 60, 1), (1, 64, 3), (4, 65, 1)]


def test_silence_before_the_first_note_is_no_part_of_a_pieces_ids() -> None:
    vocabulary = EventVocabulary()
    late = bytes([0x83, 0x60]) + NOTE[1:]  # a quarter later
    plain, waiting = (read_midi(midi_bytes(track + NOTE)) for track in (NOTE, late))
    assert waiting.notes["onset"][0] == 480
    assert vocabulary.encode(waiting).tolist() == vocabulary.encode(plain).tolist()


@pytest.mark.parametrize(("actual", "normal"), [(5, 4), (7, 4), (9, 8), (11, 8), (13, 8)])
def test_tuplets_of_any_number_are_exact(tmp_path: Path, actual: int, normal: int) -> None:
    quarter = 12 * actual  # divisions in which the tuplet's notes are whole
    length = quarter * normal // (4 * actual)
    notes = "".join(
        xml_note("C", length, "<type>16th</type>" + tuplet(actual, normal)) for _ in range(actual)
    )
    measures = f"<measure>{notes}</measure>"
    contents = musicxml(measures).replace(
        b"<divisions>12</divisions>", f"<divisions>{quarter}</divisions>".encode()
    )
    path = tmp_path / "score.musicxml"
    path.write_bytes(contents)
    [score] = read_scores(path)
    step = score.resolution * normal / (4 * actual)
    assert step.is_integer()
    assert score.notes["onset"].tolist() == [int(step) * index for index in range(actual)]


def test_a_chord_tied_over_three_bars_is_one_chord(tmp_path: Path) -> None:
    def chord(*ties: str) -> str:
        return xml_note("C", 48, xml_tie(*ties)) + xml_note("G", 48, "chord" + xml_tie(*ties))

    bars = (chord("start"), chord("stop", "start"), chord("stop"))
    score = read_xml(tmp_path, "".join(f"<measure>{bar}</measure>" for bar in bars))
    assert in_quarters(score) == [(0, 60, 12), (0, 67, 12)]


def test_a_tie_over_a_rest_joins_nothing(tmp_path: Path) -> None:
    rest = "<note><rest/><duration>12</duration></note>"
    notes = xml_note("C", 12, xml_tie("start")) + rest + xml_note("C", 12, xml_tie("stop"))
    score = read_xml(tmp_path, f"<measure>{notes}</measure>", time_signature(3, 4))
    assert in_quarters(score) == [(0, 60, 1), (2, 60, 1)]


# --- Instruments


def test_unpitched_notes_are_percussion(tmp_path: Path) -> None:
    drum = (
        "<note><unpitched><display-step>C</display-step><display-octave>5</display-octave>"
        "</unpitched><duration>12</duration></note>"
    )
    score = read_xml(tmp_path, f"<measure>{drum}{xml_note('C', 12)}</measure>")
    assert score.notes["program"].tolist() == [DRUMS, 0]


# --- Repeats


@pytest.mark.parametrize("parts", [1, 2])
def test_repeats_are_played_once_unless_asked_for(tmp_path: Path, parts: int) -> None:
    measures = [
        xml_note("C", 12),
        repeat_sign("forward") + xml_note("D", 12),
        xml_note("E", 12) + repeat_sign("backward"),
        xml_note("F", 12),
    ]
    once = played(tmp_path, measures, expand=False, parts=parts)
    twice = played(tmp_path, measures, expand=True, parts=parts)
    assert once[::parts] == [60, 62, 64, 65]
    assert twice[::parts] == [60, 62, 64, 62, 64, 65]


def test_endings_are_played_one_after_the_other_when_repeats_are(tmp_path: Path) -> None:
    def left(number: int) -> str:
        return f'<barline location="left">{ending(number, "start")}</barline>'

    measures = [
        repeat_sign("forward") + xml_note("C", 12),
        left(1) + xml_note("D", 12) + repeat_sign("backward", ending(1, "stop")),
        left(2) + xml_note("E", 12) + f'<barline location="right">{ending(2, "stop")}</barline>',
    ]
    assert played(tmp_path, measures, expand=False) == [60, 62, 64]
    assert played(tmp_path, measures, expand=True) == [60, 62, 60, 64]


def test_da_capo_al_fine_ends_at_the_fine_when_repeats_are_played(tmp_path: Path) -> None:
    def words(text: str) -> str:
        return f"<direction><direction-type><words>{text}</words></direction-type></direction>"

    measures = [
        xml_note("C", 12),
        xml_note("D", 12) + words("Fine"),
        xml_note("E", 12) + words("D.C. al Fine"),
    ]
    assert played(tmp_path, measures, expand=False) == [60, 62, 64]
    assert played(tmp_path, measures, expand=True) == [60, 62, 64, 60, 62]


def test_a_score_without_repeats_is_the_same_with_the_flag(tmp_path: Path) -> None:
    measures = [xml_note("C", 12), xml_note("D", 12)]
    assert played(tmp_path, measures, expand=True) == played(tmp_path, measures, expand=False)


def test_repeat_signs_that_make_no_sense_are_a_reason_when_they_are_to_be_played(
    tmp_path: Path,
) -> None:
    measures = [
        repeat_sign("forward") + xml_note("C", 12),
        repeat_sign("forward") + xml_note("D", 12),
        xml_note("E", 12) + repeat_sign("backward"),
    ]
    assert played(tmp_path, measures, expand=False) == [60, 62, 64]
    with pytest.raises(ValueError, match="contradictory repeat signs: the repeat that starts"):
        played(tmp_path, measures, expand=True)


# --- Size


@pytest.mark.parametrize("reader", MIDI_READERS)
def test_a_score_of_2000_pages_is_read_whole(reader: str) -> None:
    pytest.importorskip(reader)
    num_notes = 50_000 if reader == "music21" else 400_000  # an opera has 200,000
    score = read_midi(midi_bytes(NOTE * num_notes), reader)
    assert score.notes.size == num_notes
    assert int(score.notes["onset"][-1]) == 96 * (num_notes - 1)
    assert EventVocabulary().encode(score).size == 3 * num_notes + 1  # no SHIFT before the first


@pytest.mark.slow  # ten seconds of reading
def test_more_notes_than_any_music_has_are_a_reason() -> None:
    pytest.importorskip("symusic")
    note = bytes([0, 60, 80, 1, 60, 0])  # by running status
    track = NOTE + note * MAX_NOTES
    with pytest.raises(ValueError, match=f"has {MAX_NOTES + 1} notes; at most {MAX_NOTES} are"):
        read_midi(midi_bytes(track), "symusic")
