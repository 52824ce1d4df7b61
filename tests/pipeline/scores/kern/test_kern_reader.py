"""kern: every construct by the Humdrum reference, and what cannot be read refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.scores.formats import Reading
from pipeline.scores.kern import reader
from pipeline.scores.kern.attacks import count_attacks
from pipeline.scores.notes import DRUMS, Score
from pipeline.scores.reading import read_scores

Heard = list[tuple[float, int, float]]


def kern(text: str) -> str:
    """Kern text in which two or more spaces stand for a tab, as columns line up so."""
    lines = [re.sub(r" {2,}", "\t", line.strip()) for line in text.strip().splitlines()]
    return "\n".join(lines) + "\n"


def scores_of(folder: Path, text: str, *, expand_repeats: bool = False) -> list[Score]:
    path = folder / "score.krn"
    path.write_text(text, "utf-8", newline="")
    return read_scores(path, Reading(expand_repeats=expand_repeats))


def heard(folder: Path, text: str, *, expand_repeats: bool = False) -> Heard:
    [score] = scores_of(folder, kern(text), expand_repeats=expand_repeats)
    return in_quarters(score)


def in_quarters(score: Score) -> Heard:
    return [
        (onset / score.resolution, pitch, length / score.resolution)
        for onset, _, pitch, length, _ in score.notes.tolist()
    ]


# --- Spine paths


def test_a_split_of_a_split_loses_no_note(tmp_path: Path) -> None:
    text = """
        **kern
        *M4/4
        =1
        *^
        *    *^
        4c   4e   4g
        4d   4f   4a
        *    *v   *v
        2c   2e
        *v   *v
        =2
        1g
        *-
    """
    assert heard(tmp_path, text) == [
        *((0, 60, 1), (0, 64, 1), (0, 67, 1), (1, 62, 1), (1, 65, 1), (1, 69, 1)),
        *((2, 60, 2), (2, 64, 2), (4, 67, 4)),
    ]


def test_a_spine_split_again_after_it_was_joined_loses_no_note(tmp_path: Path) -> None:
    text = """
        **kern   **kern
        *clefF4  *clefG2
        *M4/4    *M4/4
        =1       =1
        *        *^
        2C       2c    2e
        2D       2d    2f
        *        *v    *v
        =2       =2
        *        *^
        *        *     *^
        2F       2g    2a    2b
        2G       2g    2a    2b
        *        *v    *v    *
        *        *v    *v
        =3       =3
        1A       1cc
        *-       *-
    """
    notes = heard(tmp_path, text)
    assert len(notes) == 16
    assert notes[-2:] == [(8, 57, 4), (8, 72, 4)]
    assert notes[6:10] == [(4, 53, 2), (4, 67, 2), (4, 69, 2), (4, 71, 2)]


@pytest.mark.parametrize(
    "joins",
    [
        ["*v *v *v *v"],
        ["*v *v * *", "*v *v *", "*v *v"],
        ["* * *v *v", "* *v *v", "*v *v"],
        ["* *v *v *", "*v *v *", "*v *v"],
        ["* *v *v *", "* *v *v", "*v *v"],
        ["*v *v * *", "* *v *v", "*v *v"],
    ],
)
@pytest.mark.parametrize(
    "splits",
    [["*^", "*^ *", "* * *^"], ["*^", "* *^", "* *^ *"], ["*^", "*^ *^"], ["*^", "*^ *", "*^ * *"]],
)
def test_four_voices_split_and_joined_in_any_order(
    tmp_path: Path, splits: list[str], joins: list[str]
) -> None:
    lines = ["**kern", "=1", *splits, "4c 4e 4g 4b", "4d 4f 4a 4cc", *joins, "=2", "2g", "*-"]
    text = "\n".join(line.replace(" ", "\t") for line in lines)
    [score] = scores_of(tmp_path, text)
    first, second = (60, 64, 67, 71), (62, 65, 69, 72)
    assert in_quarters(score) == [
        *((0, pitch, 1) for pitch in first),
        *((1, pitch, 1) for pitch in second),
        (2, 67, 2),
    ]


def test_a_spine_may_split_and_join_while_its_note_sounds(tmp_path: Path) -> None:
    text = """
        **kern  **kern
        1C      2c
        *       *^
        .       2d    4g
        .       .     4a
        =       =     =
        2D      2e    4b
        .       .     4cc
        *       *v    *v
        2E      2f
        *-      *-
    """
    assert heard(tmp_path, text) == [
        *((0, 48, 4), (0, 60, 2), (2, 62, 2), (2, 67, 1), (3, 69, 1)),
        *((4, 50, 2), (4, 64, 2), (4, 71, 1), (5, 72, 1), (6, 52, 2), (6, 65, 2)),
    ]


def test_a_second_voice_may_begin_within_a_note(tmp_path: Path) -> None:
    text = """
        **kern  **kern
        4C      1c
        *       *^
        4D      .     4g
        2E      .     2a
        *       *v    *v
        4F      4d
        *-      *-
    """
    assert heard(tmp_path, text) == [
        *((0, 48, 1), (0, 60, 4), (1, 50, 1), (1, 67, 1), (2, 52, 2), (2, 69, 2)),
        *((4, 53, 1), (4, 62, 1)),
    ]


def test_an_added_spine_begins_where_it_is_added(tmp_path: Path) -> None:
    text = """
        **kern
        *M4/4
        =1
        2c
        2d
        *+
        *       **kern
        =2      =2
        2e      2E
        2f      2F
        *-      *-
    """
    assert heard(tmp_path, text) == [
        *((0, 60, 2), (2, 62, 2), (4, 52, 2), (4, 64, 2), (6, 53, 2), (6, 65, 2))
    ]


def test_a_spine_may_end_before_the_others_and_another_be_added(tmp_path: Path) -> None:
    text = """
        **kern  **kern  **dynam
        2C      2c      p
        *-      *       *
        2d      .
        *+      *
        *       **kern  *
        1e      1E      f
        *-      *-      *-
    """
    assert heard(tmp_path, text) == [(0, 48, 2), (0, 60, 2), (2, 62, 2), (4, 52, 4), (4, 64, 4)]


def test_spines_change_places(tmp_path: Path) -> None:
    text = """
        **kern   **text  **kern
        *Ipiano  *       *Iflt
        4c       la      4cc
        *x       *x      *
        *        *x      *x
        la       4dd     4d
        *-       *-      *-
    """
    [score] = scores_of(tmp_path, kern(text))
    assert [row[1:3] for row in score.notes.tolist()] == [(0, 60), (73, 72), (0, 62), (73, 74)]


def test_several_pieces_stand_in_one_file(tmp_path: Path) -> None:
    text = kern("**kern\n4c\n*-\n!! The second\n**kern  **kern\n4d  4D\n*-  *-\n")
    assert [in_quarters(score) for score in scores_of(tmp_path, text)] == [
        [(0, 60, 1)],
        [(0, 50, 1), (0, 62, 1)],
    ]


# --- Durations and pitches


@pytest.mark.parametrize(
    ("token", "quarters"),
    [
        *(
            ("4c", 1),
            ("4.c", 1.5),
            ("4..c", 1.75),
            ("0c", 8),
            ("00c", 16),
            ("000c", 32),
            ("0.c", 12),
        ),
        *(("12c", 1 / 3), ("6.c", 1), ("20c", 1 / 5), ("3%2c", 8 / 3), ("3%2.c", 4), ("c4", 1)),
        *(("4c.", 1.5), ("8Pc", 0.5), ("16cQ", 0.25), ("4cyy", 1), ("4c>X", 1), ("4cTR", 1)),
        *(("2c@16@", 2), ("4.c@32@L", 1.5), ("2c@@32@@", 2)),  # tremolos
    ],
)
def test_a_note_lasts_as_long_as_it_says(tmp_path: Path, token: str, quarters: float) -> None:
    [first, second] = heard(tmp_path, f"**kern\n{token}\n4d\n*-")
    assert first == (0, 60, pytest.approx(quarters))
    assert second[0] == pytest.approx(quarters)


@pytest.mark.parametrize(
    ("token", "pitch"),
    [
        *(
            ("4C", 48),
            ("4BB", 47),
            ("4b", 71),
            ("4ccc", 84),
            ("4f#", 66),
            ("4g--", 65),
            ("4c-", 59),
        ),
        *(("4B#", 60), ("4en", 64), ("4e-X", 63), ("(<4A-'/L", 56), ("4B<-", 58)),
    ],
)
def test_pitch_is_letters_and_accidental(tmp_path: Path, token: str, pitch: int) -> None:
    assert heard(tmp_path, f"**kern\n{token}\n*-") == [(0, pitch, 1)]


@pytest.mark.parametrize("code", ["cor", "clarb", "cbass", "picco", "tromp", "saxA"])
def test_a_transposing_instrument_is_written_as_it_sounds(tmp_path: Path, code: str) -> None:
    text = f"**kern\n*I{code}\n*ITrd-1c-2\n*clefGv2\n*8va\n4g\n*-"
    assert heard(tmp_path, text) == [(0, 67, 1)]


def test_a_chord_is_its_notes_and_a_missing_duration_is_that_of_the_first(tmp_path: Path) -> None:
    text = "**kern\n4c e 4g\n8r 8d\n8f\n*-"
    assert heard(tmp_path, text) == [
        *((0, 60, 1), (0, 64, 1), (0, 67, 1), (1, 62, 0.5), (1.5, 65, 0.5))
    ]


# --- Ties and grace notes


def test_ties_join_notes_across_bars_chords_and_voices(tmp_path: Path) -> None:
    text = """
        **kern     **kern
        [2c [2e    2g
        2c_ 2e]    [2cc
        *^         *
        =          =     =
        2c]        4f    4cc]
        .          4f    4b
        *v         *v    *
        *-         *-
    """
    assert heard(tmp_path, text) == [
        *((0, 60, 6), (0, 64, 4), (0, 67, 2), (2, 72, 3), (4, 65, 1), (5, 65, 1), (5, 71, 1))
    ]


def test_a_tie_crosses_to_another_spine_and_two_voices_hold_one_pitch(tmp_path: Path) -> None:
    crossing = "**kern  **kern\n[4c  4e\n4r  4c]\n*-  *-"
    unison = "**kern  **kern\n[4c  [4c\n4c]  2c]\n*-  *-"
    assert heard(tmp_path, crossing) == [(0, 60, 2), (0, 64, 1)]
    assert heard(tmp_path, unison) == [(0, 60, 2), (0, 60, 3)]


def test_a_doubled_tie_sign_reaches_over_notes_in_between(tmp_path: Path) -> None:
    text = "**kern\n[[8c\n[8e\n4c]] 4e]\n4c\n*-"
    assert heard(tmp_path, text) == [(0, 60, 2), (0.5, 64, 1.5), (2, 60, 1)]


def test_a_linked_tie_leads_to_another_staff_at_once_or_later(tmp_path: Path) -> None:
    text = """
        **kern  **kern
        2F      4f
        .       N[4B<
        2BN]    4g
        .       [4d
        4r      N[4c
        4r      4d]
        4cN_    2e
        4c      .
        4cN]    4r
        *-      *-
    """
    apart = heard(tmp_path, text)
    assert [(onset, length) for onset, pitch, length in apart if pitch == 60] == [
        (4, 1), (6, 1), (7, 1), (8, 1)
    ]  # fmt: skip
    linked = heard(tmp_path, text + "        !!!RDF**kern: N = linked\n")
    assert [(onset, length) for onset, pitch, length in linked if pitch == 60] == [(4, 5), (7, 1)]
    assert [note for note in linked if note[1] == 59] == [(1, 59, 3)]
    slurs = heard(tmp_path, text + "        !!!RDF**kern: N = linked slur\n")
    assert slurs == apart


def test_a_tie_that_leads_nowhere_is_no_tie(tmp_path: Path) -> None:
    assert heard(tmp_path, "**kern\n[4c\n4d\n4c]\n4e]\n*-") == [
        *((0, 60, 1), (1, 62, 1), (2, 60, 1), (3, 64, 1))
    ]


def test_grace_notes_come_right_before_the_beat(tmp_path: Path) -> None:
    text = """
        **kern  **kern
        4C      4c
        .       8dq
        .       8eq 8gq
        4D      4f
        *-      *-
    """
    twelfth = pytest.approx(1 / 12)
    assert heard(tmp_path, text) == [
        *((0, 48, 1), (0, 60, 1), (pytest.approx(10 / 12), 62, twelfth)),
        (pytest.approx(11 / 12), 64, twelfth),
        (pytest.approx(11 / 12), 67, twelfth),
        *((1, 50, 1), (1, 65, 1)),
    ]


def test_grace_notes_of_two_voices_in_one_record_sound_together(tmp_path: Path) -> None:
    text = "**kern\n4c\n*^\nq8d  8fq\n4e  4g\n*v  *v\n*-"
    assert [note[0] for note in heard(tmp_path, text)] == [
        *(0, pytest.approx(11 / 12), pytest.approx(11 / 12), 1, 1)
    ]


# --- Instruments and tempo


def test_programs_percussion_and_tempo(tmp_path: Path) -> None:
    text = """
        **kern   **kern   **kern    **kern
        *ICstr   *ICvox   *ICperc   *MM[Allegro]
        *Icello  *        *Isdrum   *
        *MM90.5  *MM90.5  *MM90.5   *MM90.5
        *ICstr   *        *         *
        4C       4c       4Rcc      4e
        *Ivioln  *        *         *
        4D       4d       4b        4f
        *-       *-       *-        *-
    """
    [score] = scores_of(tmp_path, kern(text))
    assert [row[1:3] for row in score.notes.tolist()] == [
        *((0, 64), (42, 48), (53, 60), (DRUMS, 38), (0, 65), (40, 50), (53, 62), (DRUMS, 38))
    ]
    assert score.tempo == 90.5


def test_of_tempi_at_one_time_the_last_holds(tmp_path: Path) -> None:
    text = "**kern\n*MM132\n*MM60\n*MM90\n4c\n*MM40\n4d\n*-"
    assert [score.tempo for score in scores_of(tmp_path, text)] == [90]


# --- What cannot be read


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("4c\n*-", r"line 1: '4c', where a spine must begin \(\*\*kern\)"),
        ("**kern  **kern\n4c\n*-  *-", "line 2: 1 tokens for 2 spines"),
        ("**kern\n4c", "line 2: cut off"),
        ("**kern  **kern\n*v  *\n*-  *-", r"line 2: \*v without a neighbour"),
        ("**kern  **text\n*v  *v\n*-", r"line 2: \*v joins spines of different kinds"),
        ("**kern  **kern\n*x  *\n*-  *-", r"line 2: \*x without a neighbour"),
        ("**kern\n*+\n*  *\n*-  *-", r"line 3: a spine added by \*\+ has no exclusive"),
        ("**kern  **kern\n*  4c\n*-  *-", "line 2: '4c' in a record of interpretations"),
        ("**kern  **kern\n=2  4c\n*-  *-", "line 2: '4c' in a record of bar lines"),
        ("**kern  **kern\n4c  =2\n*-  *-", "line 2: '=2' has neither a pitch"),
        ("**kern  **kern\n2c  4e\n4d  4f\n*-  *-", "line 3: notes that start together are due at"),
        ("**kern  **kern\n4c  2e\n.  4f\n*-  *-", r"line 3: \*\*kern spine 1 is silent from"),
        ("**kern  **kern\n4c  4e\n.  4f\n*-  *-", r"line 3: \*\*kern spine 1 has no note or rest"),
        ("**kern\n4ryy4G-\n*-", "line 2: '4ryy4G-' has two durations"),
        ("**kern\n8FzF\n*-", "line 2: '8FzF' has two pitches"),
        ("**kern\n4c#n\n*-", "line 2: '4c#n' has two accidentals"),
        ("**kern\nc\n*-", "line 2: a note or rest without a duration"),
        ("**kern\n4%0c\n*-", "line 2: '4%0c' has a duration that does not exist"),
        ("**kern\n4cccccccc\n*-", "line 2: '4cccccccc' is MIDI key 144"),
        ("**kern\n4z\n*-", "line 2: '4z' has neither a pitch"),
        ("**kern\n4Rc\n*-", r"line 2: an unpitched note \(R\)"),
        ("**mens\nSc\n*-", r"line 1: a spine of kind \*\*mens"),
        ("**text\nla\n*-", r"no \*\*kern spine in it, but \*\*text"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name_and_line(
    tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        heard(tmp_path, text)


def test_a_note_that_the_reader_loses_is_found_by_the_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows_of = reader._rows
    monkeypatch.setattr(reader, "_rows", lambda strikes: rows_of(strikes)[1:])
    with pytest.raises(ValueError, match="2 notes were read, but 3 are written"):
        heard(tmp_path, "**kern\n4c\n[4d\n4d]\n4e\n*-")


# --- Repeats


def played(folder: Path, text: str) -> str:
    letters = {60: "C", 62: "D", 64: "E", 65: "F", 67: "G"}
    notes = heard(folder, text.replace(" ", "\n"), expand_repeats=True)
    assert [onset for onset, _, _ in notes] == [*range(len(notes))]
    return "".join(letters[pitch] for _, pitch, _ in notes)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("**kern 4c =:|! 4d =:|! *-", "CCDD"),
        ("**kern 4c =!|: 4d =:|! 4e *-", "CDDE"),
        ("**kern 4c =:|!|: 4d =:|! 4e =:|! *-", "CCDDEE"),
        ("**kern 4c =2:|! 4d =3!|: 4e ==:|! 4f *-", "CCDEEF"),
        ("**kern 4c =:||: 4d ==|! *-", "CCD"),
        ("**kern *>[A,A,B] *>norep[A,B] *>A 4c =:|! *>B 4d *-", "CCD"),
        ("**kern *>[A,A1,A,A2] *>A 4c *>A1 4d =:|! *>A2 4e *-", "CDCE"),
        ("**kern *>[A,B,A] *>A 4c ==|! *>B 4d *-", "CDC"),
        ("**kern 4c 4d *-", "CD"),
    ],
)
def test_repeats_are_played_as_the_list_or_else_the_signs_say(
    tmp_path: Path, text: str, order: str
) -> None:
    assert played(tmp_path, text) == order
    assert len(heard(tmp_path, text.replace(" ", "\n"))) == text.count(" 4")


def test_six_repeated_sections_are_each_played_twice(tmp_path: Path) -> None:
    section = "1c\n=\n1d\n=:|!\n"
    notes = heard(tmp_path, f"**kern\n{section * 6}*-", expand_repeats=True)
    assert len(notes) == 24
    assert notes[-1] == (92, 62, 4)


def test_an_expansion_list_says_what_a_da_capo_plays(tmp_path: Path) -> None:
    text = "**kern *>[A,B,A] *>A 4c !LO:TX:t=Fine *>B 4d !LO:TX:t=D.C. *-".replace(" ", "\n")
    assert [pitch for _, pitch, _ in heard(tmp_path, text, expand_repeats=True)] == [60, 62, 60]


def test_a_tie_leads_into_each_ending(tmp_path: Path) -> None:
    text = "**kern *>[A,A1,A,A2] *>A 4c [4d *>A1 4d] =:|! *>A2 2d] *-".replace(" ", "\n")
    assert heard(tmp_path, text, expand_repeats=True) == [
        *((0, 60, 1), (1, 62, 2), (3, 60, 1), (4, 62, 3))
    ]
    # As written, the second ending follows the first, and its tie leads nowhere.
    assert heard(tmp_path, text) == [(0, 60, 1), (1, 62, 2), (3, 62, 2)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("*>A 4c =:|! *>B 4d", r"line 2: section label \*>A and repeat signs, but no expansion"),
        ("*>[A,B] *>A 4c", r"line 2: \*>\[A,B\] names 'B'"),
        ("*>[A] *>A 4c *>A 4d", "line 5: a second section 'A'"),
        ("*>norep[A] *>A 4c", "line 2: 0 expansion lists without a name"),
        ("*>[A] 4c *>A 4d", r"line 4: notes before the first section"),
        ("4c !LO:TX:t=D.C.", r"line 3: D\.C\. with --expand-repeats, but no expansion list"),
        ("!!LO:TX:b:t=Dal_segno. 4c".replace("_", "\u2003"), "line 2: Dal\u2003segno with"),
    ],
)
def test_repeats_that_cannot_be_followed_are_refused_by_name(
    tmp_path: Path, text: str, reason: str
) -> None:
    text = f"**kern {text} *-".replace(" ", "\n")
    assert heard(tmp_path, text)
    with pytest.raises(ValueError, match=reason):
        heard(tmp_path, text, expand_repeats=True)


def test_a_repeat_within_a_sounding_note_is_refused_by_name(tmp_path: Path) -> None:
    text = "**kern  **kern\n2c  4e\n=:|!  =:|!\n.  4f\n*-  *-"
    with pytest.raises(ValueError, match=r"line 3: notes sound on across =:\|!"):
        heard(tmp_path, text, expand_repeats=True)


# --- Any spine paths, and any damage


@st.composite
def pieces(draw: st.DrawFn) -> tuple[str, Heard]:
    """A piece of random splits and joins between its bars, and what sounds in it."""
    lines = ["**kern\t**kern"]
    widths = [1, 1]  # spines of each part
    notes: Heard = []
    for bar in range(draw(st.integers(1, 6))):
        for _ in range(draw(st.integers(0, 4))):
            part = draw(st.integers(0, 1))
            paths = [["*"] * width for width in widths]
            place = draw(st.integers(0, widths[part] - 1))
            if draw(st.booleans()) and widths[part] < 5:
                paths[part][place] = "*^"
                widths[part] += 1
            elif place + 1 < widths[part]:
                paths[part][place : place + 2] = ["*v", "*v"]
                widths[part] -= 1
            lines.append("\t".join(paths[0] + paths[1]))
        num_spines = sum(widths)
        lines.append("\t".join([f"={bar + 1}"] * num_spines))
        # Eighths at which each spine starts a note; the first is the bar's beginning.
        starts = [
            sorted({0, *draw(st.lists(st.integers(1, 7), max_size=4))}) for _ in range(num_spines)
        ]
        for eighth in sorted(set().union(*starts)):
            tokens = []
            for own in starts:
                if eighth not in own:
                    tokens.append(".")
                    continue
                end = min([later for later in own if later > eighth], default=8)
                letter = draw(st.sampled_from("cdefgab"))
                pitch = 60 + (0, 2, 4, 5, 7, 9, 11)["cdefgab".index(letter)]
                notes.append((4 * bar + eighth / 2, pitch, (end - eighth) / 2))
                tokens.append(f"8%{end - eighth}{letter}")
            lines.append("\t".join(tokens))
    lines.append("\t".join(["*-"] * sum(widths)))
    return "\n".join(lines), sorted(notes)


@given(pieces())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_splits_and_joins_keep_every_note_at_its_time(piece: tuple[str, Heard]) -> None:
    text, notes = piece
    [score] = reader.kern_scores(text)
    assert sorted(in_quarters(score)) == notes
    assert count_attacks(text) == [len(notes)]


WHOLE = kern("""
    !!!COM: Nobody
    **kern   **kern   **dynam
    *Icello  *Iflt    *
    *>[A,A]  *>[A,A]  *>[A,A]
    *>A      *>A      *>A
    *^       *        *
    4C [4E   4r       4cc#    p
    4D       4E]      4dd     f
    *v       *v       *       *
    =2:|!    =2:|!    =2:|!
    .        q8e      .
    2G       2b-      .
    *-       *-       *-
""")


@given(st.integers(0, len(WHOLE) - 1), st.characters(codec="latin-1"), st.booleans())
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_changed_character_is_a_reason_or_a_score_and_never_a_crash(
    tmp_path: Path, place: int, character: str, expand_repeats: bool
) -> None:
    assert scores_of(tmp_path, WHOLE)
    changed = WHOLE[:place] + character + WHOLE[place + 1 :]
    try:
        assert scores_of(tmp_path, changed, expand_repeats=expand_repeats)
    except ValueError as error:
        assert str(error)
