"""Scores read once: found again by content and reader, never believed when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import preprocess as command
from pipeline.scores import cache as score_cache
from pipeline.scores.cache import ScoreCache, usable_folder
from pipeline.scores.formats import AS_WRITTEN, SYMUSIC, Reading
from pipeline.scores.notes import Score
from pipeline.scores.reading import read_scores

BOOK = "X:1\nT:One\nM:4/4\nL:1/4\nK:C\n|:CDEF|GABc:|CDEF|\n\nX:2\nT:Two\nM:4/4\nL:1/4\nK:G\nGABc|\n"


class Reader:
    """Reads, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, path: Path, reading: Reading) -> list[Score]:
        self.times += 1
        return read_scores(path, reading)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.abc"
    path.write_text(BOOK)
    return path


@pytest.fixture
def cache(tmp_path: Path) -> ScoreCache:
    return ScoreCache(usable_folder(tmp_path / "cache"))


def as_lists(scores: list[Score]) -> list[tuple[object, ...]]:
    return [(score.notes.tolist(), score.resolution, score.tempo) for score in scores]


def entries(cache: ScoreCache) -> list[Path]:
    return [path for path in cache.folder.rglob("*") if path.is_file()]


def test_a_file_is_read_once_whatever_it_is_called(cache: ScoreCache, book: Path) -> None:
    read = Reader()
    first = cache.read(book, AS_WRITTEN, read)
    again = cache.read(book.rename(book.with_name("renamed.abc")), AS_WRITTEN, read)
    assert read.times == 1
    assert len(first) == 2
    assert as_lists(first) == as_lists(again)
    assert again[0].notes.flags.writeable


def test_other_content_another_reading_or_another_program_reads_again(
    cache: ScoreCache, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Reader()
    cache.read(book, AS_WRITTEN, read)
    expanded = cache.read(book, Reading(expand_repeats=True), read)
    assert (read.times, expanded[0].notes.size) == (2, 20)
    monkeypatch.setattr(score_cache, "_reader", lambda: "another program")
    cache.read(book, AS_WRITTEN, read)
    book.write_text(BOOK.replace("GABc", "GABd"))
    assert cache.read(book, AS_WRITTEN, read)[1].notes["pitch"].tolist() == [67, 69, 71, 74]
    assert read.times == 4


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "lengthened"])
def test_a_damaged_entry_is_read_again_and_replaced(
    cache: ScoreCache, book: Path, damage: str
) -> None:
    read = Reader()
    first = cache.read(book, AS_WRITTEN, read)
    [entry] = entries(cache)
    whole = entry.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    entry.write_bytes(
        {"cut": whole[:-3], "changed": changed, "empty": b"", "lengthened": whole + b"x"}[damage]
    )
    assert as_lists(cache.read(book, AS_WRITTEN, read)) == as_lists(first)
    assert read.times == 2
    assert [path.read_bytes() for path in entries(cache)] == [whole]


def test_what_cannot_be_read_is_not_kept(cache: ScoreCache, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mid"
    broken.write_bytes(b"words")
    for _ in range(2):
        with pytest.raises(ValueError, match="not a MIDI file"):
            cache.read(broken, AS_WRITTEN, read_scores)
    assert entries(cache) == []


def test_midi_that_symusic_reads_faster_than_a_disk_is_not_kept(
    cache: ScoreCache, tiny_corpus: Path
) -> None:
    pytest.importorskip("symusic", reason="symusic is not installed: pip install -e '.[symusic]'")
    read, path = Reader(), tiny_corpus / "bwv255.mid"
    for _ in range(2):
        cache.read(path, Reading(SYMUSIC), read)
    assert (read.times, entries(cache)) == (2, [])
    cache.read(path, AS_WRITTEN, read)
    cache.read(path, AS_WRITTEN, read)
    assert (read.times, len(entries(cache))) == (3, 1)


def test_a_cache_folder_that_cannot_be_is_one_line_that_says_what_to_do(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CHORALE_CACHE", str(tmp_path / "file" / "below"))
    code = command.main([str(tiny_corpus), "--out", str(tmp_path / "data"), "--num-lanes", "4"])
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (1, 1)
    assert "CHORALE_CACHE" in error and "--no-cache" in error
    assert not (tmp_path / "data").exists()
