"""generate.py --infill with a model of events: the bars are composed, all else stays."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest

from model.composing.composer import Composer
from model.composing.infilling_drafts import Foresight, fill_gap
from model.composing.infilling_events import beside, read_events_with_gap
from model.composing.pieces import ComposedPiece
from model.composing.sampling import Sampling
from model.generate import main
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import DRUMS, Score, make_notes, sort_notes
from pipeline.scores.reading import read_score
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.grammar import END
from tests.model.tiny_run import write_tiny_run

Q = 24  # units a quarter in the file below: a triplet has 8, a 32nd has 3
BEFORE = 1  # quarters of rest before the first note
VOCABULARY = EventVocabulary()
ALL = EventVocabulary(
    velocity_bins=8, instruments=True, conditions=("key", "tempo", "chords", "metre")
)
Row = tuple[float, int, int, float, int]  # onset in quarters, program, pitch, duration, velocity


def notes_of(score: Score) -> Counter[Row]:
    """Every note, times in quarters."""
    grid = score.resolution
    return Counter(
        (onset / grid, program, pitch, duration / grid, velocity)
        for onset, program, pitch, duration, velocity in score.notes.tolist()
    )


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_run(tmp_path_factory.mktemp("runs") / "events", VOCABULARY)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of events with conditions."""
    vocabulary = EventVocabulary(conditions=("key", "tempo"))
    return write_tiny_run(tmp_path_factory.mktemp("runs") / "plain", vocabulary)


@pytest.fixture(scope="module")
def with_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_run(tmp_path_factory.mktemp("runs") / "all", ALL)


@pytest.fixture(scope="module")
def piece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five bars of violin and cello off the grid of 12, and a drum on each bar's third quarter."""
    rows = [(Q * (BEFORE + beat) + beat % 2, 40, 60 + beat, Q - 3, 40 + beat) for beat in range(20)]
    # Triplets in bar 1; a note from bar 2 held into bar 3, one from bar 4 held into bar 5.
    rows += [(Q * BEFORE + 8 * place, 42, 40 + place, 8, 99) for place in range(6)]
    rows += [(Q * (BEFORE + 7), 42, 50, 2 * Q, 33), (Q * (BEFORE + 15), 42, 51, 2 * Q, 34)]
    rows += [(Q * (BEFORE + 4 * bar + 2), DRUMS, 38, Q, 100 + bar) for bar in range(5)]
    path = tmp_path_factory.mktemp("infill") / "piece.mid"
    write_midi(Score(make_notes(rows), Q, 90.0), path)
    return path


def infilled(run: Path, piece: Path, out: Path, *flags: str) -> list[Score]:
    """The pieces that the command writes."""
    command = [str(run), "--infill", str(piece), "--seed=3", "--formats=mid", f"--out={out}"]
    assert main([*command, *flags]) == 0
    return [read_score(path) for path in sorted(out.glob("*.mid"))]


def kept_of(piece: Path, first: int, last: int, *, drums_stay: bool) -> Counter[Row]:
    """The notes that begin outside of the bars, and the drums where they stay."""
    return Counter(
        {
            row: count
            for row, count in notes_of(read_score(piece)).items()
            if not 4 * (first - 1) <= row[0] - BEFORE < 4 * last or (drums_stay and row[1] == DRUMS)
        }
    )


