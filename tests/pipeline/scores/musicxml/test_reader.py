"""MusicXML: each note at its time, of its instrument, tied as printed; each bar in its place."""

from __future__ import annotations

import zipfile
from pathlib import Path

import music21
import pytest

from pipeline.scores.formats import Reading
from pipeline.scores.musicxml.part_reader import PartReader
from pipeline.scores.musicxml.reader import read_musicxml
from pipeline.scores.notes import DRUMS, Score
from pipeline.scores.reading import read_score
from pipeline.sources.bach import corpus_chorales
from tests.pipeline.scores.by_music21 import notated_scores
from tests.pipeline.scores.test_odd_music import ending, repeat_sign
from tests.pipeline.scores.test_reading import in_quarters, xml_note, xml_tie

FOUR_FOUR = "<time><beats>4</beats><beat-type>4</beat-type></time>"
BACKUP = "<backup><duration>{}</duration></backup>"


def score_of(
    folder: Path,
    *parts: list[str],
    attributes: str = FOUR_FOUR,
    lists: str = "",
    expand: bool = False,
) -> Score:
    """The score of parts of measures, in divisions of 12; `lists` stands in each <score-part>."""
    header = f"<attributes><divisions>12</divisions>{attributes}</attributes>"
    names = [f"P{number}" for number in range(len(parts))]
    music = ""
    for name, measures in zip(names, parts, strict=True):
        body = "".join(
            f'<measure number="{number}">{header * (number == 1)}{measure}</measure>'
            for number, measure in enumerate(measures, 1)
        )
        music += f'<part id="{name}">{body}</part>'
    part_list = "".join(
        f'<score-part id="{name}"><part-name>{name}</part-name>{lists}</score-part>'
        for name in names
    )
    path = folder / "score.musicxml"
    path.write_text(
        f'<score-partwise version="4.0"><part-list>{part_list}</part-list>{music}</score-partwise>'
    )
    return read_score(path, Reading(expand_repeats=expand))


def whole(step: str, more: str = "", octave: int = 4) -> str:
    return xml_note(step, 48, more, octave)


def rest(length: int, more: str = "") -> str:
    return f"<note><rest{more}/><duration>{length}</duration></note>"


# --- Bars


def test_bars_of_one_number_begin_together_however_much_of_them_a_part_fills(
    tmp_path: Path,
) -> None:
    upper = [whole("C"), whole("D"), whole("E"), whole("F")]
    lower = [whole("C", octave=3), xml_note("D", 24, octave=3), "", whole("F", octave=3)]
    score = score_of(tmp_path, upper, lower)
    assert in_quarters(score) == [
        *((0, 48, 4), (0, 60, 4), (4, 50, 2), (4, 62, 4)),
        *((8, 64, 4), (12, 53, 4), (12, 65, 4)),
    ]
    assert score.adjustments == {"bars that their parts fill unequally": 1}


def test_a_bar_that_no_part_fills_is_as_short_as_its_notes(tmp_path: Path) -> None:
    score = score_of(tmp_path, [whole("C"), xml_note("D", 24), xml_note("E", 24), whole("F")])
    assert [onset for onset, _, _ in in_quarters(score)] == [0, 4, 6, 8]


