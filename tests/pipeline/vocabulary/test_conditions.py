"""Conditions: labels become tokens, training hears them, composing keeps to what is asked."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from hpc.train import main as train
from model.composing.composer import Composer
from model.composing.pieces import NEVER, Length
from model.composing.sampling import Sampling
from model.generate import main as generate
from model.networks.checkpoint import step_folder
from pipeline.dataset.lanes import LaneReader
from pipeline.dataset.manifest import Manifest
from pipeline.dataset.records import read_features, read_pieces
from pipeline.preprocess import main as preprocess
from pipeline.scores.labels import Features
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import Score
from pipeline.vocabulary.conditions import (
    CONDITIONS,
    METRE,
    ROOTS,
    chord_number,
    parse_conditions,
)
from pipeline.vocabulary.events import END, EventVocabulary
from tests.conftest import TINY_SPLITS
from tests.model.tiny_run import write_tiny_run
from tests.pipeline.sources.data_sets import COMMU_ROW, write_table

LABELS = tuple(name for name in CONDITIONS if name != METRE)
VOCABULARY = EventVocabulary(steps_per_quarter=4, max_shift=16, conditions=LABELS)
PLAIN = EventVocabulary(steps_per_quarter=4, max_shift=16)
BAR = 16
TRIADS = {"": (0, 4, 7), "m": (0, 3, 7)}


def pitch_classes(score: Score, first: float, last: float) -> np.ndarray:
    """[12] quarters for which each pitch class sounds between two times in quarters."""
    notes, grid = score.notes, score.resolution
    begin = np.maximum(notes["onset"] / grid, first)
    end = np.minimum((notes["onset"] + notes["duration"]) / grid, last)
    sounding = np.maximum(end - begin, 0)
    return np.bincount(notes["pitch"] % 12, sounding, minlength=12)


def labels(score: Score) -> dict[str, str]:
    """Key and chords that fit the notes best, as ComMU's table would have them."""
    eighths = np.arange(0, score.end / score.resolution, 0.5)
    chords = []
    for eighth in eighths:
        heard = pitch_classes(score, eighth, eighth + 0.5)
        fits = {
            f"{root}{quality}": heard[[(number + part) % 12 for part in triad]].sum()
            for number, root in enumerate(ROOTS)
            for quality, triad in TRIADS.items()
        }
        chords.append(max(fits, key=lambda name: fits[name]))
    last = chords[-1]
    mode = "minor" if last.endswith("m") else "major"
    return {"audio_key": last.removesuffix("m").lower() + mode, "chord_progressions": str([chords])}


