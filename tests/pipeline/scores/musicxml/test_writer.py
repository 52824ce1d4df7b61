"""MusicXML that we write: read back note for note, by us and by others, and valid as it stands."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections import Counter
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import music21
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.scores.musicxml.note_values import note_values, split_length
from pipeline.scores.musicxml.writer import write_musicxml
from pipeline.scores.notes import DRUMS, NoteRow, Score, make_notes, one_note_per_key
from pipeline.scores.parts import Parts
from pipeline.scores.reading import read_midi, read_score

Heard = list[tuple[Fraction, int, int, Fraction]]  # onset, program, pitch, length; in quarters

# Onsets and lengths in twelfths of a quarter: 5/12 and 7/12 have no note value.
ODD = [(0, 0, 60, 5, 80), (5, 0, 62, 7, 80), (12, 0, 64, 43, 70), (20, 40, 61, 11, 127)]
DRUM_KIT = [(0, DRUMS, 36, 12, 80), (12, DRUMS, 38, 7, 80), (12, DRUMS, 5, 3, 80)]
KIT = [36, 38, 42, 49, 69]  # bass drum, snare drum, closed hi-hat, crash cymbal, cabasa
# A cymbal held over a bar line, and a tom within the stroke of a hi-hat: three voices.
KIT_IN_VOICES = [(24 + 6 * step, DRUMS, 42, 6, 80) for step in range(8)]
KIT_IN_VOICES += [(42, DRUMS, 49, 24, 110), (45, DRUMS, 41, 3, 60), (24, DRUMS, 36, 6, 90)]
LOW = [(0, 0, 0, 12, 80), (12, 0, 11, 12, 80), (24, 0, 60, 12, 80)]
# A 16th rest, two triplet 16ths and an eighth, twice: no beam goes over the end of the triplet.
AFTER_TRIPLET = [
    (12 * beat + start, 0, 60 + start, length, 80)
    for beat in range(2)
    for start, length in ((2, 2), (4, 2), (6, 6))
]
CLUSTER = [(step, 0, 48 + 5 * step, 30 - 2 * step, 80) for step in range(7)]


def score_of(rows: list[NoteRow], resolution: int = 12, tempo: float = 97.31) -> Score:
    return Score(one_note_per_key(make_notes(rows))[0], resolution, tempo)


def heard(score: Score) -> Heard:
    unit = Fraction(1, score.resolution)
    return sorted(
        (onset * unit, program, key, length * unit)
        for onset, program, key, length, _ in score.notes.tolist()
    )


def loudness(score: Score) -> dict[tuple[Fraction, int, int], int]:
    """(onset, program, pitch) -> velocity."""
    rows = score.notes.tolist()
    return {(Fraction(row[0], score.resolution), row[1], row[2]): row[4] for row in rows}


def in_twelfths(score: Score) -> list[tuple[int, int, int]]:
    """Onset, pitch and length, to a twelfth of a quarter: players end notes a tick early."""
    return sorted((round(12 * o), key, round(12 * length)) for o, _, key, length in heard(score))


def written(score: Score, folder: Path, **options: object) -> ElementTree.Element:
    write_musicxml(score, folder / "piece.musicxml", "A piece", **options)  # type: ignore[arg-type]
    return ElementTree.parse(folder / "piece.musicxml").getroot()


rows = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.sampled_from([0, 40, 77, 127, DRUMS]),
        st.integers(0, 115),  # with lower keys, higher ones would need a tenth octave
        st.integers(1, 60),
        st.integers(1, 127),
    ),
    min_size=1,
    max_size=12,
)


@given(rows, st.sampled_from([1, 4, 5, 12, 24, 60]), st.sampled_from([2, 3, 4, 5]))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_score_is_read_back_note_for_note(
    tmp_path: Path, given_rows: list[NoteRow], resolution: int, beats: int
) -> None:
    score = score_of(given_rows, resolution)
    root = written(score, tmp_path, parts=Parts(beats_per_bar=beats))
    again = read_score(tmp_path / "piece.musicxml")
    assert heard(again) == heard(score)
    assert again.tempo == score.tempo
    assert loudness(again) == loudness(score)
    octaves = [int(e.text or "") for tag in ("octave", "display-octave") for e in root.iter(tag)]
    assert min(octaves) >= 0
    assert max(octaves) <= 9
    for part in root.iter("part"):
        by_staff: dict[str, set[int]] = {}
        for note in part.iter("note"):
            voice = int(note.findtext("voice", ""))
            by_staff.setdefault(note.findtext("staff", "1"), set()).add(voice)
        assert min(map(min, by_staff.values())) >= 1
        assert all(len(voices) <= 4 for voices in by_staff.values())


@pytest.mark.parametrize("rows", [ODD, DRUM_KIT, CLUSTER, LOW])
@pytest.mark.filterwarnings("ignore:5 does not map to a valid instrument")
def test_music21_reads_the_same_notes(rows: list[NoteRow], tmp_path: Path) -> None:
    score = score_of(rows)
    written(score, tmp_path)
    parsed = music21.converter.parse(
        tmp_path / "piece.musicxml", forceSource=True
    ).toSoundingPitch()
    struck: Counter[tuple[Fraction, int | None]] = Counter()
    lengths: Counter[int | None] = Counter()
    for element in parsed.flatten().notes:
        for head in getattr(element, "notes", [element]):
            key = None if isinstance(head, music21.note.Unpitched) else head.pitch.midi
            struck[Fraction(element.offset), key] += head.tie is None or head.tie.type == "start"
            lengths[key] += round(12 * element.quarterLength)
    expected: Counter[tuple[Fraction, int | None]] = Counter()
    for onset, program, key, length in heard(score):
        own = None if program == DRUMS else key
        expected[onset, own] += 1
        lengths[own] -= round(12 * length)
    assert +struck == expected
    assert set(lengths.values()) == {0}


@pytest.mark.parametrize("rows", [ODD, DRUM_KIT, CLUSTER, [*ODD, *DRUM_KIT], AFTER_TRIPLET])
def test_verovio_plays_the_same_notes(rows: list[NoteRow], tmp_path: Path) -> None:
    verovio = pytest.importorskip("verovio", reason="verovio is not installed: pip install verovio")
    score = score_of(rows)
    written(score, tmp_path)
    toolkit = verovio.toolkit()
    assert toolkit.loadFile(str(tmp_path / "piece.musicxml"))
    played = read_midi(base64.b64decode(toolkit.renderToMIDI()))
    assert in_twelfths(played) == in_twelfths(score)


@pytest.mark.parametrize("rows", [ODD, CLUSTER])
def test_partitura_reads_the_same_notes(rows: list[NoteRow], tmp_path: Path) -> None:
    partitura = pytest.importorskip("partitura", reason="not installed: pip install partitura")
    score = score_of(rows)
    written(score, tmp_path)
    notes = partitura.load_musicxml(tmp_path / "piece.musicxml").note_array()
    onsets, lengths = (
        np.round(12 * notes[f"{name}_quarter"]).astype(int).tolist()
        for name in ("onset", "duration")
    )
    found = sorted(zip(onsets, notes["pitch"].tolist(), lengths, strict=True))
    assert found == in_twelfths(score)


def run(program: str, *arguments: str, folder: Path) -> None:
    """Run a notation program, or skip the test where it is not installed."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: apt install musescore3 lilypond")
    environ = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(folder)}
    done = subprocess.run(
        [program, *arguments], cwd=folder, env=environ, capture_output=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-500:]