def test_a_length_that_the_divisions_cannot_say_is_the_printed_one(tmp_path: Path) -> None:
    def printed(step: str, duration: int, kind: str, more: str = "", octave: int = 4) -> str:
        kind = f"<type>{kind}</type>{more}"
        return xml_note(step, duration, octave=octave).replace("</note>", f"{kind}</note>")

    six = "<time><beats>6</beats><beat-type>8</beat-type></time>"
    coarse = "<attributes><divisions>1</divisions></attributes>"
    triplet = "<time-modification><actual-notes>3</actual-notes><normal-notes>2</normal-notes>"
    triplet += "</time-modification>"
    # Two dotted quarters of 1.5 quarters, rounded to 2; then triplets of 1/3, rounded to 0 or 1.
    dotted = [printed(step, 2, "quarter", "<dot/>", octave=3) for step in "CD"]
    eighths = [
        printed(step, n, "eighth", triplet) for step, n in zip("CDE", (0, 1, 0), strict=True)
    ]
    voice = BACKUP.format(4) + xml_note("G", 1) + xml_note("A", 1) + xml_note("B", 1)
    score = score_of(
        tmp_path,
        [coarse + "".join(dotted) + voice, "".join(eighths) + printed("F", 2, "half")],
        [xml_note("C", 36, octave=5), xml_note("D", 36, octave=5)],
        attributes=six,
    )
    low = [(onset, pitch, length) for onset, pitch, length in in_quarters(score) if pitch < 72]
    third = pytest.approx(1 / 3)
    assert low == [
        *((0, 48, 1.5), (0, 67, 1), (1, 69, 1), (1.5, 50, 1.5), (2, 71, 1)),
        *((3, 60, third), (3 + 1 / 3, 62, third), (3 + 2 / 3, 64, third), (4, 65, 2)),
    ]
    assert [onset for onset, pitch, _ in in_quarters(score) if pitch >= 72] == [0, 3]
    assert score.adjustments == {}


def test_an_accidental_that_is_only_printed_sounds(tmp_path: Path) -> None:
    printed = [f"<accidental>{name}</accidental>" for name in ("sharp", "flat-flat", "natural")]
    score = score_of(
        tmp_path, [whole(step, more) for step, more in zip("BEB", printed, strict=True)]
    )
    assert [pitch for _, pitch, _ in in_quarters(score)] == [72, 62, 71]


