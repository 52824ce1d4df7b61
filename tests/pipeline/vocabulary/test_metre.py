"""The metre as a condition: bar lines become tokens, and composing keeps to them."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import music21
import numpy as np
import pytest

from model.composing.composer import Composer
from model.composing.pieces import NEVER, Length
from model.composing.sampling import Sampling
from model.generate import main as generate
from model.networks.checkpoint import step_folder
from pipeline.dataset.manifest import Manifest
from pipeline.dataset.records import read_pieces
from pipeline.preprocess import main as preprocess
from pipeline.preprocessing.encoder import Encoded, Encoder
from pipeline.scores.bars import bar_lines
from pipeline.scores.labels import Features
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.musicxml.writer import write_musicxml
from pipeline.scores.notes import Score, TimeSignature, make_notes
from pipeline.scores.reading import read_score
from pipeline.sources.piece import Piece
from pipeline.vocabulary.conditions import CONDITIONS, METRES
from pipeline.vocabulary.events import EventVocabulary
from tests.model.tiny_run import write_tiny_run

VOCABULARY = EventVocabulary(conditions=("metre",))
ALL = EventVocabulary(conditions=CONDITIONS)
Q = VOCABULARY.steps_per_quarter


def tune(signatures: list[TimeSignature], num_quarters: int = 16, first: int = 0) -> Score:
    """Quarter notes from quarter `first` on."""
    rows = [(Q * i, 0, 60 + i % 7, Q, 80) for i in range(first, first + num_quarters)]
    return Score(make_notes(rows), Q, time_signatures=signatures)


def bars_said(vocabulary: EventVocabulary, ids: np.ndarray) -> list[tuple[float, str]]:
    """(quarter, time signature) of each metre token."""
    names = [vocabulary.token_name(int(token)) for token in ids]
    return [
        (time / vocabulary.steps_per_quarter, name.removeprefix("METRE "))
        for time, name in zip(vocabulary.times(ids).tolist(), names, strict=True)
        if name.startswith("METRE ")
    ]


# Scores to tokens ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signatures", "first", "expected"),
    [
        ([(0, 4, 4)], 0, [(0, "4/4"), (4, "4/4"), (8, "4/4"), (12, "4/4")]),
        # An upbeat is a first bar that is too short; so is a bar that begins with a rest.
        ([(0, 6, 4), (1, 6, 4)], 0, [(0, "6/4"), (1, "6/4"), (7, "6/4"), (13, "6/4")]),
        ([(0, 6, 4)], 5, [(0, "6/4"), (1, "6/4"), (7, "6/4"), (13, "6/4")]),
        (
            [(0, 4, 4), (4, 7, 8)],
            0,
            [(0, "4/4"), (4, "7/8"), (7.5, "7/8"), (11, "7/8"), (14.5, "7/8")],
        ),
        # 11/16 has no token.
        (
            [(0, 11, 16), (5.5, 8, 4), (13.5, 2, 2)],
            0,
            [(0, "?"), (2.75, "?"), (5.5, "8/4"), (13.5, "2/2")],
        ),
        ([], 0, [(0, "?")]),
        ([(6, 3, 4)], 0, [(0, "?"), (6, "3/4"), (9, "3/4"), (12, "3/4"), (15, "3/4")]),
    ],
)
def test_a_token_stands_at_each_bar_line(
    signatures: list[TimeSignature], first: int, expected: list[tuple[float, str]]
) -> None:
    for vocabulary in (VOCABULARY, ALL):
        ids = vocabulary.encode(tune(signatures, first=first))
        assert bars_said(vocabulary, ids) == expected
        again = vocabulary.encode(vocabulary.decode(ids))
        np.testing.assert_array_equal(again, ids)


def test_a_bar_without_a_note_has_its_token() -> None:
    rows = [(0, 0, 60, Q, 80), (9 * Q, 0, 60, Q, 80)]
    ids = VOCABULARY.encode(Score(make_notes(rows), Q, time_signatures=[(0, 4, 4)]))
    assert bars_said(VOCABULARY, ids) == [(0, "4/4"), (4, "4/4"), (8, "4/4")]


def test_the_metre_changes_no_note_and_no_other_id() -> None:
    plain = EventVocabulary()
    score = tune([(0, 3, 4), (1, 3, 4)])
    ids = VOCABULARY.encode(score)
    assert VOCABULARY.blocks["metre"] == range(plain.size, plain.size + 1 + len(METRES))
    assert VOCABULARY.decode(ids).notes.tolist() == plain.decode(plain.encode(score)).notes.tolist()


CORPUS = {
    "an upbeat": "bach/bwv269",
    "a change of metre": "bach/bwv27.6",
    "6/8": "ryansMammoth/BagOfMealThe",
}


@pytest.mark.parametrize("work", CORPUS.values(), ids=CORPUS)
def test_ids_stay_the_same_through_scores_and_files(work: str, tmp_path: Path) -> None:
    parsed = music21.corpus.parse(work)
    ids = VOCABULARY.encode(read_score(Path(music21.corpus.getWork(work))))
    score = VOCABULARY.decode(ids)
    np.testing.assert_array_equal(VOCABULARY.encode(score), ids)
    write_musicxml(score, tmp_path / "again.musicxml", work)
    write_midi(score, tmp_path / "again.mid")
    for name in ("again.musicxml", "again.mid"):
        again = read_score(tmp_path / name)
        assert bars_said(VOCABULARY, VOCABULARY.encode(again)) == bars_said(VOCABULARY, ids)
        np.testing.assert_array_equal(VOCABULARY.encode(again), ids)
    # The bar lines are where music21 has them.
    measures = parsed.parts[0].getElementsByClass(music21.stream.Measure)
    last = score.notes["onset"].max() / Q
    offsets = [float(bar.offset) for bar in measures if bar.offset <= last]
    assert [time for time, _ in bars_said(VOCABULARY, ids)] == pytest.approx(offsets)
    metres = [bar.timeSignature.ratioString for bar in measures if bar.timeSignature]
    assert set(metres) == {metre for _, metre in bars_said(VOCABULARY, ids)}


def test_preprocessing_counts_bars_without_a_token(tmp_path: Path) -> None:
    folder = tmp_path / "scores"
    folder.mkdir()
    for number in range(4):
        (folder / f"six{number}.abc").write_text(
            f"X:1\nM:6/8\nL:1/8\nK:C\n{'CDEFGAB'[number]}|CDE FGA|GFE DCD|\n"
        )
    (folder / "odd.abc").write_text("X:1\nM:13/16\nL:1/16\nK:C\nCDEFGABcdefga|\n")
    (folder / "free.abc").write_text("X:1\nM:none\nL:1/8\nK:C\nCDE FGA GFE\n")
    write_midi(tune([], 8), folder / "none.mid")
    command = [str(folder), "--out", str(tmp_path / "data"), "--conditions", "metre"]
    assert preprocess([*command, "--no-cache", "--valid", "0", "--test", "0"]) == 0
    manifest = Manifest.load(tmp_path / "data")
    assert manifest.adjustments["bars whose time signature is unknown or has no token"] == 2
    assert manifest.adjustments["pieces without a bar line"] == 1
    pieces = dict(read_pieces(tmp_path / "data", manifest, "train"))
    vocabulary = manifest.open_vocabulary
    assert isinstance(vocabulary, EventVocabulary)
    said = {name.rsplit("/")[-1]: bars_said(vocabulary, ids) for name, ids in pieces.items()}
    assert said["six0.abc"] == [(0, "6/8"), (0.5, "6/8"), (3.5, "6/8")]
    assert said["odd.abc"] == said["none.mid"] == [(0, "?")]


def test_where_a_file_names_no_metre_the_label_of_the_data_set_does() -> None:
    for signatures, metre in (([], "3/4"), ([(0.0, 2, 4)], "2/4")):
        encoder = Encoder(VOCABULARY, lambda _, found=signatures: [tune(found, 4)])
        (found,) = encoder(Piece("a", Path("a"), features=Features(metre="3/4")))
        assert isinstance(found, Encoded)
        assert {said for _, said in bars_said(VOCABULARY, found.ids)} == {metre}
        assert not found.adjustments


# Composing ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_run(tmp_path_factory.mktemp("runs") / "tiny", VOCABULARY)


@pytest.fixture(scope="module")
def composer(untrained: Path) -> Composer:
    return Composer.load(step_folder(untrained, 1))


def test_a_piece_has_a_bar_line_every_bar_of_the_metre_asked_for(composer: Composer) -> None:
    asked = composer.asked(Features(metre="6/8"))
    length = Length.of_steps(30 * Q, Q)
    for piece in asked.compose([0, 1, 2], Sampling(), length, 4):
        said = bars_said(VOCABULARY, piece.ids)
        assert said == [(3 * number, "6/8") for number in range(len(said))] and len(said) >= 6
        score = asked.score(piece, length, 100)
        assert score.time_signatures == [(0, 6, 8)]


def test_without_a_wish_the_network_chooses_and_its_bars_are_whole(composer: Composer) -> None:
    lengths = {f"{upper}/{lower}": 4 * upper / lower for upper, lower in METRES}
    chosen = set()
    for piece in composer.compose(range(4), Sampling(), Length.of_steps(40 * Q, Q), 1):
        said = bars_said(VOCABULARY, piece.ids)
        assert said[0][0] == 0 and len(said) > 4
        for place, ((start, metre), (end, _)) in enumerate(pairwise(said)):
            chosen.add(metre)
            if metre in lengths and place:
                assert end - start == pytest.approx(lengths[metre])
            elif metre in lengths:  # the first bar may be an upbeat
                assert end - start <= lengths[metre] + 1e-6
    assert len(chosen) > 4


def test_a_primer_goes_on_in_its_metre_unless_another_is_asked_for(composer: Composer) -> None:
    # Bar lines at 1, 4 and 7; the primer ends at 6.
    primer = VOCABULARY.fit(tune([(0, 3, 4), (1, 3, 4)], 6))[0]
    begun = [(0, "3/4"), (1, "3/4"), (4, "3/4")]
    length = Length.of_steps(20 * Q, Q)
    for wishes, metre, bar in ((Features(), "3/4", 3), (Features(metre="2/4"), "2/4", 2)):
        (piece,) = composer.asked(wishes).compose([0], Sampling(), length, 2, primer)
        said = bars_said(VOCABULARY, piece.ids)
        assert said[:3] == begun and len(said) > 5
        assert said[3:] == [(7 + bar * number, metre) for number in range(len(said) - 3)]
    # Of a primer without a metre the bars are those asked for.
    plain = replace(primer, time_signatures=())
    (piece,) = composer.asked(Features(metre="2/4")).compose([0], Sampling(), length, 2, plain)
    said = bars_said(VOCABULARY, piece.ids)
    assert said == [(2 * number, "2/4") for number in range(len(said))]


def test_with_all_conditions_each_stands_in_its_place(tmp_path: Path) -> None:
    run = write_tiny_run(tmp_path / "all", ALL)
    wishes = Features(key="G major", chords=("C",) * 6 + ("F",) * 6, metre="3/4")
    composer = Composer.load(step_folder(run, 1)).asked(wishes)
    (piece,) = composer.compose([0], Sampling(), Length(20_000, 24 * Q, NEVER), 3)
    said = bars_said(ALL, piece.ids)
    assert said == [(3 * number, "3/4") for number in range(len(said))] and len(said) >= 7
    assert ALL.decode(piece.ids).time_signatures == [(0, 3, 4)]


def test_the_command_writes_what_was_asked_for(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--out", str(tmp_path), "--formats", "mid,musicxml,png", "--seed=1"]
    told = tmp_path / "told.json"
    command = [str(untrained), "--metre", "7/8", "--bars=6", *files, "--json", str(told)]
    assert generate(command) == 0
    assert json.loads(told.read_text())["settings"]["wishes"] == {"metre": "7/8"}
    for suffix in ("mid", "musicxml"):
        score = read_score(tmp_path / f"piece-001.{suffix}")
        assert [tuple(metre) for metre in score.time_signatures] == [(0, 7, 8)]
        lines = bar_lines(score.time_signatures, score.resolution, score.end)
        assert len(lines) == 6  # bars
    capsys.readouterr()
    refused = [
        (["--metre", "6/8", "--beats-per-bar", "4"], "--metre 6/8 has bars of 3 quarters"),
        (["--metre", "7/8", "--live", "stdout"], "--live counts bars in whole quarters"),
    ]
    for flags, words in refused:
        assert generate([str(untrained), *flags]) == 1
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    with pytest.raises(SystemExit):
        generate([str(untrained), "--metre", "3/7"])
    assert "needed is a time signature among" in capsys.readouterr().err


# Files that are read ------------------------------------------------------------------------------

UPBEAT_JIG = "X:1\nM:6/8\nL:1/8\nQ:3/8=60\nK:C\nG|CDE FGA|BcB AGF|[M:2/4]EFGA|\n"


@pytest.fixture(scope="module")
def unmetred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_run(tmp_path_factory.mktemp("runs") / "unmetred", EventVocabulary())


@pytest.mark.parametrize("has_metre", [True, False])
def test_a_primer_from_a_file_is_written_in_its_bars(
    has_metre: bool,
    untrained: Path,
    unmetred: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "jig.abc").write_text(UPBEAT_JIG)
    run = untrained if has_metre else unmetred
    command = [str(run), "--primer", str(tmp_path / "jig.abc"), "--bars=3", "--seed=3"]
    files = ["--formats", "mid,musicxml", "--out"]

    def written(name: str, *flags: str) -> list[tuple[Score, list[TimeSignature]]]:
        out = tmp_path / name
        assert generate([*command, *flags, *files, str(out)]) == 0
        scores = [read_score(out / f"piece-001.{suffix}") for suffix in ("mid", "musicxml")]
        return [(s, [(on, up, low) for on, up, low in s.time_signatures]) for s in scores]

    # An eighth, two bars of 6/8 to quarter 6.5, then bars of 2/4.
    whole = written("whole")
    assert ("a bar is counted as 3 quarters" in capsys.readouterr().out) is not has_metre
    for score, metres in whole:
        assert metres == [(0, 6, 8), (0.5, 6, 8), (6.5, 2, 4)]
        # The primer ends at 8.5. With a metre --bars counts bars in 2/4, else of three quarters.
        last = 14.5 if has_metre else 15
        assert last - 2 < score.end / score.resolution <= last
    for _, metres in written("new", "--new-part-only"):
        assert metres[0][1:] == (2, 4)
    if not has_metre:
        for _, metres in written("counted", "--beats-per-bar", "5"):
            assert metres == [(0, 5, 4)]
