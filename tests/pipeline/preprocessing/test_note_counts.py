"""manifest.json and rejects.csv count every note that was read, and every tune that was refused."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import music21
import pytest

from pipeline import describe
from pipeline import preprocess as command
from pipeline.dataset.manifest import SPLITS, Manifest, notes_in_words
from pipeline.dataset.records import read_pieces
from pipeline.preprocessing.build import Settings, build_data_set
from pipeline.scores.formats import Reading
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.grid import GridVocabulary
from pipeline.vocabulary.registry import Vocabulary
from tests.pipeline.preprocessing import odd_readers
from tests.pipeline.scores.test_reading import midi_bytes

MIDI_SCORE = midi_bytes(bytes([0, 0x90, 60, 80, 96, 60, 0]) * 2)
HEADER = "M:4/4\nL:1/4\nK:C\n"
# A tune of 8 notes, one that is refused, the first again, one without notes, one of 5 notes.
MUSIC = ["CDEF|GABc|", "C (& D|", "CDEF|GABc|", "z4|", "c2c2|c2c2|c4|"]
BOOK = "\n".join(f"X:{n}\n{HEADER}{music}\n" for n, music in enumerate(MUSIC, 11))


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


def names_of(folder: Path, manifest: Manifest) -> list[str]:
    return sorted(name for split in SPLITS for name, _ in read_pieces(folder, manifest, split))


def written(folder: Path, *sources: Path, **changes: Any) -> Manifest:
    """The manifest of the data set of these sources, all of it for training."""
    names = tuple(map(str, sources))
    given = {"num_lanes": 1, "num_processes": 1, "valid": 0, "test": 0, "max_rejects": 0.9}
    build_data_set(Settings(names, folder, **{**given, **changes}))
    return Manifest.load(folder)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.abc"
    path.write_text(BOOK)
    return path


@pytest.mark.parametrize("with_cache", [False, True])
def test_one_refused_tune_leaves_the_others_of_a_book_in_the_data_set(
    book: Path, with_cache: bool, tmp_path: Path
) -> None:
    cache = tmp_path / "cache" if with_cache else None
    if cache:
        cache.mkdir()
        written(tmp_path / "first", book, cache=cache)
    manifest = written(tmp_path / "data", book, cache=cache)
    assert names_of(tmp_path / "data", manifest) == ["book.abc#1", "book.abc#5"]
    refused = "X:12: line 11: an overlay of several bars ((&)"
    assert rows_of(tmp_path / "data" / "rejects.csv") == [
        ["source", "kind", "reason", "notes_read", "notes_by_reader"],
        ["book.abc#2", "unreadable", refused, "2", ""],
        ["book.abc#3", "duplicate", "the same notes as book.abc#1", "8", ""],
        ["book.abc#4", "empty", "no notes in it", "0", ""],
    ]
    assert manifest.rejects == {"duplicate": 1, "empty": 1, "unreadable": 1}
    assert manifest.notes == {
        "read": 23,
        "kept": 13,
        "dropped": {"rejected as duplicate": 8, "rejected as unreadable": 2},
    }


def test_a_tune_of_a_book_counts_as_much_as_a_file_against_max_rejects(
    book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [str(book), "--out", str(tmp_path / "data"), "--num-lanes", "1", "--no-cache"]
    flags += ["--processes", "1", "--valid", "0", "--test", "0"]
    assert command.main([*flags, "--max-rejects", "39%"]) == 1
    said = capsys.readouterr()
    assert "book.abc#2: unreadable: X:12: line 11" in said.err
    assert "2 of 5 files and tunes of files could not be used, 1 would be accepted" in said.err
    assert command.main([*flags, "--max-rejects", "40%"]) == 0
    assert (
        "  notes: 23 read, 13 kept; dropped: 8 rejected as duplicate, 2 rejected as unreadable\n"
        in capsys.readouterr().out
    )


def test_both_counts_stand_beside_what_the_reader_miscounts(tmp_path: Path) -> None:
    folder = tmp_path / "scores"
    folder.mkdir()
    (folder / "one.abc").write_text(f"X:7\n{HEADER}CDEF|\n")
    (folder / "two.krn").write_text("**kern\n4c\n4d\n*-\n")
    (folder / "whole.mid").write_bytes(MIDI_SCORE)
    (folder / "without.abc").touch()
    manifest = written(tmp_path / "data", folder, reader=odd_readers.losing_a_note)
    assert rows_of(tmp_path / "data" / "rejects.csv")[1:] == [
        ["one.abc", "miscount", "X:7: 3 notes were read, but 4 are written", "4", "3"],
        ["whole.mid", "miscount", "1 notes were read, but 2 are written", "2", "1"],
        ["without.abc", "empty", "no notes in it", "", ""],
    ]
    assert manifest.rejects == {"empty": 1, "miscount": 2}
    assert manifest.notes == {"read": 8, "kept": 2, "dropped": {"rejected as miscount": 6}}


# --- Real scores of every format


@pytest.fixture(scope="module")
def mixed(
    tiny_corpus: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """A folder of MIDI, MusicXML, kern and ABC with copies, and a file of frames."""
    folder = tmp_path_factory.mktemp("mixed")
    corpus = Path(music21.common.getCorpusFilePath())
    names = ["bach/bwv281.krn", "bach/bwv67.4.xml", "oneills1850/1001-1031.abc"]
    files = [corpus / name for name in names]
    files += [*sorted((shared_data / "vgmidi" / "labelled" / "midi").glob("*.mid"))[::40]]
    files += [*sorted(tiny_corpus.glob("*.mid"))[:3]]
    for path in files:
        shutil.copy(path, folder)
    shutil.copy(files[-1], folder / "the-same-bytes.mid")
    same_notes = bytearray(files[-1].read_bytes())
    same_notes[same_notes.index(b"\xff\x51\x03") + 5] ^= 1  # another tempo
    (folder / "the-same-notes.mid").write_bytes(same_notes)
    (folder / "words.mid").write_text("These are only words.")
    frames = tmp_path_factory.mktemp("frames") / "duet-quarter.json"
    duet = [[60, 48], [60, 50], [-1, 50], [60, 50]]
    frames.write_text(json.dumps({"train": [duet, [[-1, -1]]], "valid": [], "test": []}))
    return [str(folder), f"jsb:{frames}"]


@pytest.mark.parametrize(
    ("vocabulary", "reader"),
    [
        (EventVocabulary(), "music21"),
        (EventVocabulary(instruments=True), "symusic"),
        (GridVocabulary(), "music21"),
    ],
    ids=["events", "instruments", "grid"],
)
def test_of_real_scores_of_all_formats_read_is_kept_and_dropped(
    mixed: list[str],
    vocabulary: Vocabulary,
    reader: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip(reader)
    out = tmp_path / "data"
    reading = Reading(reader, expand_repeats=reader == "symusic")
    manifest = written(out, *map(Path, mixed), vocabulary=vocabulary, reading=reading)
    notes, rejects = manifest.notes, rows_of(out / "rejects.csv")[1:]
    added = notes.get("added", {})
    assert notes["read"] + sum(added.values()) == notes["kept"] + sum(notes["dropped"].values())
    # Kept are the notes in the records; the rows of a kind have what its rule drops.
    assert notes["kept"] == sum(
        vocabulary.decode(ids).notes.size
        for split in SPLITS
        for _, ids in read_pieces(out, manifest, split)
    )
    for kind in manifest.rejects:
        of_kind = sum(int(row[3] or 0) for row in rejects if row[1] == kind)
        assert notes["dropped"].get(f"rejected as {kind}", 0) == of_kind
    assert {"duplicate", "empty", "unreadable"} <= manifest.rejects.keys()
    # What is dropped and added, and no more, stands among the adjustments of the kept pieces.
    by_rule = {rule: n for rule, n in notes["dropped"].items() if not rule.startswith("rejected")}
    assert {**by_rule, **added}.items() <= manifest.adjustments.items()
    assert ("added" in notes) == (reading.expand_repeats or vocabulary.to_dict()["kind"] == "grid")
    capsys.readouterr()
    assert describe.main([str(out), "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"notes: {notes_in_words(notes)}" in lines
    [adjusted] = [line for line in lines if line.startswith("adjusted: ")]
    assert not any(rule in adjusted for rule in {**by_rule, **added})


def test_pitches_are_said_to_be_counted_in_every_frame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "five.abc").write_text(f"X:1\n{HEADER}[CEGce]|\n")  # a quarter: four frames
    out = tmp_path / "data"
    flags = ["--vocabulary=grid", "--valid=0", "--test=0", "--processes=1", f"--out={out}"]
    assert command.main([str(tmp_path / "five.abc"), *flags]) == 0
    counted = "4 pitches beyond the voices left out (counted in every frame)"
    assert f"adjusted: {counted}" in capsys.readouterr().out
    assert describe.main([str(out), "--out", str(tmp_path)]) == 0
    assert counted in capsys.readouterr().out


def test_of_duplicates_no_adjustment_is_counted(tmp_path: Path) -> None:
    # Two files of the same notes, each with a doubled one, and other titles.
    for name in ("one", "two"):
        (tmp_path / f"{name}.abc").write_text(f"X:1\nT:{name}\n{HEADER}[CC]DEF|\n")
    manifest = written(tmp_path / "data", *(tmp_path / f"{n}.abc" for n in ("one", "two")))
    assert manifest.adjustments == {"doubled notes merged": 1}
    assert manifest.notes == {
        "read": 10,
        "kept": 4,
        "dropped": {"doubled notes merged": 1, "rejected as duplicate": 5},
    }