def test_a_pitch_beyond_the_keys_of_midi_is_refused_by_its_bar(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bar 2 of part P0: a note is MIDI key 132; keys go from"):
        score_of(tmp_path, [whole("G", octave=9), whole("C", octave=10)])


def test_a_rest_too_many_in_one_part_moves_no_note(tmp_path: Path) -> None:
    upper = [whole("C") + rest(24), whole("D")]
    score = score_of(tmp_path, upper, [whole("C"), whole("D")])
    assert [onset for onset, _, _ in in_quarters(score)] == [0, 0, 4, 4]


def test_a_rest_for_the_whole_bar_is_as_long_as_the_bar_whatever_it_says(tmp_path: Path) -> None:
    three = "<time><beats>3</beats><beat-type>4</beat-type></time>"
    measures = [rest(48, ' measure="yes"'), xml_note("C", 36), rest(48, ' measure="yes"')]
    other = [xml_note("C", 36), xml_note("D", 36), xml_note("E", 36)]
    assert in_quarters(score_of(tmp_path, measures, attributes=three)) == [(3, 60, 3)]
    both = in_quarters(score_of(tmp_path, measures, other, attributes=three))
    assert both == [(0, 60, 3), (3, 60, 3), (3, 62, 3), (6, 64, 3)]


def test_a_whole_rest_beside_half_a_bar_after_a_repeat_sign_is_as_short_as_that_half(
    tmp_path: Path,
) -> None:
    one = [xml_note("C", 36), xml_note("D", 12), whole("E")]
    other = [xml_note("C", 36, octave=3), rest(48), whole("E", octave=3)]
    text = '<measure number="2">'
    score_of(tmp_path, one, other)
    path = tmp_path / "score.musicxml"
    path.write_text(path.read_text().replace(text, text.replace(">", ' implicit="yes">')))
    assert [onset for onset, _, _ in in_quarters(read_score(path))] == [0, 0, 3, 4, 4]


def test_an_offset_of_a_direction_lengthens_no_bar(tmp_path: Path) -> None:
    words = "<direction><direction-type><words>dolce</words></direction-type>{}</direction>"
    late = words.format("<offset>30</offset>")
    score = score_of(tmp_path, [whole("C") + late, whole("D")], [whole("E"), whole("F")])
    assert [onset for onset, _, _ in in_quarters(score)] == [0, 0, 4, 4]


def test_tuplets_rounded_by_their_writer_do_not_move_the_next_bar(tmp_path: Path) -> None:
    rounded = "".join(xml_note(step, 6 if step == "E" else 7) for step in "CDEFGAB")  # 47 and 48
    score = score_of(tmp_path, [rounded.replace("<duration>6", "<duration>5"), whole("C")])
    assert in_quarters(score)[-1][0] == 4


def test_what_contradicts_itself_is_refused_with_the_bar(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"bar 2 of part P0: <backup> goes 1 quarters before its"):
        score_of(tmp_path, [whole("C"), whole("D") + BACKUP.format(60)])
    with pytest.raises(ValueError, match=r"bar 1 of part P0: .*no pitch"):
        score_of(tmp_path, ["<note><duration>12</duration></note>"])


# --- Transposition


def transpose(semitones: str, more: str = "", number: str = "") -> str:
    return f"<transpose{number}><chromatic>{semitones}</chromatic>{more}</transpose>"


def test_a_part_sounds_as_its_transposition_says(tmp_path: Path) -> None:
    def pitches(*transpositions: str) -> list[int]:
        attributes = FOUR_FOUR + "".join(transpositions)
        return [
            pitch for _, pitch, _ in in_quarters(score_of(tmp_path, [D], attributes=attributes))
        ]

    octave = "<octave-change>-1</octave-change>"
    assert pitches(transpose("-2")) == pitches(transpose("-2.0")) == [60]
    assert pitches(transpose("-2", octave)) == [48]
    # A note without <staff> stands on the first one.
    assert pitches(transpose("-2", number=' number="1"')) == [60]
    assert pitches(transpose("-2", number=' number="2"')) == [62]
    assert pitches(transpose("-2"), transpose("3", number=' number="1"')) == [65]


def test_a_transposition_begins_at_its_place_for_all_voices_of_the_bar(tmp_path: Path) -> None:
    change = f"<attributes>{transpose('0')}</attributes>"
    upper = xml_note("D", 24) + change + xml_note("D", 24)
    lower = "".join(xml_note("D", 24, "<voice>2</voice>", 3) for _ in range(2))
    score = score_of(
        tmp_path, [upper + BACKUP.format(48) + lower], attributes=FOUR_FOUR + transpose("-2")
    )
    assert in_quarters(score) == [(0, 48, 2), (0, 60, 2), (2, 50, 2), (2, 62, 2)]


def test_a_part_that_is_doubled_an_octave_away_is_refused(tmp_path: Path) -> None:
    doubled = FOUR_FOUR + transpose("0", "<double/>")
    with pytest.raises(ValueError, match=r"bar 1 of part P0: <double> in <transpose>: .*write"):
        score_of(tmp_path, [D], attributes=doubled)


def test_a_tone_between_two_keys_is_counted(tmp_path: Path) -> None:
    def bent(step: str, alter: str) -> str:
        return whole(step).replace("</step>", f"</step><alter>{alter}</alter>")

    score = score_of(tmp_path, [bent("C", "0.5"), bent("D", "-0.5"), bent("E", "-1.0")])
    assert in_quarters(score) == [(0, 61, 4), (4, 62, 4), (8, 63, 4)]
    assert score.adjustments == {"tones between two keys rounded": 2}


# --- Ties


def test_a_tie_across_the_staves_of_a_part_is_one_note(tmp_path: Path) -> None:
    upper = whole("C", xml_tie("start") + "<voice>1</voice><staff>1</staff>")
    below = whole("C", xml_tie("stop") + "<voice>1</voice><staff>2</staff>")
    bass = "<voice>5</voice><staff>2</staff>"
    measures = [
        upper + BACKUP.format(48) + whole("C", bass, octave=3),
        # The staff below stands first in the file.
        whole("D", bass, octave=3) + BACKUP.format(48) + below,
    ]
    assert in_quarters(score_of(tmp_path, measures)) == [(0, 48, 4), (0, 60, 8), (4, 50, 4)]


def test_a_tie_that_is_only_printed_is_a_tie_and_counted(tmp_path: Path) -> None:
    def tied(kind: str) -> str:
        return f'<notations><tied type="{kind}"/></notations>'

    score = score_of(tmp_path, [whole("C", tied("start")), whole("C", tied("stop"))])
    assert in_quarters(score) == [(0, 60, 8)]
    assert score.adjustments == {"notes tied in print alone": 1}


def test_unisons_of_two_voices_are_tied_each_in_its_own(tmp_path: Path) -> None:
    def voice(number: int, *ties: str) -> str:
        return f"{xml_tie(*ties)}<voice>{number}</voice>"

    one = whole("C", voice(1, "start")) + BACKUP.format(48) + whole("C", voice(2))
    two = whole("C", voice(1, "stop")) + BACKUP.format(48) + whole("C", voice(2))
    score = score_of(tmp_path, [one, two])
    assert in_quarters(score) == [(0, 60, 4), (0, 60, 8), (4, 60, 4)]


def test_ties_without_another_end_are_counted(tmp_path: Path) -> None:
    score = score_of(tmp_path, [whole("C", xml_tie("stop")), whole("D", xml_tie("start"))])
    assert in_quarters(score) == [(0, 60, 4), (4, 62, 4)]
    assert score.adjustments == {"ties without another end": 1}


# --- Instruments and notes that do not sound

KIT = """<score-instrument id="{p}-kick"><instrument-name>Kick</instrument-name></score-instrument>
<score-instrument id="snare"><instrument-name>Snare</instrument-name></score-instrument>
<midi-instrument id="kick"><midi-channel>10</midi-channel><midi-program>1</midi-program>
<midi-unpitched>37</midi-unpitched></midi-instrument>
<midi-instrument id="snare"><midi-channel>10</midi-channel><midi-program>1</midi-program>
<midi-unpitched>39</midi-unpitched></midi-instrument>"""


def unpitched(instrument: str) -> str:
    return (
        "<note><unpitched><display-step>F</display-step><display-octave>4</display-octave>"
        f"</unpitched><duration>24</duration>{instrument}</note>"
    )


def test_the_instrument_of_a_note_picks_the_drum(tmp_path: Path) -> None:
    notes = [unpitched('<instrument id="kick"/>') + unpitched('<instrument id="snare"/>')]
    score = score_of(tmp_path, notes, lists=KIT)
    assert in_quarters(score) == [(0, 36, 2), (2, 38, 2)]
    assert set(score.notes["program"].tolist()) == {DRUMS}
    # Without an instrument it is the line of the staff that tells.
    assert in_quarters(score_of(tmp_path, [unpitched("")], lists=KIT)) == [(0, 65, 2)]


def test_the_instrument_of_a_note_picks_the_program(tmp_path: Path) -> None:
    lists = "".join(
        f'<midi-instrument id="{name}"><midi-program>{program}</midi-program></midi-instrument>'
        for name, program in (("flute", 74), ("oboe", 69))
    )
    notes = whole("C") + BACKUP.format(48) + whole("E", '<instrument id="oboe"/>')
    score = score_of(tmp_path, [notes], lists=lists)
    assert score.notes[["program", "pitch"]].tolist() == [(68, 64), (73, 60)]


def test_an_instrument_without_a_program_has_that_of_its_name(tmp_path: Path) -> None:
    """As in what Sibelius writes, which has no <midi-instrument>."""
    name = '<score-instrument id="{0}"><instrument-name>{1}</instrument-name></score-instrument>'
    flute, unknown = name.format("I", "Flute"), name.format("I", "Superius II")
    channel = '<midi-instrument id="I"><midi-channel>1</midi-channel></midi-instrument>'
    chosen = whole("C") + BACKUP.format(48) + whole("E", '<instrument id="II"/>')
    two = flute + name.format("II", "Violin II")
    programs = [
        score_of(tmp_path, [notes], lists=lists).notes["program"].tolist()
        for notes, lists in ((C, flute), (C, flute + channel), (C, unknown), (chosen, two))
    ]
    assert programs == [[73], [73], [0], [40, 73]]


def test_a_program_changes_within_a_part(tmp_path: Path) -> None:
    lists = '<midi-instrument id="I"><midi-program>74</midi-program></midi-instrument>'
    change = (
        '<sound><midi-instrument id="I"><midi-program>41</midi-program></midi-instrument></sound>'
    )
    upper = xml_note("C", 24) + change + xml_note("D", 24)
    lower = "".join(xml_note(step, 24, "<voice>2</voice>", 3) for step in "EF")
    score = score_of(tmp_path, [upper + BACKUP.format(48) + lower, E], lists=lists)
    assert score.notes[["program", "pitch"]].tolist() == [
        *((73, 52), (73, 60), (40, 53), (40, 62), (40, 64))
    ]


def test_cue_notes_are_silent_and_counted(tmp_path: Path) -> None:
    cue = xml_note("G", 24, octave=5).replace("<note>", "<note><cue/>")
    score = score_of(tmp_path, [xml_note("C", 24) + cue, whole("D")])
    assert in_quarters(score) == [(0, 60, 2), (4, 62, 4)]
    assert score.adjustments == {"cue notes left out": 1}


def test_of_an_artificial_harmonic_only_what_is_heard_is_read(tmp_path: Path) -> None:
    def harmonic(step: str, octave: int, which: str, chord: str = "") -> str:
        kind = f"<technical><harmonic><artificial/>{which}</harmonic></technical>"
        return xml_note(step, 24, f"{chord}<notations>{kind}</notations>", octave)

    base, touching, sounding = "<base-pitch/>", "<touching-pitch/>", "<sounding-pitch/>"
    violin = [
        # G4 stopped, C5 touched, G6 heard; an ordinary note beside them is heard too.
        harmonic("G", 4, base)
        + harmonic("C", 5, touching, "chord")
        + harmonic("G", 6, sounding, "chord")
        + xml_note("D", 24, "chord")
        + harmonic("E", 5, ""),
        harmonic("E", 4, base) + harmonic("A", 4, touching, "chord") + harmonic("A", 5, touching),
    ]
    score = score_of(tmp_path, violin)
    assert in_quarters(score) == [(0, 62, 2), (0, 91, 2), (2, 76, 2), (4, 64, 2), (6, 81, 2)]
    assert score.adjustments == {"fingers of harmonics left out": 3}
    assert score.notes_read == 8


def test_notes_of_the_second_time_only_are_left_out_and_counted(tmp_path: Path) -> None:
    def at(times: str, note: str) -> str:
        return note.replace("<note>", f'<note time-only="{times}">')

    second = BACKUP.format(48) + at("2", E) + at("2", whole("E", xml_tie("stop")))
    measures = [at("2, 1", C) + second + END, F]
    score = score_of(tmp_path, measures)
    assert in_quarters(score) == [(0, 60, 4), (8, 65, 4)]
    assert score.adjustments == {"notes of later times left out": 2}
    assert score.notes_read == 4
    with pytest.raises(ValueError, match=r"bar 1: notes that sound at certain times only .*"):
        score_of(tmp_path, measures, expand=True)


def test_what_is_heard_as_tempo_goes_before_what_is_printed(tmp_path: Path) -> None:
    mark = (
        "<direction><direction-type><metronome><beat-unit>half</beat-unit>"
        "<per-minute>{}</per-minute></metronome></direction-type>{}</direction>"
    )
    printed = score_of(tmp_path, [mark.format(60, "") + whole("C")])
    heard = score_of(tmp_path, [mark.format(60, '<sound tempo="117.3"/>') + whole("C")])
    words = score_of(tmp_path, [mark.format("ca. 60", "") + whole("C")])
    assert [score.tempo for score in (printed, heard, words)] == [120, 117.3, 100]
    spaced = score_of(tmp_path, [mark.format(" 60 ", "") + whole("C")])
    later = score_of(tmp_path, [sound('tempo="132"') + mark.format(30, "") + whole("C")])
    last = score_of(tmp_path, [sound('tempo="60"') + sound('tempo="90"') + whole("C")])
    assert [score.tempo for score in (spaced, later, last)] == [120, 132, 90]
    # <offset> puts the first of two half a bar later, or leaves its sound where it stands.
    moved = '<sound tempo="60"><offset>24</offset></sound>'
    aside = '<direction><direction-type/><offset{}>24</offset><sound tempo="60"/></direction>'
    tempos = [
        score_of(tmp_path, [first + xml_note("C", 12) + sound('tempo="90"') + E]).tempo
        for first in (moved, aside.format(' sound="yes"'), aside.format(""))
    ]
    assert tempos == [90, 90, 60]


# --- Repeats


def names(folder: Path, measures: list[str], *, expand: bool = True) -> str:
    score = score_of(folder, measures, expand=expand)
    steps = {60: "C", 62: "D", 64: "E", 65: "F", 67: "G", 69: "A"}
    return "".join(steps[pitch] for _, pitch, _ in in_quarters(score))


END = repeat_sign("backward")
START = repeat_sign("forward")


def left(number: int) -> str:
    return f'<barline location="left">{ending(number, "start")}</barline>'


def words(text: str) -> str:
    return f"<direction><direction-type><words>{text}</words></direction-type></direction>"


def sound(attributes: str) -> str:
    return f"<direction><direction-type/><sound {attributes}/></direction>"


C, D, E, F, G = (whole(step) for step in "CDEFG")


@pytest.mark.parametrize(
    ("measures", "played"),
    [
        ([C + END, D + END], "CCDD"),
        ([C + END, D + END, E + END, F + END, G + END], "CCDDEEFFGG"),
        ([START + C + END, START + D + END], "CCDD"),
        ([C, START + D + END, E], "CDDE"),
        ([START + C, left(1) + D + repeat_sign("backward", ending(1, "stop")), E], "CDCE"),
        (
            [
                *(START + C, left(1) + D + repeat_sign("backward", ending(1, "stop"))),
                left(2) + E + repeat_sign("backward", ending(2, "stop")),
                F + END,
            ],
            "CDCEFF",
        ),
        (
            [
                *(START + C, left(1) + D + repeat_sign("backward", ending(1, "stop"))),
                *(left(2) + E + f"<barline>{ending(2, 'discontinue')}</barline>", START + F + END),
            ],
            "CDCEFF",
        ),
        ([C + END.replace("<repeat ", '<repeat times="3" '), D], "CCCD"),
        ([C + END, D + words("Fine"), E + words("D.C. al Fine")], "CCDECD"),
        ([C, sound('segno="s"') + D, E + sound('dalsegno="s"'), F], "CDEDEF"),
        (
            [C, D + sound('tocoda="c"'), E + sound('dacapo="yes"'), sound('coda="c"') + F, G],
            "CDECDFG",
        ),
        (
            [
                *(C + END.replace("<repeat ", '<repeat after-jump="yes" '), D + words("Fine")),
                *(E + END, F + words("D.C. al Fine")),
            ],
            "CCDEDEFCCD",
        ),
        ([C, "<sound forward-repeat='yes'/>" + D + END, E], "CDDE"),
    ],
)
def test_repeats_are_played_as_musicians_play_them(
    tmp_path: Path, measures: list[str], played: str
) -> None:
    assert names(tmp_path, measures) == played
    assert names(tmp_path, measures, expand=False) == "CDEFG"[: len(measures)]


def test_signs_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="contradictory repeat signs: no segno for bar 2"):
        names(tmp_path, [C, D + words("D.S.")])