@pytest.mark.parametrize("model", ["untrained", "plain"])
def test_all_but_the_bars_stays_note_for_note(
    model: str,
    piece: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    kept = kept_of(piece, 3, 4, drums_stay=True)
    assert sum(kept.values()) == 20 - 8 + 6 + 1 + 5  # bars 3 and 4: 8 of the violin, 1 of the cello
    scores = infilled(
        request.getfixturevalue(model), piece, tmp_path, "--bars=3:4", "--num-pieces=2"
    )
    added = [notes_of(score) - kept for score in scores]
    for score, new in zip(scores, added, strict=True):
        assert kept - notes_of(score) == Counter()
        assert new and sum(new.values()) == score.notes.size - sum(kept.values())
        assert all(8 <= onset - BEFORE < 16 for onset, *_ in new)
        # The violin had most of the notes there, so it plays the new ones.
        assert {program for _, program, *_ in new} == {40}
        assert score.tempo == pytest.approx(90.0, abs=0.01)
    assert added[0] != added[1]
    said = capsys.readouterr().out
    assert "the model hears the piece otherwise: percussion left out: 5 of 33 notes" in said
    assert "64 drafts from " in said  # 32 of each piece


@pytest.mark.parametrize(("bars", "first", "last"), [("1", 1, 1), ("2:3", 2, 3), ("4:5", 4, 5)])
def test_a_model_of_programs_velocities_and_conditions_fills_any_bars(
    with_all: Path, piece: Path, tmp_path: Path, bars: str, first: int, last: int
) -> None:
    """Of the first bars nothing is known before, of the last ones nothing after."""
    kept = kept_of(piece, first, last, drums_stay=False)
    (score,) = infilled(with_all, piece, tmp_path, f"--bars={bars}", "--temperature=0.9")
    assert kept - notes_of(score) == Counter()
    new = notes_of(score) - kept
    assert new and all(4 * (first - 1) <= row[0] - BEFORE < 4 * last for row in new)


def test_nothing_is_composed_before_the_first_bar_or_after_the_last(
    plain: Path, with_all: Path, piece: Path
) -> None:
    """The notes before are those of the file, and none is added to them."""
    for run in (plain, with_all):
        composer = Composer.load(run)
        vocabulary = composer.vocabulary
        given = read_events_with_gap(piece, vocabulary, (3, 4), say=lambda line: None)
        for composed in fill_gap(composer, range(2), Sampling(), given, 1):
            assert composed.complete
            decoded, heard = vocabulary.decode(composed.ids).notes, given.heard.notes
            before = decoded[decoded["onset"] < 8 * 12]
            expected = heard[heard["onset"] < 8 * 12]
            for notes in (before, expected):  # a key struck again in the gap cuts a note
                notes["duration"] = np.minimum(notes["duration"], 12)
            assert before.tolist() == expected.tolist()
            assert decoded["onset"].max() < 16 * 12


def test_a_draft_is_drawn_by_how_well_it_leads_to_what_follows(
    plain: Path, piece: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The likelihoods are those of the notes after the gap, of each draft's own piece."""
    composer = Composer.load(plain)
    vocabulary = composer.vocabulary
    given = read_events_with_gap(piece, vocabulary, (3, 4), say=lambda line: None)
    seen: dict[str, list[Any]] = {}
    likelihoods = Foresight.of

    def only_the_fifth(self: Foresight, drafts: Sequence[ComposedPiece]) -> np.ndarray:
        seen.update(drafts=list(drafts), likelihoods=likelihoods(self, drafts).tolist())
        return np.where(np.arange(len(drafts)) == 4, 0.0, -1e9).astype(np.float32)

    monkeypatch.setattr(Foresight, "of", only_the_fifth)
    (chosen,) = fill_gap(composer, [0], Sampling(), given, 1)
    assert chosen.ids.tolist() == seen["drafts"][4].ids.tolist()
    assert chosen.index == 0 and chosen.num_drafts == 32
    assert all(draft.complete for draft in seen["drafts"])  # a stuck one is no candidate

    # All of this piece is within the context: the whole of it gives the same probabilities.
    for draft, likelihood in list(zip(seen["drafts"], seen["likelihoods"], strict=True))[:3]:
        inside = vocabulary.decode(draft.ids).notes
        inside = inside[(inside["onset"] >= 8 * 12) & (inside["onset"] < 16 * 12)]
        heard = given.heard.notes
        outside = heard[(heard["onset"] < 8 * 12) | (heard["onset"] >= 16 * 12)]
        ids = vocabulary.encode_fitted(Score(sort_notes(np.concatenate([inside, outside])), 12))
        logits = np.array(composer.model(ids[None, :-1])[0][0], np.float64)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        after = (vocabulary.times(ids) >= 16 * 12) & (ids > END)
        after &= ids < vocabulary.blocks["key"].start
        expected = logs[np.arange(ids.size - 1), ids[1:]][after[1:]].sum()
        assert likelihood == pytest.approx(expected, rel=1e-4)


def test_a_kept_note_is_never_cut_by_a_composed_one() -> None:
    kept = make_notes([(0, 0, 60, 10, 80), (20, 0, 60, 5, 80), (0, 40, 62, 30, 80)])
    new = make_notes([(8, 0, 60, 4, 80), (12, 0, 60, 20, 80), (12, 0, 62, 9, 80)])
    free, num_cut = beside(kept, new)
    assert free[["onset", "pitch", "duration"]].tolist() == [(12, 60, 8), (12, 62, 9)]
    assert num_cut == 1


def test_kept_notes_in_unison_stay_in_two_parts(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two voices on one piano: the second comes to the key that the first one holds."""
    written = mido.MidiFile(ticks_per_beat=Q)
    for notes in ([(0, 4 * Q, 60), (4 * Q, 4 * Q, 62)], [(0, Q, 64), (Q, Q, 60), (4 * Q, Q, 65)]):
        track, now = mido.MidiTrack(), 0
        for onset, length, pitch in notes:
            track.append(mido.Message("note_on", note=pitch, velocity=70, time=onset - now))
            track.append(mido.Message("note_off", note=pitch, time=length))
            now = onset + length
        written.tracks.append(track)
    file = tmp_path / "unison.mid"
    written.save(file)
    before = notes_of(read_score(file))
    assert before[1.0, 0, 60, 1.0, 70] == 1 and sum(before.values()) == 5

    (score,) = infilled(untrained, file, tmp_path / "out", "--bars=2")
    outside = Counter({row: count for row, count in notes_of(score).items() if row[0] < 4})
    assert outside == Counter(
        {(0.0, 0, 60, 4.0, 70): 1, (0.0, 0, 64, 1.0, 70): 1, (1.0, 1, 60, 1.0, 70): 1}
    )
    said = capsys.readouterr().out
    assert "given to a part of a similar instrument 1, left out 0, cut" in said


def refused(capsys: pytest.CaptureFixture[str], run: Path, file: Path, *flags: str) -> str:
    """The one line of a command that fails and writes nothing."""
    out = run.parent / "refused"
    assert main([str(run), "--infill", str(file), "--out", str(out), "--no-wav", *flags]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert not out.exists()
    return error


def test_what_cannot_be_filled_is_refused_in_one_line(
    untrained: Path, piece: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, untrained, piece, "--bars=2", "--voices=alto,tenor")
    assert "--voices alto,tenor: a model of events has no voices" in line
    assert "has no voices" in refused(capsys, untrained, piece, "--voices=1")
    assert "has 5 bars" in refused(capsys, untrained, piece, "--bars=5:6")


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="no fluidsynth here")
def test_a_page_says_the_name_of_the_file_without_its_folder(
    untrained: Path, piece: Path, tmp_path: Path
) -> None:
    page = tmp_path / "index.html"
    infilled(untrained, piece, tmp_path / "out", "--bars=2", "--formats=wav", f"--page={page}")
    text = page.read_text()
    assert piece.name in text and str(piece.parent) not in text