def test_musescore_plays_the_same_notes(tmp_path: Path) -> None:
    score = score_of([*ODD, *DRUM_KIT, *KIT_IN_VOICES, *((o, 73, *row) for o, _, *row in CLUSTER)])
    written(score, tmp_path)
    run("mscore3", "-o", "piece.mid", "piece.musicxml", folder=tmp_path)
    played = read_midi((tmp_path / "piece.mid").read_bytes())
    assert in_twelfths(played) == in_twelfths(score)
    assert played.tempo == pytest.approx(score.tempo, rel=1e-5)
    assert sorted(loudness(played).values()) == sorted(loudness(score).values())
    assert set(played.notes["program"].tolist()) == {0, 40, 73, DRUMS}


def test_lilypond_plays_the_same_notes(tmp_path: Path) -> None:
    score = score_of([*ODD, *((o, 73, *row) for o, _, *row in CLUSTER)])
    written(score, tmp_path)
    run("musicxml2ly", "-o", "piece.ly", "piece.musicxml", folder=tmp_path)
    # Not by `musicxml2ly --midi`: it shortens notes, and plays parts one after the other.
    text = (tmp_path / "piece.ly").read_text("utf-8")
    assert r"\layout {}" in text
    (tmp_path / "piece.ly").write_text(text.replace(r"\layout {}", r"\midi {}"), "utf-8")
    run("lilypond", "-o", "piece", "piece.ly", folder=tmp_path)
    played = read_midi((tmp_path / "piece.midi").read_bytes())
    assert in_twelfths(played) == in_twelfths(score)
    assert played.tempo == pytest.approx(round(score.tempo), rel=1e-5)  # that of the mark


def test_a_drum_kit_stands_where_players_expect_it(tmp_path: Path) -> None:
    root = written(score_of([(12 * i, DRUMS, key, 12, 80) for i, key in enumerate(KIT)]), tmp_path)
    places = [
        f"{note.findtext('*/display-step')}{note.findtext('*/display-octave')}"
        f" {note.findtext('notehead', '')}".strip()
        for note in root.iter("note")
        if note.find("unpitched") is not None
    ]
    assert places == ["F4", "C5", "G5 x", "A5 x", "A4 triangle"]