@pytest.mark.parametrize(
    ("measures", "reason"),
    [
        ([C, D + words("Menuetto D.C.")], "bar 2: 'Menuetto D.C.' .*which bars .* not clear"),
        ([C, D + words("M.D.C.")], "bar 2: 'M.D.C.' .*which bars"),
        ([C, D + words("D.C. al Fine e poi la Coda")], "bar 2: .*which bars"),
        ([C, D + words("Da Capo")], "bar 2: 'Da Capo' .*neither Fine nor To Coda"),
        ([C, D + sound('dacapo="yes"')], "bar 2: 'D.C.' .*neither Fine nor To Coda"),
        ([C, D + words("D.C. al Fine"), E], "bar 2: 'D.C. al Fine' .*no Fine is marked"),
        ([C, D + words("D.C. al Coda"), "<coda/>" + E], "no To Coda is marked"),
        ([C + words("Fine"), D + words("ancora una volta")], "bar 1: 'Fine' .*no D.C. or D.S."),
        ([C + words("To Coda"), D], "bar 1: 'To Coda' .*no D.C. or D.S."),
        ([C + words("Fine"), D + words("D.C."), E + words("D.C.")], "bar 3: .*second jump"),
        ([C, D + END.replace("right", "middle") + E], "bar 2: a repeat sign within the bar"),
    ],
)
def test_a_da_capo_that_leaves_the_order_open_is_refused_by_bar(
    tmp_path: Path, measures: list[str], reason: str
) -> None:
    assert names(tmp_path, measures, expand=False) == "CDEFG"[: "".join(measures).count("<pitch")]
    with pytest.raises(ValueError, match=reason):
        names(tmp_path, measures)


