"""Where pieces come from: every kind of source, unsafe archives, splits that do not leak."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.scores.notes import DRUMS, Score, make_notes
from pipeline.sources import archives
from pipeline.sources.collect import Piece, content_digests, open_sources
from pipeline.sources.splits import assign_splits, music_digest

GOLDEN = Path(__file__).parents[1] / "golden" / "chorale.mid"
SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Scores at two depths among files that are none."""
    root = tmp_path / "scores"
    (root / "deep" / "er").mkdir(parents=True)
    for name in ("b.mid", "a.MID", "deep/er/c.xml", "._b.mid", "notes.txt"):
        shutil.copy(GOLDEN, root / name)
    (root / "__MACOSX").mkdir()
    shutil.copy(GOLDEN, root / "__MACOSX" / "b.mid")
    return root


def ids(*sources: Path | str) -> list[str]:
    with open_sources([str(source) for source in sources]) as pieces:
        return [piece.id for piece in pieces]


def zipped(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for path in sorted(folder.rglob("*")):
            opened.write(path, path.relative_to(folder))
    return archive


def tarred(archive: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(archive, "w:gz") as opened:
        for info, contents in members:
            info.size = len(contents)
            opened.addfile(info, io.BytesIO(contents))
    return archive


def test_a_folder_gives_all_scores_below_it_by_name_and_nothing_else(folder: Path) -> None:
    assert ids(folder) == ["a.MID", "b.mid", "deep/er/c.xml"]


def test_ids_do_not_depend_on_where_the_folder_lies(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "moved"
    shutil.copytree(folder, moved)
    assert ids(moved) == ids(folder)


def test_files_of_one_name_from_two_sources_are_told_apart(folder: Path) -> None:
    assert ids(folder / "b.mid", folder) == ["a.MID", "b.mid", "b.mid (2)", "deep/er/c.xml"]


def test_archives_give_the_same_pieces_as_the_folder_and_vanish_after(
    folder: Path, tmp_path: Path
) -> None:
    archive = zipped(folder, tmp_path / "scores.zip")
    ball = tmp_path / "scores.tar.gz"
    with tarfile.open(ball, "w:gz") as opened:
        opened.add(folder, ".")
    assert ids(archive) == ids(ball) == ids(folder)
    with open_sources([str(ball)]) as pieces:
        assert content_digests(pieces)["b.mid"] == content_digests([Piece("x", GOLDEN)])["x"]
        paths = [piece.path for piece in pieces]
    assert not any(path.exists() for path in paths)


def test_bach_is_the_chorales_of_the_corpus() -> None:
    with open_sources(["bach"]) as pieces:
        assert len(pieces) == 350
        assert pieces[0].id.startswith("bach/bwv")


def test_an_empty_folder_is_an_error_that_says_what_was_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no scores in .*: found nothing; needed: \.mid"):
        ids(tmp_path)
    (tmp_path / "picture.jpg").touch()
    with pytest.raises(ValueError, match=r"found 1 \.jpg"):
        ids(tmp_path)


def test_a_source_that_is_nothing_is_an_error_that_names_what_could_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mozart does not exist; needed: .*bach"):
        ids("mozart")
    with pytest.raises(ValueError, match=r"nowhere does not exist; .* did you mean nottingham\?"):
        ids("notingham:nowhere")
    with pytest.raises(ValueError, match=r"did you mean bach\?"):
        ids("bahc")
    for folder in ("my-midi", "music/jsb", "bach-and-others"):
        with pytest.raises(ValueError, match=r"maestro:PATH$"):
            ids(folder)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"notes\.txt is not a score by its suffix"):
        ids(tmp_path / "notes.txt")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_files_of_one_name_in_an_archive_the_last_is_used_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """As after `tar --append`; a zip may have them too."""
    members = [("top/a.mid", b"first"), ("top/b.mid", b"b"), ("top/a.mid", b"last")]
    ball = tarred(tmp_path / "a.tar.gz", *((tarfile.TarInfo(n), text) for n, text in members))
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for name, text in members:
            opened.writestr(name, text)
    for source in (ball, archive):
        with open_sources([str(source)]) as pieces:
            assert [piece.path.read_bytes() for piece in pieces] == [b"last", b"b"]
        said = f"note: {source.name} has two files of one name, the last is used: top/a.mid\n"
        assert capsys.readouterr().err == said


# --- Archives that mean harm


@pytest.mark.parametrize("name", ["../out.mid", "/out.mid", "a/../../out.mid", "..\\out.mid"])
def test_a_member_that_leads_out_of_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    ball = tarred(tmp_path / "bad.tar.gz", (tarfile.TarInfo(name), b"MThd"))
    archive = tmp_path / "bad.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(name, b"MThd")
    for bad in (ball, archive):
        with pytest.raises(ValueError, match="leads out of the archive"):
            archives.extract_scores(bad, inside, (".mid",))
    assert not (tmp_path / "out.mid").exists()


def test_links_and_devices_stay_out(tmp_path: Path) -> None:
    link, device = tarfile.TarInfo("link.mid"), tarfile.TarInfo("device.mid")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device.type = tarfile.CHRTYPE
    plain = tarfile.TarInfo("plain.mid")
    ball = tarred(tmp_path / "odd.tar.gz", (link, b""), (device, b""), (plain, b"MThd"))
    assert ids(ball) == ["plain.mid"]
    archive = tmp_path / "odd.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        info = zipfile.ZipInfo("link.mid")
        info.external_attr = 0o120777 << 16
        opened.writestr(info, "/etc/passwd")
        opened.writestr("plain.mid", b"MThd")
    assert ids(archive) == ["plain.mid"]


def test_a_bomb_is_refused_by_what_it_unpacks_to_not_by_what_it_says(tmp_path: Path) -> None:
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("bomb.mid", bytes(archives.MAX_MEMBER_BYTES + 1))
    assert archive.stat().st_size < 2**20
    with pytest.raises(ValueError, match=r"bomb\.mid has more than 64 MiB"):
        ids(archive)


@pytest.mark.parametrize("name", ["cut.zip", "cut.tar.gz", "words.zip", "words.tar"])
def test_a_broken_archive_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    whole = tmp_path / ("whole" + "".join(Path(name).suffixes))
    if whole.suffix == ".zip":
        zipped(folder, whole)
    else:
        tarred(whole, (tarfile.TarInfo("a.mid"), GOLDEN.read_bytes()))
    broken = tmp_path / name
    contents = whole.read_bytes()
    broken.write_bytes(contents[: len(contents) // 2] if "cut" in name else b"Only words.")
    with pytest.raises(ValueError, match="cannot be unpacked"):
        ids(broken)


# --- Splits


def pieces_with(num: int, **fields: str) -> tuple[list[Piece], dict[str, str]]:
    pieces = [Piece(f"{i}.mid", Path(f"{i}.mid"), **fields) for i in range(num)]
    return pieces, {piece.id: f"content {piece.id}" for piece in pieces}


def test_shares_come_out_about_as_asked_and_the_seed_changes_who() -> None:
    pieces, digests = pieces_with(3000)
    splits = assign_splits(pieces, digests, SHARES, seed=0)
    counts = Counter(splits.values())
    assert abs(counts["valid"] - 300) < 60
    assert abs(counts["test"] - 300) < 60
    assert splits == assign_splits(pieces[::-1], digests, SHARES, seed=0)
    assert splits != assign_splits(pieces, digests, SHARES, seed=1)


def test_a_piece_keeps_its_split_when_others_come_and_when_it_is_renamed() -> None:
    pieces, digests = pieces_with(500)
    few = assign_splits(pieces[:200], digests, SHARES, seed=0)
    many = assign_splits(pieces, digests, SHARES, seed=0)
    assert {name: many[name] for name in few} == few
    renamed = [Piece("new " + piece.id, piece.path) for piece in pieces]
    again = assign_splits(renamed, {"new " + n: d for n, d in digests.items()}, SHARES, seed=0)
    assert {"new " + name: split for name, split in many.items()} == again


@given(st.integers(3, 40), st.integers(0, 1000))
def test_no_split_is_empty_from_three_pieces_on(num: int, seed: int) -> None:
    pieces, digests = pieces_with(num)
    counts = Counter(assign_splits(pieces, digests, SHARES, seed).values())
    assert set(counts) == {"train", "valid", "test"}
    assert sum(counts.values()) == num


@pytest.mark.parametrize(
    ("num", "wanted"),
    [(2, (1, 1, 0)), (4, (2, 1, 1)), (5, (3, 1, 1)), (29, (23, 3, 3)), (99, (79, 10, 10))],
)
def test_few_pieces_are_cut_by_share(num: int, wanted: tuple[int, int, int]) -> None:
    pieces, digests = pieces_with(num)
    for seed in (0, 1):
        splits = assign_splits(pieces, digests, SHARES, seed)
        counts = Counter(splits.values())
        assert (counts["train"], counts["valid"], counts["test"]) == wanted
        assert splits == assign_splits(pieces[::-1], digests, SHARES, seed)
    pieces, digests = pieces_with(4)
    halves = {"train": 0.1, "valid": 0.1, "test": 0.8}
    assert Counter(assign_splits(pieces, digests, halves, 0).values()) == {
        "train": 1,
        "valid": 1,
        "test": 2,
    }


def test_one_piece_is_for_training_and_a_share_of_nothing_gets_nothing() -> None:
    pieces, digests = pieces_with(1)
    assert set(assign_splits(pieces, digests, SHARES, 0).values()) == {"train"}
    pieces, digests = pieces_with(50)
    no_test = {"train": 0.9, "valid": 0.1, "test": 0.0}
    assert set(assign_splits(pieces, digests, no_test, 0).values()) == {"train", "valid"}


@given(st.integers(0, 1000))
def test_equal_files_and_members_of_a_group_share_a_split(seed: int) -> None:
    pieces, digests = pieces_with(60)
    for i, piece in enumerate(pieces[:30]):
        digests[piece.id] = f"content {i % 5}"
    grouped = [
        piece if i < 30 else Piece(piece.id, piece.path, group=f"game {i % 4}")
        for i, piece in enumerate(pieces)
    ]
    splits = assign_splits(grouped, digests, SHARES, seed)
    for key in (lambda piece: digests[piece.id], lambda piece: piece.group or piece.id):
        together: dict[str, set[str]] = {}
        for piece in grouped:
            together.setdefault(key(piece), set()).add(splits[piece.id])
        assert all(len(found) == 1 for found in together.values())


def test_an_official_split_is_kept() -> None:
    pieces, digests = pieces_with(20, split="test")
    assert set(assign_splits(pieces, digests, SHARES, 0).values()) == {"test"}


def test_groups_that_share_a_piece_of_music_are_one() -> None:
    tunes = [Piece(f"{i}.mid", Path(f"{i}.mid"), group=f"game {i % 100}") for i in range(400)]
    digests = {piece.id: f"music {piece.id}" for piece in tunes}
    shares = {"train": 0.4, "valid": 0.3, "test": 0.3}
    apart = assign_splits(tunes, digests, shares, seed=0)
    assert len({apart["0.mid"], apart["1.mid"], apart["2.mid"], apart["3.mid"]}) > 1
    for first, second in ((0, 1), (2, 3), (101, 102)):
        digests[f"{second}.mid"] = digests[f"{first}.mid"]
    together = assign_splits(tunes, digests, shares, seed=0)
    assert together == assign_splits(tunes[::-1], digests, shares, seed=0)
    assert len({together[f"{i}.mid"] for i in range(400) if i % 100 < 4}) == 1
    assert {n: s for n, s in apart.items() if int(n[:-4]) % 100 > 3}.items() <= together.items()


def test_the_digest_of_music_hears_pitches_and_times_alone() -> None:
    rows = [(0, 0, 60, 12, 80), (12, 0, 64, 12, 80), (24, 0, 67, 24, 80)]
    same = {
        music_digest(Score(make_notes(notes), resolution))
        for notes, resolution in (
            (rows, 12),
            ([(40 * t, 48, p + 7, 40 * d, 9) for t, _, p, d, _ in rows], 480),  # another key
            ([(2 * t + 5, DRUMS - 1, p, 2 * d, 1) for t, _, p, d, _ in rows], 12),  # note values
            ([*rows, *((t, 40, p, d, 30) for t, _, p, d, _ in rows)], 12),  # doubled in unison
            ([*rows, (6, DRUMS, 38, 3, 99)], 12),  # with percussion
        )
    }
    assert len(same) == 1
    other = [
        [(0, 0, 60, 12, 80), (12, 0, 63, 12, 80), (24, 0, 67, 24, 80)],
        [(0, 0, 60, 12, 80), (12, 0, 64, 12, 80), (24, 0, 67, 12, 80)],
        [(0, 0, 60, 12, 80), (18, 0, 64, 6, 80), (24, 0, 67, 24, 80)],
        [(0, DRUMS, 36, 12, 80)],
    ]
    assert len(same | {music_digest(Score(make_notes(notes), 12)) for notes in other}) == 5


def test_the_digest_of_music_is_still_that_by_which_older_data_sets_were_split() -> None:
    rows = [(0, 0, 60, 12, 80), (12, 0, 64, 12, 80), (24, 0, 67, 24, 80)]
    # Two programs, chords out of order, a unison, a note shorter than a step, percussion, triplets.
    mixed = [(480, 9, 72, 480, 1), (480, 0, 48, 160, 90), (640, 0, 48, 160, 9), (800, 0, 48, 0, 64)]
    mixed += [(480, 3, 72, 480, 77), (960, DRUMS, 36, 7, 99), (1000, 5, 41, 900_000, 100)]
    digests = [
        music_digest(Score(make_notes(rows), 12))[:16],
        music_digest(Score(make_notes(mixed), 480))[:16],
        music_digest(Score(make_notes([(7, DRUMS, 36, 7, 99), (31, DRUMS, 38, 1, 9)]), 24))[:16],
    ]
    assert digests == ["1044a6697ccfa37d", "f5ee927ebc54679a", "bca85c94b5479fa1"]