def test_equal_scores_give_equal_bytes(tmp_path: Path) -> None:
    texts = []
    for _ in range(2):
        written(score_of([*ODD, *DRUM_KIT]), tmp_path)
        texts.append((tmp_path / "piece.musicxml").read_bytes())
    assert texts[0] == texts[1]


def test_a_kit_names_its_drums_and_the_mark_is_rounded_where_the_sound_is_not(
    tmp_path: Path,
) -> None:
    root = written(score_of(DRUM_KIT), tmp_path, composer="a model")
    sounds = [int(e.text or "") - 1 for e in root.iter("midi-unpitched")]
    assert sounds == [5, 36, 38]
    assert root.findtext(".//per-minute") == "97"
    assert root.find(".//sound").get("tempo") == "97.31"  # type: ignore[union-attr]
    assert root.findtext(".//creator") == "a model"


def test_keys_below_the_octaves_of_musicxml_sound_where_they_should(tmp_path: Path) -> None:
    score = score_of(LOW)
    root = written(score, tmp_path)
    assert root.findtext(".//transpose/octave-change") == "-1"
    assert heard(read_score(tmp_path / "piece.musicxml")) == heard(score)


def test_rests_are_shown_and_empty_bars_are_one_rest(tmp_path: Path) -> None:
    root = written(score_of([(6, 0, 60, 6, 80), (12 * 9, 0, 60, 12, 80)]), tmp_path)
    rests = [note for note in root.iter("note") if note.find("rest") is not None]
    assert all(note.get("print-object") is None for note in rests)
    whole = [note.find("rest").get("measure") for note in rests]  # type: ignore[union-attr]
    assert whole.count("yes") == 1
    assert root.findtext(".//forward") is None


def test_an_accidental_is_printed_once_in_a_bar_and_cancelled(tmp_path: Path) -> None:
    chord = [60, 64, 67, 72]  # so often that the key is C
    line = [*chord, 60, 62, 64, 65, *chord, *chord, 66, 66, 65, 72, *chord]
    score = score_of([(12 * place, 0, pitch, 12, 80) for place, pitch in enumerate(line)])
    root = written(score, tmp_path)
    assert [e.text for e in root.iter("accidental")] == ["sharp", "natural"]


def test_eighths_are_beamed_and_triplets_bracketed(tmp_path: Path) -> None:
    eighths = [(6 * place, 0, 60 + place, 6, 80) for place in range(2)]
    triplet = [(12 + 4 * place, 0, 60 + place, 4, 80) for place in range(3)]
    root = written(score_of([*eighths, *triplet]), tmp_path)
    assert [e.text for e in root.iter("beam")] == ["begin", "end", "begin", "continue", "end"]
    assert [e.get("type") for e in root.iter("tuplet")] == ["start", "stop"]


def test_no_beam_begins_within_a_triplet_and_ends_after_it(tmp_path: Path) -> None:
    root = written(score_of(AFTER_TRIPLET), tmp_path)
    beams = [[beam.text for beam in note.iter("beam")] for note in root.iter("note")]
    # In each beat: a rest, two 16ths with two beams, an eighth.
    assert beams[:8] == 2 * [[], ["begin", "begin"], ["end", "end"], []]

    # A triplet eighth alone, an eighth, and the rest of a triplet.
    root = written(score_of([(0, 0, 60, 4, 80), (4, 0, 62, 6, 80)]), tmp_path)
    assert list(root.iter("beam")) == []


def test_a_part_played_by_a_piano_is_a_piano_for_readers_of_names(tmp_path: Path) -> None:
    """A part called Soprano that names a piano: where the name goes first, it would be a voice."""
    parts = Parts({40: "Soprano"}, played_by=0)
    score = score_of([(0, 40, 72, 12, 80)])
    write_musicxml(score, tmp_path / "piece.musicxml", "a piece", parts)
    root = ElementTree.parse(tmp_path / "piece.musicxml").getroot()
    assert root.findtext(".//part-name") == "Soprano"
    assert root.findtext(".//instrument-name") == "Piano"
    assert read_score(tmp_path / "piece.musicxml").notes["program"].tolist() == [0]


def test_a_length_without_a_note_value_is_few_plain_ones() -> None:
    assert split_length(0, 5, 12) in ([3, 2], [4, 1])
    assert split_length(0, 18, 12) == [18]  # a dotted quarter
    assert split_length(6, 12, 12) == [12]  # a quarter after an eighth
    assert split_length(0, 48, 12) == [48]
    assert all(sum(split_length(0, length, 12)) == length for length in range(1, 49))
    assert note_values(12)[4].actual == 3


def test_a_grid_finer_than_notation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="10080 units per quarter: no note value is so short"):
        written(score_of([(0, 0, 60, 1, 80)], resolution=10080), tmp_path)