def test_a_da_capo_in_words_may_go_on_where_sound_says_the_order(tmp_path: Path) -> None:
    last = E + words("Menuetto D.C.") + sound('dacapo="yes"')
    assert names(tmp_path, [C, D + sound('fine="yes"'), last]) == "CDECD"
    assert names(tmp_path, [C, D + words("FINE.")]) == "CD"
    assert names(tmp_path, [C, D + words("Fine"), E + words("D.C. sin' al\nFine")]) == "CDECD"


# --- A count that cannot be fooled


def test_a_reader_that_loses_a_note_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_note = PartReader._add_note

    def lose_e(self, bar, note, *times) -> None:
        if note.findtext("pitch/step") != "E":
            add_note(self, bar, note, *times)

    monkeypatch.setattr(PartReader, "_add_note", lose_e)
    with pytest.raises(ValueError, match="1 notes were read, but 2 are written: 3 that sound"):
        score_of(tmp_path, [whole("C", xml_tie("start")) + whole("C", xml_tie("stop")) + E])


@pytest.mark.parametrize("name", ["mozart/k80/movement4", "haydn/opus1no1/movement1"])
def test_the_parts_of_a_quartet_stay_together(name: str) -> None:
    """music21 shifts a part by up to 4.5 quarters: it lengthens bars of one part."""
    folder = Path(music21.__file__).parent / "corpus"
    [path] = folder.glob(f"{name}*.mxl")
    score = read_musicxml(path)
    ends = [
        int((own["onset"] + own["duration"]).max())
        for program in set(score.notes["program"].tolist())
        for own in [score.notes[score.notes["program"] == program]]
    ]
    assert max(ends) == min(ends)