@pytest.fixture(scope="module")
def labelled(tiny_scores: dict[str, Score], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen chorales in ComMU's layout, with key, chords and tempo."""
    pieces = [
        (score, "train" if name in TINY_SPLITS["train"] else "val", 60 + 10 * number)
        for number, (name, score) in enumerate(tiny_scores.items())
    ]
    return write_labelled(tmp_path_factory.mktemp("commu"), pieces)


def write_labelled(folder: Path, pieces: Iterable[tuple[Score, str, float]]) -> Path:
    """Scores with their split and tempo, in ComMU's layout."""
    rows = []
    for number, (score, split, tempo) in enumerate(pieces):
        path = folder / "commu_midi" / split / "raw" / f"commu{number:05}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_midi(score, path)
        row = {"id": path.stem, "bpm": str(tempo), "split_data": split, "num_measures": "8"}
        rows.append(COMMU_ROW | row | labels(score))
    write_table(folder / "commu_meta.csv", rows)
    return folder


def build(labelled: Path, out: Path, *flags: str) -> Manifest:
    grid = ["--steps-per-quarter", "4", "--num-lanes", "4", "--no-cache"]
    assert preprocess([f"commu:{labelled}", "--out", str(out), *grid, *flags]) == 0
    return Manifest.load(out)


@pytest.fixture(scope="module")
def data(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "conditioned"
    build(labelled, folder, "--conditions", "chords,tempo,key")
    return folder


def names(vocabulary: EventVocabulary, ids: np.ndarray) -> list[str]:
    return [vocabulary.token_name(int(token)) for token in ids]


def chords_said(vocabulary: EventVocabulary, ids: np.ndarray) -> list[tuple[int, str]]:
    """(grid step, symbol) of each chord token."""
    times = vocabulary.times(ids)
    return [
        (int(times[place]), name.removeprefix("CHORDS "))
        for place, name in enumerate(names(vocabulary, ids))
        if name.startswith("CHORDS ")
    ]


# Labels to tokens ---------------------------------------------------------------------------------


def test_a_piece_says_its_labels_before_its_notes_and_its_chords_in_time(
    data: Path, tiny_scores: dict[str, Score]
) -> None:
    scores = list(tiny_scores.values())
    manifest = Manifest.load(data)
    vocabulary = manifest.open_vocabulary
    assert isinstance(vocabulary, EventVocabulary)
    assert vocabulary.conditions == ("key", "tempo", "chords")
    features = dict(read_features(data, manifest, "train"))
    for name, ids in read_pieces(data, manifest, "train"):
        score = scores[int(name[-5:])]
        rest = int(score.notes["onset"].min()) * 2 // score.resolution  # eighths before it begins
        chords = features[name].chords[rest:]
        said = names(vocabulary, ids[:4])
        key = features[name].key or ""
        root, mode = key.split()
        flats = {"A#": "Bb", "D#": "Eb", "G#": "Ab", "Db": "C#", "Gb": "F#"}
        assert said[:2] == ["START", f"KEY {flats.get(root, root)} {mode}"]
        assert said[2].startswith("TEMPO ") and said[3] == f"CHORDS {chords[0]}"
        for step, symbol in chords_said(vocabulary, ids):
            assert chords[step // 2] == symbol


def test_conditions_change_no_note_and_no_condition_no_id(
    tiny_scores: dict[str, Score],
) -> None:
    for score in tiny_scores.values():
        length = 2 * score.end // score.resolution
        chords = tuple(("C", "Am7", "F#dim/A", "N.C.", "H")[i // 3 % 5] for i in range(length))
        features = Features(key="Bb minor", tempo=97.0, valence=-1.0, chords=chords)
        ids, plain = VOCABULARY.encode(score, features), PLAIN.encode(score)
        np.testing.assert_array_equal(VOCABULARY.decode(ids).notes, PLAIN.decode(plain).notes)
        np.testing.assert_array_equal(PLAIN.encode(score, features), plain)
        said = dict(chords_said(VOCABULARY, ids))
        # Steps where a chord begins (N.C. and H are both unknown), and every four quarters.
        last_note = PLAIN.times(plain)[-1]
        begins = {step for step in range(0, last_note + 1, 6) if step // 6 % 5 != 4}
        steps = begins | set(range(0, last_note + 1, BAR))
        in_force = {step: ("C", "Am7", "F#dim", "?", "?")[step // 6 % 5] for step in steps}
        assert said == in_force


def test_vocabularies_without_conditions_are_described_as_before() -> None:
    assert "conditions" not in PLAIN.to_dict()
    assert PLAIN.size == VOCABULARY.blocks["key"].start


@pytest.mark.parametrize(
    ("symbol", "same"),
    [
        ("C", "Cmaj"),
        ("Db", "C#"),
        ("Am7/G", "Am7"),
        ("Bbø", "A#m7b5"),
        ("G9", "G7"),
        ("NN", "N.C."),
        # as ComMU's own code counts them
        ("AmM7", "Am7"),
        ("Bbmadd2", "Bbm7"),
        ("C7(b9)", "C7"),
        ("Dm7(add11)/G", "Dm7"),
        ("E(add9)", "E"),
    ],
)
def test_chords_are_written_in_several_ways(symbol: str, same: str) -> None:
    assert chord_number(symbol) == chord_number(same)


def test_a_condition_without_labels_is_refused(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [f"commu:{labelled}", "--out", str(tmp_path / "out"), "--conditions", "emotion"]
    assert preprocess(command) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "valence" in error and "key, tempo, chords" in error
    assert not (tmp_path / "out").exists()
    for text, told in (("colour", "'colour' is no condition"), (",", "names no condition")):
        with pytest.raises(SystemExit):
            preprocess([*command[:-1], text])
        assert told in capsys.readouterr().err


def test_chords_that_are_not_understood_are_counted(
    labelled: Path, tmp_path: Path, tiny_scores: dict[str, Score]
) -> None:
    with (labelled / "commu_meta.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    rows[0]["chord_progressions"] = "[['C', 'Xyz', 'H', 'F']]"
    write_table(tmp_path / "commu_meta.csv", rows)
    (tmp_path / "commu_midi").symlink_to(labelled / "commu_midi")
    manifest = build(tmp_path, tmp_path / "out", "--conditions", "chords")
    assert manifest.adjustments["chord symbols not understood"] == 2


# Training ----------------------------------------------------------------------------------------


def pieces_of_lanes(
    data: Path, *, seed: int | None, transpose: int, passes: int
) -> Iterator[np.ndarray]:
    manifest = Manifest.load(data)
    reader = LaneReader.of(data, manifest, "train", seed=seed, max_transpose=transpose)
    for lane in range(manifest.num_lanes):
        number = tf.constant(lane, tf.int64)
        wanted = passes * int(reader.tokens_per_pass(number)) + 1
        chunks = reader.endless(number, tf.constant(0, tf.int64)).unbatch().take(wanted)
        ids = np.array(list(chunks.as_numpy_iterator()))
        yield from np.split(ids, np.flatnonzero(ids == END) + 1)[1:-1]


def test_keys_and_chords_move_with_the_notes(data: Path) -> None:
    manifest = Manifest.load(data)
    vocabulary = manifest.open_vocabulary
    assert isinstance(vocabulary, EventVocabulary)

    def shape(ids: np.ndarray) -> tuple[bytes, np.ndarray]:
        """Which piece it is, whatever its key; its roots as they are heard from its first note."""
        keys, roots = vocabulary.pitches[ids], vocabulary.roots[ids]
        first = keys[keys >= 0][0]
        known = np.where(roots >= 0, (roots - first) % 12, -1)
        return np.where(keys >= 0, keys - first, -99).tobytes(), known

    stored = dict(shape(ids) for _, ids in read_pieces(data, manifest, "train"))
    moves = set()
    unknown_keys = num_pieces = 0
    for ids in pieces_of_lanes(data, seed=3, transpose=6, passes=12):
        piece, known = shape(ids)
        unsaid = known[1] == -1
        is_key = np.isin(ids, vocabulary.blocks["key"])
        np.testing.assert_array_equal(known, np.where(is_key & unsaid, -1, stored[piece]))
        moves.add((piece, int(vocabulary.pitches[ids][vocabulary.pitches[ids] >= 0][0])))
        unknown_keys += unsaid
        num_pieces += 1
    assert len(moves) > 4 * len(stored)
    # A tenth of all passes says nothing, and a tenth of the rest not this: 19 %.
    assert 0.05 < unknown_keys / num_pieces < 0.4


def test_what_is_evaluated_says_all_its_labels(data: Path) -> None:
    manifest = Manifest.load(data)
    stored = {ids.tobytes() for _, ids in read_pieces(data, manifest, "train")}
    found = list(pieces_of_lanes(data, seed=None, transpose=0, passes=1))
    assert found and {ids.astype(np.int64).tobytes() for ids in found} <= stored


# Composing ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_run(tmp_path_factory.mktemp("runs") / "tiny", VOCABULARY)


def test_a_piece_keeps_to_the_chords_asked_for(
    untrained: Path, tiny_scores: dict[str, Score]
) -> None:
    wishes = Features(key="D minor", arousal=1.0, chords=tuple("C" * 8 + "F" * 8 + "C" * 8))
    composer = Composer.load(step_folder(untrained, 1)).asked(wishes)
    length = Length.of_steps(8 * BAR, 4)
    expected = [(bar * BAR, symbol) for bar, symbol in enumerate("CFCCFCCF")]
    primer = PLAIN.fit(tiny_scores["bwv255"])[0]
    early = primer.notes[primer.notes["onset"] < 2.5 * BAR]
    for start in (None, Score(early, primer.resolution)):
        for piece in composer.compose([0, 1], Sampling(), length, 4, start):
            said = names(VOCABULARY, piece.ids)
            opening = ["START", "KEY D minor", "TEMPO ?", "VALENCE ?", "AROUSAL excited"]
            assert said[:6] == [*opening, "CHORDS C"]
            chords = chords_said(VOCABULARY, piece.ids)
            assert chords == expected[: len(chords)] and len(chords) >= 7
            assert composer.score(piece, length, 100).end <= 8 * BAR


@pytest.mark.parametrize("conditions", [("key",), ("key", "tempo"), ("key", "chords"), ("chords",)])
def test_only_the_first_bar_must_begin_with_a_note(
    conditions: tuple[str, ...], tmp_path: Path
) -> None:
    """Conditions are said again each four quarters, where a note or none may begin."""
    vocabulary = EventVocabulary(steps_per_quarter=4, max_shift=16, conditions=conditions)
    composer = Composer.load(write_tiny_run(tmp_path / "run", vocabulary))
    length = Length.of_steps(16 * BAR, 4)
    begins = 0
    for piece in composer.compose(range(8), Sampling(), length, 1):
        onsets = set(vocabulary.decode(piece.ids).notes["onset"].tolist())
        assert 0 in onsets
        begins += sum(bar * BAR in onsets for bar in range(1, 16))
    assert 0 < begins < 8 * 15


def test_wishes_come_round_for_as_long_as_a_piece_lasts(untrained: Path) -> None:
    five = ("C", "C", "F", "F", "F")  # eighths: with the bars it all begins again after 20 quarters
    composer = Composer.load(step_folder(untrained, 1)).asked(Features(key="G major", chords=five))
    steps = 50 * 4
    (piece,) = composer.compose([0], Sampling(), Length(20_000, steps, NEVER), 3)
    conditions = [
        (int(time), int(token))
        for time, token in zip(VOCABULARY.times(piece.ids), piece.ids, strict=True)
        if token >= VOCABULARY.blocks["key"].start
    ]
    whole = VOCABULARY.condition_tokens(Features(key="G major", chords=five * 20), steps)
    assert conditions == whole[: len(conditions)]
    assert conditions[-1][0] > 45 * 4


def test_the_command_asks_and_tells(untrained: Path, tmp_path: Path) -> None:
    wishes = ["--key", "f#m", "--emotion", "1,-1", "--tempo", "90", "--chords", "C G/B", "--bars=4"]
    files = ["--out", str(tmp_path), "--no-wav", "--seed=1", "--json", str(tmp_path / "told.json")]
    assert generate([str(untrained), *wishes, "--chords-per=beat", *files]) == 0
    settings = json.loads((tmp_path / "told.json").read_text())["settings"]
    assert settings["wishes"] == {
        "key": "F# minor",
        "tempo": 90.0,
        "chords": ["C", "C", "G/B", "G/B"],
        "valence": 1.0,
        "arousal": -1.0,
    }


def test_live_music_keeps_to_its_wishes(
    untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def composed(wishes: Features) -> set[tuple[int, int]]:
        composer = Composer.load(step_folder(untrained, 1)).asked(wishes)
        (piece,) = composer.compose([0], Sampling(), Length(), seed=2)
        notes = VOCABULARY.decode(piece.ids).notes
        return {(int(n["onset"]), int(n["pitch"])) for n in notes if n["onset"] < 2 * BAR}

    flags = ["--live=stdout", "--bars=2", "--tempo=1000", "--seed=2", "--key=E", "--chords", "C F"]
    assert generate([str(untrained), *flags]) == 0
    events = map(json.loads, capsys.readouterr().out.splitlines())
    played = {(e["step"], e["pitch"]) for e in events if e["event"] == "note_on"}
    wishes = Features(key="E major", tempo=1000.0, chords=tuple("C" * 8 + "F" * 8))
    assert played == composed(wishes) != composed(Features())


@pytest.mark.parametrize("emotion", [["--emotion", "-0.5,-1"], ["--emotion=-0.5,-1"]])
def test_an_emotion_may_begin_with_a_minus(
    untrained: Path, tmp_path: Path, emotion: list[str]
) -> None:
    told = tmp_path / "told.json"
    files = [f"--out={tmp_path}", "--no-wav", "--seed=1", "--bars=2", f"--json={told}"]
    assert generate([str(untrained), *emotion, *files]) == 0
    wishes = json.loads(told.read_text())["settings"]["wishes"]
    assert wishes == {"valence": -0.5, "arousal": -1.0}


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        (["--key", "H minor"], "'H minor' is no key"),
        (["--emotion", "2,0"], "must be -1 to 1"),
        (["--emotion", "happy"], "valence and arousal"),
        (["--chords", "C Hm"], "'Hm' is no chord"),
        (["--chords", "N.C."], "names no chord"),
    ],
)
def test_wishes_that_are_none_are_refused(
    untrained: Path, wish: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        generate([str(untrained), *wish])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_model_is_not_asked_for_what_it_was_not_trained_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vocabulary = EventVocabulary(conditions=parse_conditions("emotion"))
    assert vocabulary.piece_conditions == ("valence", "arousal")
    run = write_tiny_run(tmp_path / "run", vocabulary)
    assert generate([str(run), "--key", "C", "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "cannot be asked for key" in error and "valence, arousal" in error
    shipped = "model/pretrained/chorales"
    assert generate([shipped, "--chords", "C F", "--out", str(tmp_path / "out")]) == 1
    assert "no condition" in capsys.readouterr().err


@pytest.mark.slow
def test_a_trained_model_plays_what_it_is_asked_for(
    tiny_scores: dict[str, Score], tmp_path: Path
) -> None:
    # Every chorale as it is, said to be fast, and in half as long notes, said to be slow.
    halved = {n: Score(x.notes, 2 * x.resolution, x.tempo) for n, x in tiny_scores.items()}
    pieces = [
        (scores[name], split, tempo)
        for scores, tempo in ((tiny_scores, 150), (halved, 50))
        for split, names_of_split in (
            ("train", TINY_SPLITS["train"]),
            ("val", TINY_SPLITS["valid"]),
        )
        for name in names_of_split
    ]
    data, run = tmp_path / "data", tmp_path / "run"
    build(write_labelled(tmp_path / "commu", pieces), data, "--conditions", "tempo")
    flags = ["--preset=tiny", "--steps=1200", "--global-batch-size=16", "--sequence-length=64"]
    assert (
        train([f"--data={data}", f"--run={run}", *flags, "--learning-rate=0.01", "--seed=2"]) == 0
    )
    composer = Composer.load(run)

    def mean_duration(tempo: float) -> float:
        """Of the notes of 64 pieces, in quarters: by chance it differs by a hundredth."""
        asked = composer.asked(Features(tempo=tempo))
        length = Length.of_steps(8 * BAR, 4)
        pieces = asked.compose(range(64), Sampling(top_p=0.95), length, seed=1)
        notes = np.concatenate([asked.score(piece, length, tempo).notes for piece in pieces])
        return float(notes["duration"].mean() / 4)

    fast, slow = mean_duration(150), mean_duration(50)
    assert fast > 1.25 * slow, (fast, slow)
