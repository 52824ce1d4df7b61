"""The protocols: baselines that need no model come out as published; the command and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model import evaluate
from model.evaluation import baselines, protocols
from pipeline.dataset.manifest import SPLITS
from pipeline.sources.json_frames import FrameSet, read_frames

JSB = "jsb/Jsb16thSeparated.json"
QUARTERS = "jsb/jsb-chorales-quarter.json"
NOTTINGHAM = "nottingham/nottingham-8th.json"
MUSEDATA, PIANOMIDI = (f"polyphony/{name}-8th.json" for name in ("musedata", "pianomidi"))


@pytest.fixture(scope="module")
def sixteenths(shared_data: Path) -> FrameSet:
    return read_frames(shared_data / JSB)


def mean(nats: list[np.ndarray]) -> float:
    return float(np.concatenate([piece.ravel() for piece in nats]).mean())


@pytest.mark.parametrize(
    ("baseline", "valid", "test"),
    [
        ("uniform", 3.850, 3.850),
        ("unigram", 2.611, 2.639),
        ("hold", 0.841, 0.896),
        ("bigram", 0.705, 0.740),
    ],
)
def test_floors_on_sixteenths_are_the_known_ones(
    sixteenths: FrameSet, baseline: str, valid: float, test: float
) -> None:
    fitted = getattr(baselines, baseline)
    splits = sixteenths.splits
    assert mean(fitted(splits["train"], splits["valid"])) == pytest.approx(valid, abs=0.01)
    assert mean(fitted(splits["train"], splits["test"])) == pytest.approx(test, abs=0.01)


@pytest.mark.parametrize(
    ("source", "file", "nats"),
    [
        ("jsb", QUARTERS, 11.06),
        ("nottingham", NOTTINGHAM, 10.25),
        ("musedata", MUSEDATA, 11.51),
        ("pianomidi", PIANOMIDI, 11.05),
    ],
)
def test_the_bernoulli_floor_on_frames_is_the_known_one(
    shared_data: Path,
    source: str,
    file: str,
    nats: float,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = shared_data / file
    if not path.is_file():
        pytest.skip(f"no {path}")
    written = tmp_path / "baseline.json"
    data = f"{source}:{path}"
    flags = ["--model", "bernoulli", "--data", data, "--split", "test", "--json", str(written)]
    assert evaluate.main(flags) == 0
    contents = json.loads(written.read_text())
    assert contents["nats_per_frame"] == pytest.approx(nats, abs=0.01)
    assert contents["nats_per_note"] is None
    assert "independent outputs" in contents["comparable"]
    assert "test split" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["musedata", "pianomidi"])
def test_the_bernoulli_floor_of_a_few_frames_is_the_one_worked_out_by_hand(
    source: str, tmp_path: Path
) -> None:
    path, written = tmp_path / f"{source}-8th.json", tmp_path / "baseline.json"
    path.write_text(
        json.dumps({"train": [[[60], [60, 64]]], "valid": [], "test": [[[60, 64]], [[]]]})
    )
    flags = ["--model", "bernoulli", "--data", f"{source}:{path}", "--split", "test"]
    assert evaluate.main([*flags, "--json", str(written)]) == 0
    # With 1 added to each count: 60 has 3 of 4, 64 has 2 of 4, each of the 86 other keys 1 of 4.
    others = -86 * np.log(3 / 4)
    chord, silence = -np.log(3 / 4) - np.log(2 / 4), -np.log(1 / 4) - np.log(2 / 4)
    expected = others + (chord + silence) / 2
    assert expected == pytest.approx(26.2707, abs=1e-4)
    assert json.loads(written.read_text())["nats_per_frame"] == pytest.approx(expected)


@pytest.mark.parametrize("outside", [20, 109])
def test_a_pitch_that_no_piano_has_is_refused_rather_than_passed_over(
    outside: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pianomidi-8th.json"
    frames = [[sorted([outside, 60])]]
    path.write_text(json.dumps({"train": [[[60]]], "valid": frames, "test": []}))
    assert evaluate.main(["--model", "bernoulli", "--data", f"pianomidi:{path}"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "pitches outside 21..108" in said and "1 of a piece" in said and str(outside) in said


def test_a_matlab_file_is_one_line_that_says_how_to_make_json_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "MuseData.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file, Platform: PCWIN64".ljust(128))
    assert evaluate.main(["--model", "bernoulli", "--data", f"musedata:{path}"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is a MATLAB file" in said and "docs/data-sets.md" in said


def test_a_quarter_of_the_test_chorales_share_their_tune_with_train(sixteenths: FrameSet) -> None:
    overlap = protocols.tune_overlap(sixteenths.splits["train"], sixteenths.splits["test"])
    assert len(overlap) == 77
    assert (overlap == 0).sum() == 24
    assert (overlap >= 0.5).sum() == 18


@pytest.mark.parametrize("baseline", ["uniform", "unigram", "hold", "bigram"])
def test_the_probabilities_of_a_baseline_sum_to_one(baseline: str) -> None:
    generator = np.random.default_rng(0)
    train = [generator.integers(35, 82, [40, 2]).astype(np.int16) for _ in range(3)]
    train = [np.where(piece == 35, -1, piece) for piece in train]
    symbols = np.append(-1, np.arange(36, 82))
    last = np.repeat([[60, 62]], 47, 0)
    pairs = np.stack([last, np.stack([symbols, symbols], 1)], 1)  # every symbol after the same one
    nats = np.array(getattr(baselines, baseline)(train, list(pairs)))
    np.testing.assert_allclose(np.exp(-nats[:, 1]).sum(0), 1, rtol=1e-6)


def test_a_floor_of_the_other_protocol_is_refused(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", "bigram", "--data", f"jsb:{shared_data / QUARTERS}"]
    assert evaluate.main(flags) == 1
    assert "no baseline of this protocol" in capsys.readouterr().err


def test_a_source_without_a_protocol_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--model", "bigram", "--data", "bach"]) == 1
    assert "jsb:PATH" in capsys.readouterr().err


def test_a_folder_stands_for_its_only_file_of_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", "bernoulli", "--data", f"nottingham:{tmp_path}"]
    (tmp_path / "a-8th.json").write_text(json.dumps({split: [[[60, 64]]] for split in SPLITS}))
    assert evaluate.main(flags) == 0
    (tmp_path / "b-8th.json").write_text("{}")
    for place, said in (
        (tmp_path, "these .json files: a-8th.json, b-8th.json; name the one to read"),
        (tmp_path / "c-8th.json", "c-8th.json does not exist; needed: nottingham-8th.json"),
    ):
        capsys.readouterr()
        assert evaluate.main([*flags[:-1], f"nottingham:{place}"]) == 1
        assert said in capsys.readouterr().err
