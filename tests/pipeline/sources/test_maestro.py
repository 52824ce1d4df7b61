"""MAESTRO: composers and the official split, by each of its tables and its archive."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import pytest

from pipeline.scores.labels import Features
from pipeline.sources.collect import label_digests
from tests.pipeline.sources.data_sets import pieces_of, write_table, write_tune


def maestro_row(number: int, split: str) -> dict[str, str]:
    return {
        "canonical_composer": "Alban Berg",
        "canonical_title": "Sonata Op. 1",
        "split": split,
        "year": "2018",
        "midi_filename": f"2018/performance {number}.midi",
        "audio_filename": f"2018/performance {number}.wav",
        "duration": "698.66",
    }


@pytest.fixture
def maestro(tmp_path: Path) -> Path:
    folder = tmp_path / "maestro-v3.0.0"
    rows = [maestro_row(i, split) for i, split in enumerate(("train", "validation", "test"))]
    write_table(folder / "maestro-v3.0.0.csv", rows)
    for row in rows:
        write_tune(folder / row["midi_filename"])
    return folder


def test_maestro_keeps_its_split_composer_and_year(maestro: Path) -> None:
    pieces = pieces_of(f"maestro:{maestro}")
    assert {name: piece.split for name, piece in pieces.items()} == {
        "maestro/2018/performance 0.midi": "train",
        "maestro/2018/performance 1.midi": "valid",
        "maestro/2018/performance 2.midi": "test",
    }
    assert {p.features for p in pieces.values()} == {Features(composer="Alban Berg", year=2018)}


def test_maestro_by_its_json_its_table_or_its_zip_is_the_same(maestro: Path) -> None:
    table = maestro / "maestro-v3.0.0.csv"
    expected = label_digests(list(pieces_of(f"maestro:{maestro}").values()))
    assert label_digests(list(pieces_of(f"maestro:{table}").values())) == expected
    archive = maestro.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as opened:
        for path in maestro.rglob("*"):
            opened.write(path, path.relative_to(maestro.parent))
    assert label_digests(list(pieces_of(f"maestro:{archive}").values())) == expected
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = {name: {str(i): row[name] for i, row in enumerate(rows)} for name in rows[0]}
    columns["year"] = {number: int(year) for number, year in columns["year"].items()}
    table.with_suffix(".json").write_text(json.dumps(columns))
    table.unlink()
    assert label_digests(list(pieces_of(f"maestro:{maestro}").values())) == expected


def test_a_performance_that_is_missing_is_named_and_the_others_are_read(
    maestro: Path, capsys: pytest.CaptureFixture
) -> None:
    (maestro / "2018" / "performance 1.midi").unlink()
    assert len(pieces_of(f"maestro:{maestro}")) == 2
    assert "names a file that is not there: 2018/performance 1.midi" in capsys.readouterr().err


def test_what_the_table_has_twice_or_not_at_all_is_named(
    maestro: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = [maestro_row(0, "train"), maestro_row(1, "validation"), maestro_row(0, "test")]
    again = {"split": "test", "midi_filename": "./2018/performance 1.midi"}
    write_table(
        maestro / "maestro-v3.0.0.csv", [*rows, rows[1] | again, dict.fromkeys(rows[0], "")]
    )
    pieces = pieces_of(f"maestro:{maestro}")
    assert [piece.split for piece in pieces.values()] == ["train", "valid"]
    assert capsys.readouterr().err.splitlines() == [
        *(
            "note: maestro-v3.0.0.csv has two rows for a piece, the first is used: "
            f"2018/performance {number}.midi"
            for number in (0, 1)
        ),
        "note: left out, not in maestro-v3.0.0.csv: 2018/performance 2.midi",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"split": "dev"}, "split is 'dev': needed: train, validation, test"),
        ({"midi_filename": "../2018/x.midi"}, "it leads out of the data set"),
        ({"midi_filename": "absent.midi"}, "none of the 1 MIDI files"),
    ],
)
def test_a_row_of_maestro_that_cannot_be_is_one_clear_error(
    changes: dict[str, str], said: str, maestro: Path
) -> None:
    write_table(maestro / "maestro-v3.0.0.csv", [maestro_row(0, "train") | changes])
    with pytest.raises(ValueError, match="maestro") as error:
        pieces_of(f"maestro:{maestro}")
    assert said in str(error.value)


@pytest.mark.parametrize("contents", [b"", b"a,b\n", b"\xff\xfe\x00", b"{", b"[]", b'{"a": 5}'])
def test_a_table_that_is_none_is_one_clear_error(contents: bytes, tmp_path: Path) -> None:
    for name in ("maestro-v3.0.0.csv", "maestro-v3.0.0.json"):
        (tmp_path / name).write_bytes(contents)
        with pytest.raises(ValueError, match=rf"{name}( has no rows|: row 1 has no| cannot be)"):
            pieces_of(f"maestro:{tmp_path / name}")