@pytest.mark.parametrize("place", [0, 120, 240])
def test_a_chorale_is_read_as_music21_reads_it(place: int) -> None:
    path = corpus_chorales()[place]
    [theirs], ours = notated_scores(path), read_musicxml(path)
    assert ours.notes.tolist() == theirs.notes.tolist()
    assert (ours.resolution, ours.tempo) == (theirs.resolution, theirs.tempo)


# --- Files


def test_a_compressed_file_a_namespace_and_timewise_are_read(tmp_path: Path) -> None:
    inner = '<score-timewise><part-list/><measure number="1"><part id="P1">{}</part></measure>'
    inner += '<measure number="2"><part id="P1">{}</part></measure></score-timewise>'
    contents = inner.format(xml_note("C", 4), xml_note("D", 4))
    path = tmp_path / "score.mxl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "META-INF/container.xml",
            '<container><rootfiles><rootfile full-path="a/b.xml"/></rootfiles></container>',
        )
        archive.writestr(
            "a/b.xml", contents.replace("<score-timewise", '<score-timewise xmlns="x"')
        )
    assert in_quarters(read_score(path)) == [(0, 60, 4), (4, 62, 4)]


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        ("<opus/>", "its root element is <opus>"),
        ("<score-partwise><part-list/>", "ParseError"),
        ("<score-partwise/>", "no notes in it"),
    ],
)
def test_what_is_no_score_is_said(tmp_path: Path, contents: str, reason: str) -> None:
    path = tmp_path / "score.xml"
    path.write_text(contents)
    with pytest.raises(ValueError, match=reason):
        read_score(path)
