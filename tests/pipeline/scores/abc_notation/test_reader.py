"""ABC 2.1 -> notes: each construct by its right value, what is beyond the reader by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.scores.abc_notation.attacks import count_attacks
from pipeline.scores.abc_notation.reader import decode, read_tunes
from pipeline.scores.notes import DRUMS, NoNotesError, Score
from pipeline.scores.reading import read_scores

HEADER = "X:1\nT:t\nM:4/4\nL:1/4\n"


def tune(music: str, fields: str = "", key: str = "C") -> str:
    """A tune in 4/4 with quarters, further fields in its header."""
    return f"{HEADER}{fields}K:{key}\n{music}\n"


def notes_of(score: Score) -> list[tuple[float, int, float]]:
    """(onset, pitch, length) in quarters."""
    return [
        (note["onset"] / score.resolution, int(note["pitch"]), note["duration"] / score.resolution)
        for note in score.notes
    ]


def read(folder: Path, text: str, *, expand_repeats: bool = False) -> Score:
    """The one tune in a text, read from a file as users read it."""
    (only,) = read_tunes(text, expand_repeats=expand_repeats)
    assert only.score is not None, only.refusal
    path = folder / "tune.abc"
    path.write_text(text)
    if not expand_repeats:
        assert notes_of(read_scores(path)[0]) == notes_of(only.score)
    return only.score


def expected(written: str) -> list[tuple[float, int, float]]:
    """`0:60(2) 2:62` as notes; the length is 1 where none is given."""
    notes = []
    for word in written.split():
        onset, _, rest = word.partition(":")
        pitch, _, length = rest.rstrip(")").partition("(")
        notes.append((float(onset), int(pitch), float(length or 1)))
    return notes


ACCIDENTALS = {
    "last to the bar line": (tune("^F F|F =F", key="D"), "0:66 1:66 2:66 3:65"),
    "hold in all octaves": (tune("^F f F,|f"), "0:66 1:78 2:54 3:77"),
    "hold in one octave": (
        tune("^F f F", "I:propagate-accidentals octave\n"),
        "0:66 1:77 2:66",
    ),
    "hold for their note": (tune("^F F", "I:propagate-accidentals not\n"), "0:66 1:65"),
    "go on through a tie": (tune("CDE^F-|F G F"), "0:60 1:62 2:64 3:66(2) 5:67 6:65"),
    "go on through a chord's tie": (tune("[^FA]4-|[FA] F"), "0:66(5) 0:69(5) 5:65"),
    "of a grace note last too": (tune("A{^g}a g"), "0:69 0.916667:80(0.083333) 1:81 2:80"),
    "double": (tune("^^C __D =E"), "0:62 1:60 2:64"),
}
LENGTHS = {
    "slashes": (tune("F3// F/ F// F/4 F3/2"), "0:65(0.75) .75:65(.5) 1.25:65(.25) "
                "1.5:65(.25) 1.75:65(1.5)"),
    "broken rhythm": (tune("A>B c<d A>>B"), "0:69(1.5) 1.5:71(.5) 2:72(.5) 2.5:74(1.5) "
                      "4:69(1.75) 5.75:71(.25)"),
    "broken rhythm over a decoration, a space and grace notes": (
        tune("A2 > !trill!{e}B2"), "0:69(3) 2.916667:76(0.083333) 3:71"
    ),
    "broken rhythm after grace notes": (
        tune("A2{de}>B2"), "0:69(3) 2.833333:74(0.083333) 2.916667:76(0.083333) 3:71"
    ),
    "triplet": (tune("(3CDE F"), "0:60(0.666667) 0.666667:62(0.666667) 1.333333:64(0.666667) 2:65"),
    "duplet": (tune("(2CD"), "0:60(1.5) 1.5:62(1.5)"),
    "quadruplet": (tune("(4CDEF"), "0:60(.75) .75:62(.75) 1.5:64(.75) 2.25:65(.75)"),
    "quintuplet in compound metre": (
        tune("(5CDEFG", "M:6/8\n"), "0:60(.6) .6:62(.6) 1.2:64(.6) 1.8:65(.6) 2.4:67(.6)"
    ),
    "quintuplet in simple metre": (
        tune("(5CDEFG"), "0:60(.4) .4:62(.4) .8:64(.4) 1.2:65(.4) 1.6:67(.4)"
    ),
    "tuplet p:q:r": (tune("(3:2:2C2D E"), "0:60(1.333333) 1.333333:62(0.666667) 2:64"),
    "tuplet p::r": (tune("(3::2C2D E"), "0:60(1.333333) 1.333333:62(0.666667) 2:64"),
    "tuplet p:q": (tune("(3:4CDE F"), "0:60(1.333333) 1.333333:62(1.333333) "
                   "2.666667:64(1.333333) 4:65"),
    "rests in a tuplet": (tune("(3CzE F"), "0:60(0.666667) 1.333333:64(0.666667) 2:65"),
    "chord with lengths within and without": (tune("[C2E2]2 [CE]/ G"), "0:60(4) 0:64(4) "
                                              "4:60(.5) 4:64(.5) 4.5:67"),
    "chord of unequal notes goes on after its first": (tune("[CE2]D"), "0:60 0:64(2) 1:62"),
    "rests of bars": (tune("C4|Z2|G", "M:3/4\n"), "0:60(4) 10:67"),
    "invisible rests": (tune("C x2 D X E"), "0:60 3:62 8:64"),
    "spacers": (tune("C y D y2 E"), "0:60 1:62 2:64"),
    "ties": (tune("A-A B-|B2 c - c"), "0:69(2) 2:71(3) 5:72(2)"),
    "ties in chords": (tune("[C-E-G-]3|[CEG]"), "0:60(4) 0:64(4) 0:67(4)"),
    "ties between chords": (tune("[CE]-[CEG]"), "0:60(2) 0:64(2) 1:67"),
    "ties of unisons": (tune("[CC]-[CC]"), "0:60(2) 0:60(2)"),
    "tie of one note of a chord": (tune("[C-E][CE]"), "0:60(2) 0:64 1:64"),
    "tie over a line end": (tune("C4-|\nC4"), "0:60(8)"),
    "tie to another pitch is none": (tune("=F-^F"), "0:65 1:66"),
    "endings with a title": (
        tune('|:CD|["1st" EFG-:|\n["2nd"G["Am"Ac]|]'),
        "0:60 1:62 2:64 3:65 4:67(2) 6:69 6:72",
    ),
    "grace notes": (tune("C{de}F"), "0:60 0.833333:74(0.083333) 0.916667:76(0.083333) 1:65"),
    "acciaccatura at the start": (tune("{/d}C"), "0:60 0:74(0)"),
}  # fmt: skip
FIELDS = {
    "inline L and K": (tune("CD|[L:1/8]EF|[K:G]F2"), "0:60 1:62 2:64(.5) 2.5:65(.5) 3:66"),
    "L on a line": (tune("C\nL:1/16\nC4"), "0:60 1:60"),
    "inline M": (tune("C4|[M:3/4]Z|C"), "0:60(4) 7:60"),
    "M in the music leaves L": ("X:1\nM:4/4\nK:C\nC2|[M:2/4]C2|\n", "0:60 1:60"),
    "no L in 2/4": ("X:1\nM:2/4\nK:C\nC4|\n", "0:60"),
    "no L in 3/4": ("X:1\nM:3/4\nK:C\nC2|\n", "0:60"),
    "no L and no M": ("X:1\nK:C\nC2|\n", "0:60"),
    "free metre": ("X:1\nM:none\nK:C\nC2|\n", "0:60"),
    "a sum of beats": (tune("Z|C", "M:(2+3)/8\n"), "2.5:60"),
    "Q within the music": (tune("C[Q:1/4=60]D"), "0:60 1:62"),
    "comments": (tune("C % D\n%E\nF"), "0:60 1:65"),
    "continued lines": (tune("C\\\nD"), "0:60 1:62"),
    "a bar after a letter that is no field": (tune("C|\nE:|\nF"), "0:60 1:64 2:65"),
    "words and symbols below the music": (tune("CD\nw:do re\ns:* !trill!\nE"), "0:60 1:62 2:64"),
    "line breaks by marks": (tune("C!D!\nE", "I:linebreak !\n"), "0:60 1:62 2:64"),
    "no tune number": ("M:4/4\nL:1/4\nK:C\nCD|\n", "0:60 1:62"),
    "text blocks": (tune("C\n%%begintext\nABC|\n%%endtext\nD"), "0:60 1:62"),
    "a byte order mark": ("\ufeff" + tune("C"), "0:60"),
    "lines ending in CR LF": (tune("CD").replace("\n", "\r\n"), "0:60 1:62"),
    "lines ending in CR": (tune("CD|\nEF").replace("\n", "\r"), "0:60 1:62 2:64 3:65"),
    "characters that end lines for Python alone": (
        tune("CD|\nw:la\u2028ce fa\x85 de\nEF", "N:a\x0bb\n"),
        "0:60 1:62 2:64 3:65",
    ),
    "a percent sign in a text": (tune('"^50\\% slower"CD % "G"\nE'), "0:60 1:62 2:64"),
}
DECORATIONS = {
    name: (tune(f"C{mark}D|E"), "0:60 1:62 2:64")
    for name, mark in {
        "fermata": "H", "trill": "T", "roll": "~", "staccato": ".", "bowing": "uv",
        "segno and coda": "SO", "named": "!trill!", "two": "!f!!>!", "crescendo": "!<(!",
        "old": "+fermata+", "fingering": "!5!", "chord symbol": '"Am7"', "annotation": '"^c|d:e"',
        "slur": "(", "end of a slur": ")", "dotted slur": ".(", "back-tick": "`", "D.C.": "!D.C.!",
        "user symbol": "W", "old line break": "! ", "reserved": "*",
    }.items()
}  # fmt: skip
KEYS = {
    "Dmix": "66 67 60 71", "Ador": "66 67 60 71", "D Mixolydian": "66 67 60 71",
    "D MIX": "66 67 60 71", "F#m": "66 68 61 71", "Bb": "65 67 60 70", "Bb Lydian": "65 67 60 70",
    "Ephr": "65 67 60 71", "Bloc": "65 67 60 71", "C aeolian": "65 67 60 70",
    "none": "65 67 60 71", "": "65 67 60 71", "HP": "66 67 61 71", "Hp": "66 67 61 71",
    "D ^g": "66 68 61 71", "D=c": "66 67 60 71", "D exp _b ^^f": "67 67 60 70",
    "D Phr ^f": "66 67 60 70", "C clef=bass": "65 67 60 71", "G treble-8": "54 55 48 59",
    "G clef=treble+8": "78 79 72 83", "G clef=bass-15": "42 43 36 47", "C octave=-1": "53 55 48 59",
    "C transpose=-2": "63 65 58 69", 'Am clef=alto middle=d stafflines=4': "65 67 60 71",
    "C treble8": "65 67 60 71",
}  # fmt: skip
VOICES = {
    "in blocks": (
        tune("V:1\nCDEF|\nV:2\nC,4|\nV:1\nG4|\nV:2\nG,4|"),
        "0:48(4) 0:60 1:62 2:64 3:65 4:55(4) 4:67(4)",
    ),
    "inline": (tune("[V:1]CD|[V:2]C,2|[V:1]E2|"), "0:48(2) 0:60 1:62 2:64(2)"),
    "in the header": (
        tune("[V:T]CD|\n[V:B]CD|", "V:T clef=treble\nV:B clef=bass octave=-1\n"),
        "0:48 0:60 1:50 1:62",
    ),
    "in the header with tabs": (
        tune("V:T\nCD|\nV:B\nCD|", "V:T\tclef=treble\nV:B\tclef=bass octave=-1\n"),
        "0:48 0:60 1:50 1:62",
    ),
    "first in the header": (tune("C|\nV:2\nE|\nV:1\nD|", "V:1\nV:2\n"), "0:60 0:64 1:62"),
    "own keys and lengths": (
        tune("V:1\n[K:D][L:1/8]F2|F2\nV:2\nF|F"), "0:65 0:66 1:65 1:66"
    ),
    "transposed": (tune("V:1 transpose=-2\nC\nV:2 clef=treble-8\nC"), "0:48 0:58"),
    "rests of bars": (tune("V:1\nC4|Z2|G4\nV:2\nC,4|D,4|E,4|F,4"),
                      "0:48(4) 0:60(4) 4:50(4) 8:52(4) 12:53(4) 12:67(4)"),
    "overlay": (tune("CDEF & C,4|G2A2|"), "0:48(4) 0:60 1:62 2:64 3:65 4:67(2) 6:69(2)"),
    "overlay of ties": (tune("C4- & E4-|C4 & E4|D"), "0:60(8) 0:64(8) 8:62"),
    "overlay of two": (tune("C2 & E & G2|D"), "0:60(2) 0:64 0:67(2) 2:62"),
    "a transposition of abc2midi's": (tune("C\n%%MIDI transpose -12\nD"), "0:60 1:50"),
    "transpositions of abc2midi's for voices": (
        tune("V:1\nC\nV:2\nE", "V:1\n%%MIDI transpose -12\nV:2\n%%MIDI transpose 12\n"),
        "0:48 0:76",
    ),
    "broken rhythm of abc2midi's": (tune("C>D", "%%MIDI ratio 2 1\n"),
                                    "0:60(1.333333) 1.333333:62(0.666667)"),
}  # fmt: skip
CONSTRUCTS = {
    f"{subject}: {name}": case
    for subject, cases in {
        "accidentals": ACCIDENTALS,
        "lengths": LENGTHS,
        "fields": FIELDS,
        "decorations": DECORATIONS,
        "key": {name: (tune("FGCB", key=name), pitches) for name, pitches in KEYS.items()},
        "voices": VOICES,
    }.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize("construct", CONSTRUCTS)
def test_a_construct_gives_the_notes_that_the_standard_says(construct: str, tmp_path: Path) -> None:
    text, written = CONSTRUCTS[construct]
    if ":" not in written:
        written = " ".join(f"{place}:{pitch}" for place, pitch in enumerate(written.split()))
    assert notes_of(read(tmp_path, text)) == [
        pytest.approx(note, abs=1e-4) for note in expected(written)
    ]


def pitches(scores: Sequence[Score]) -> list[list[int]]:
    return [score.notes["pitch"].tolist() for score in scores]


REPEATS = {
    # music -> what sounds, by letters
    "C|D:|": "CDCD",
    "|:C|D:|E|F:|": "CDCDEFEF",
    "C|C:|D|D:|E|E:|F|F:|G|G:|A|A:|": "CCCCDDDDEEEEFFFFGGGGAAAA",
    "C:|D:|": "CCDD",
    "C|D||E|F:|": "CDEFEF",
    "|:C|D||E|F:|": "CDEFCDEF",
    "C|D|]E:|": "CDEE",
    "|:C::D::E:|": "CCDDEE",
    "C::D:|": "CCDD",
    "|:C:||:D:|": "CCDD",
    "|:C:|:D:|": "CCDD",
    "|:C:|\n|:D:|": "CCDD",
    "|::C::|D": "CCCD",
    "|:::C:::|D": "CCCCD",
    "|:C:||:D:||": "CCDD",
    "|:C|1D:|2E|F|]": "CDCEF",
    "|:C|1D:|2E||F:|": "CDCEFF",
    "|:C|[1D:|[2E|]|:F|[1G:|[2A|]": "CDCEFGFA",
    "C|1D:|2E:|F:|": "CDCEFF",
    "|:C|1,3D:|2E:|4F|]": "CDCECDCF",
    "|:C|1-3D:|4F|]": "CDCDCDCF",
    "C [1 D :| [2 E |]": "CDCE",
    "|:C.|D:|": "CDCD",
    "C[|]:|D": "CCD",
    "P:A\nC|D:|\nP:B\nE|": "CDCDE",
}


@pytest.mark.parametrize("music", REPEATS)
def test_repeats_are_played_out_on_demand_and_else_read_once(music: str, tmp_path: Path) -> None:
    key = dict(zip("CDEFGA", (60, 62, 64, 65, 67, 69), strict=True))
    played = [key[letter] for letter in REPEATS[music]]
    as_written = [key[letter] for letter in re.sub("P:.", "", music) if letter in key]
    text = tune(music)
    assert pitches([read(tmp_path, text)]) == [as_written]
    expanded = read(tmp_path, text, expand_repeats=True)
    assert pitches([expanded]) == [played]
    assert expanded.end == len(played) * expanded.resolution


def test_the_order_of_parts_is_played(tmp_path: Path) -> None:
    text = tune("P:A\nC:|\nP:B\nD|", "P:A(BA)2\n")
    assert pitches([read(tmp_path, text, expand_repeats=True)]) == [[60, 60, *[62, 60, 60] * 2]]
    assert pitches([read(tmp_path, text)]) == [[60, 62]]


def test_voices_repeat_together(tmp_path: Path) -> None:
    own = tune("V:1\n|:C4:|D4|\nV:2\n|:C,4:|D,4|")
    led = tune("V:1\n|:C4:|D4|\nV:2\nC,4|D,4|")
    for text in (own, led):
        assert notes_of(read(tmp_path, text, expand_repeats=True)) == expected(
            "0:48(4) 0:60(4) 4:48(4) 4:60(4) 8:50(4) 8:62(4)"
        )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (tune("C|D", "m:~G2={A}G\n"), "line 5: macro m:~G2"),
        (tune("C\n8D"), "line 7: what is no symbol of ABC: '8D'"),
        (tune("^/C"), "line 6: microtone"),
        (tune("C|\n[CE"), "line 7: what is no symbol of ABC"),
        (tune("[C E}]"), "in a chord or grace notes"),
        (tune("[]C"), "what is no symbol of ABC|a chord without notes"),
        (tune("C0"), "a note length of 0"),
        (tune("(3C(3DEF"), "a tuplet within a tuplet"),
        (tune("(1C"), r"a tuplet \(1"),
        (tune(">C"), "a broken rhythm"),
        (tune("C>|"), "a broken rhythm"),
        (tune("A>B<c"), "a broken rhythm .* between notes of unequal lengths"),
        (tune("C2>D"), "a broken rhythm .* between notes of unequal lengths"),
        (tune("-C"), r"a tie \(-\) without a note"),
        (tune("+CEG+"), "a chord as before ABC 2.0"),
        (tune("C (& E &)"), "an overlay of several bars"),
        (tune("C|E && G"), "an overlay of several bars"),
        (tune("Z", "M:none\n"), "a rest of whole bars .* in free metre"),
        (tune("C", "M:FREI4/4\n"), "line 5: metre M:FREI4/4"),
        (tune("C", "L:x\n"), "line 5: unit note length L:x"),
        (tune("C", "Q:fast\n"), "line 5: tempo Q:fast"),
        (tune("C", key="H"), "line 5: key K:H"),
        (tune("C", key="G major -8va"), "-8va"),
        (tune("C", key="C score=Bc"), "score=Bc"),
        (tune("V:1 shift=CD\nC"), "line 6: shift=CD"),
        (tune("C", "%%transpose 2\n"), "line 5: directive transpose 2"),
        (tune("C", "%%abc-include other.abc\n"), "line 5: directive abc-include"),
        (tune("C", "%%MIDI drummap D 35\n"), "line 5: directive MIDI drummap"),
        (tune("V:1\nC", "V:1\n%%MIDI program x\n"), "line 6: directive MIDI program x"),
        (tune("C", "U:T=A2B2\n"), "line 5: symbol U:T=A2B2"),
        (tune("C", "a line of words\n"), "line 5: no field, in the header"),
        (tune("CD|\n\nEF|"), "line 8: music after an empty line"),
        (tune('C["Am"CEG|D]'), 'neither a chord nor an ending at a bar line: \\["Am"'),
        ("X:7\nM:4/4\nL:1/4\n\nCDEF|\n", "without a key|after an empty line"),
        (tune("C" * 3 + "," * 9), "a note that sounds at MIDI key -"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name_and_line(
    text: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "tune.abc"
    path.write_text(text)
    with pytest.raises(ValueError, match=reason) as raised:
        read_scores(path)
    assert re.match(r"X:\d: line \d: .*\. Repair it, or take it out of", str(raised.value))


@pytest.mark.parametrize(
    ("music", "fields", "reason"),
    [
        ("C|D !D.C.!|", "", "line 6: !D.C.! with --expand-repeats"),
        ('C|"_D.S. al Coda"D|', "", 'line 6: "_D.S. al Coda" with --expand-repeats'),
        ('C|"^Trio da capo"D|', "", r'line 6: "\^Trio da capo" with --expand-repeats'),
        ('|:C|["1st"D:|["2nd"E|', "", 'line 6: an ending named "1st" with --expand-repeats'),
        ("|:C|1D:|3E|", "", r"line 6: no ending for the 2. time"),
        ("C|:|D|", "", r"line 6: bar line \|:\| with --expand-repeats"),
        ("P:A\nC|\n", "P:AB\n", "line 5: part B, .* is not in the tune"),
        ("P:A\nC|\n", "P:A & B\n", "line 5: an order of parts"),
        ("V:1\n|:C:|D|\nV:2\nE2|\n", "", "a voice without the repeat signs of the others"),
    ],
)
def test_an_order_that_is_not_clear_is_refused_only_where_repeats_are_played(
    music: str, fields: str, reason: str
) -> None:
    text = tune(music, fields)
    assert read_tunes(text)[0].score
    assert re.search(reason, read_tunes(text, expand_repeats=True)[0].refusal)


def test_one_refused_tune_leaves_the_others_of_a_book() -> None:
    book = f"{tune('CD')}\n{tune('C (& D').replace('X:1', 'X:2')}\n{tune('EF')}"
    tunes = read_tunes(book)
    assert [found.score is not None for found in tunes] == [True, False, True]
    assert tunes[1].number == "2"
    assert tunes[1].line == 8
    assert tunes[1].refusal == "line 13: an overlay of several bars ((&)"


def test_every_tune_has_its_own_fields_after_those_of_the_file() -> None:
    book = "M:2/4\nL:1/4\n\nX:1\nK:D\nF\n\nX:2\nL:1/8\nK:C\nF\n\nX:3\nK:C\nF\n"
    scores = [found.score for found in read_tunes(book)]
    assert [notes_of(score)[0] for score in scores if score] == [
        *((0, 66, 1), (0, 65, 0.5), (0, 65, 1))
    ]


@pytest.mark.parametrize(
    ("fields", "tempo"),
    [
        ("Q:1/4=90\n", 90), ("Q:3/8=60\n", 90), ("Q:1/2=60\n", 120), ('Q:"Slow" 1/4=50\n', 50),
        ('Q:1/4=50 "Slow"\n', 50), ("Q:80\n", 80), ("Q:C=80\n", 80), ("Q:C2=40\n", 80),
        ("Q:1/8 1/4=60\n", 90), ('Q:"Slow"\n', 100), ("", 100), ("L:1/8\nQ:80\n", 40),
        ("Q:80\nL:1/8\n", 40), ("Q:1/4=90\nQ:1/4=70\n", 70),
    ],
)  # fmt: skip
def test_the_first_tempo_in_numbers_is_the_scores(
    fields: str, tempo: float, tmp_path: Path
) -> None:
    assert read(tmp_path, tune("C[Q:1/4=33]D" if fields else "C", fields)).tempo == (
        tempo if fields[2:] != '"Slow"\n' else 33
    )


def test_programs_and_percussion_of_abc2midi(tmp_path: Path) -> None:
    text = tune("V:1\n%%MIDI program 40\nC\nV:2\n%%MIDI channel 10\nD")
    assert read(tmp_path, text).notes[["program", "pitch"]].tolist() == [(40, 60), (DRUMS, 62)]
    fields = "V:1\n%%MIDI program 40\nV:2\n%%MIDI channel 10\n"
    text = tune("V:1\nC\nV:2\nD\nV:3\nE", fields)
    assert read(tmp_path, text).notes[["program", "pitch"]].tolist() == [
        *((0, 64), (40, 60), (DRUMS, 62))
    ]


def test_text_without_a_tune_is_not_abc(tmp_path: Path) -> None:
    path = tmp_path / "words.abc"
    path.write_text("These are only words.\n")
    with pytest.raises(ValueError, match="not ABC: it has neither"):
        read_scores(path)
    path.write_text("")
    with pytest.raises(NoNotesError, match="no notes in it"):
        read_scores(path)


def test_old_files_in_latin_1_are_read() -> None:
    assert decode(tune("C").replace("T:t", "T:für").encode("latin-1")).startswith("X:1\nT:für")


@pytest.mark.parametrize("construct", CONSTRUCTS)
def test_attacks_are_counted_from_the_text_as_they_are_read(construct: str) -> None:
    text = CONSTRUCTS[construct][0].removeprefix("\ufeff")
    assert [found.score.notes.size for found in read_tunes(text) if found.score] == (
        count_attacks(text)
    )


def test_a_reader_that_loses_a_note_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.scores.abc_notation import reader

    rows = reader.sounding_rows
    monkeypatch.setattr(reader, "sounding_rows", lambda bars, order: rows(bars, order)[1:])
    assert read_tunes(tune("CDE"))[0].refusal == "2 notes were read, but 3 are written"
