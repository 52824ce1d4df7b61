"""evaluate.py --emotions: what was asked for and labels beside mode, density and register."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest

from model.evaluate import main
from model.evaluation.emotion import correlations
from pipeline.preprocess import main as preprocess
from pipeline.scores.labels import Features
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import Score, make_notes
from pipeline.vocabulary.events import EventVocabulary
from tests.model.tiny_run import write_tiny_run
from tests.pipeline.sources.data_sets import write_table

TRIADS = {1: (0, 4, 7, 12), -1: (0, 3, 7, 12)}  # major, minor
EMOTIONS = tuple(product((1, -1), repeat=2))
VOCABULARY = EventVocabulary(conditions=("valence", "arousal"))


def piece(valence: int, arousal: int, root: int = 60) -> Score:
    """A broken triad, which says the mode, 16 times: two notes a quarter if excited, else one."""
    step = 6 if arousal > 0 else 12
    pitches = [root + degree for degree in TRIADS[valence]] * 16
    rows = [(i * step, 0, pitch, step, 64) for i, pitch in enumerate(pitches)]
    return Score(make_notes(rows), 12)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VGMIDI in small: two pieces of each emotion, and one without an arousal."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = []
    for number, (valence, arousal) in enumerate([*EMOTIONS, *EMOTIONS, (1, 0)]):
        name = f"Series_PC_Game{number}_Tune"
        (folder / "labelled/midi").mkdir(parents=True, exist_ok=True)
        write_midi(piece(valence, arousal, 55 + number), folder / f"labelled/midi/{name}.mid")
        row = {"id": "1", "series": "Series", "console": "PC", "game": f"Game{number}"}
        row |= {"piece": "Tune", "midi": f"labelled/phrases/{name}_0.mid"}
        rows.append(row | {"valence": valence, "arousal": arousal})
    write_table(folder / "vgmidi_labelled.csv", rows)
    out = folder / "data"
    flags = ["--conditions=emotion", f"--out={out}", "--num-lanes=1", "--midi-reader=symusic"]
    assert preprocess([f"vgmidi:{folder}", *flags]) == 0
    return out


def test_labels_go_with_what_the_pieces_were_made_of(data: Path, tmp_path: Path) -> None:
    """By hand: mode is valence and density arousal, neither the other; one pitch at once in all."""
    run = write_tiny_run(tmp_path / "run", VOCABULARY)
    path = tmp_path / "result.json"
    assert main([str(run), f"--data={data}", "--emotions=2", f"--json={path}"]) == 0
    found = json.loads(path.read_text())
    assert (found["pieces"], found["composed"]) == (8, 8)
    real = {
        measure: [by_label[label]["real"]["r"] for label in ("valence", "arousal")]
        for measure, by_label in found["correlations"].items()
    }
    assert real["major key"] == pytest.approx([1, 0], abs=1e-9)
    assert real["notes a quarter"] == pytest.approx([0, 1], abs=1e-9)
    assert real["mean duration"] == pytest.approx([0, -1], abs=1e-9)
    assert real["pitches at once"] == [None, None]
    for by_label in found["correlations"].values():
        for sets in by_label.values():
            assert sets["composed"]["r"] is None or -1 <= sets["composed"]["r"] <= 1


def test_a_model_that_does_the_opposite_has_the_opposite_sign() -> None:
    real = [(Features(valence=v, arousal=a), piece(v, a)) for v, a in EMOTIONS]
    opposite = [
        (Features(valence=-v, arousal=-a), score)
        for (_, score), (v, a) in zip(real, EMOTIONS, strict=True)
    ]
    found = correlations(real, opposite)
    assert found["notes a quarter"]["arousal"]["real"]["r"] == pytest.approx(1)
    assert found["notes a quarter"]["arousal"]["composed"]["r"] == pytest.approx(-1)
    assert found["major key"]["valence"]["composed"]["r"] == pytest.approx(-1)


def test_what_does_not_go_is_refused(
    data: Path, tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_tiny_run(tmp_path / "run", VOCABULARY)
    plain = write_tiny_run(tmp_path / "plain")
    for flags, said in (
        ([run, f"--data={data}", "--emotions=1"], "--emotions is 1; it must be 2 or more"),
        ([plain, f"--data={data}", "--emotions=2"], "this model cannot be asked for valence"),
        ([run, f"--data={tiny_shards}", "--emotions=2"], "has a valence and an arousal; make it"),
    ):
        assert main(list(map(str, flags))) == 1
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(run), "--emotions=2"])
    assert "--emotions needs one RUN and the folder of a data set" in capsys.readouterr().err
