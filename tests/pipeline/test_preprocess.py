"""Scores -> a data folder: complete or not there, the same bytes each run, every reject named."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import preprocess as command
from pipeline.dataset.manifest import SPLITS, Manifest
from pipeline.dataset.records import read_pieces
from pipeline.preprocessing.build import Settings, build_data_set
from pipeline.preprocessing.killable_pool import Limits
from pipeline.preprocessing.shards import balance
from pipeline.scores.reading import read_score
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.grid import GridVocabulary
from tests.pipeline.preprocessing import odd_readers

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / "tests" / "pipeline" / "golden" / "chorale.mid"
SMALL_DISK_BYTES = 80 * 1024


def settings(*sources: Path, out: Path, **changes: object) -> Settings:
    """Few lanes and one process, as these few pieces need."""
    names = tuple(str(source) for source in sources)
    small = Settings(names, out, num_lanes=4, num_processes=1)
    return replace(small, **changes)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rejected(data_dir: Path) -> dict[str, tuple[str, str]]:
    with (data_dir / "rejects.csv").open(newline="") as stream:
        return {row["source"]: (row["kind"], row["reason"]) for row in csv.DictReader(stream)}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error, without the progress of a busy machine."""
    capsys.readouterr()
    code = command.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    lines = said.err.splitlines(keepends=True)
    return code, said.out, "".join(x for x in lines if not x.startswith("files parsed: "))


@pytest.fixture(scope="module")
def data_dir(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of the tiny corpus."""
    out = tmp_path_factory.mktemp("preprocessed") / "data"
    build_data_set(settings(tiny_corpus, out=out))
    return out


def test_every_piece_is_in_one_split_with_the_ids_of_its_score(
    data_dir: Path, tiny_corpus: Path
) -> None:
    manifest = Manifest.load(data_dir)
    vocabulary = EventVocabulary()
    found = {}
    for split in SPLITS:
        pieces = dict(read_pieces(data_dir, manifest, split))
        assert len(pieces) == manifest.num_pieces(split) > 0
        assert sum(map(len, pieces.values())) == manifest.num_tokens(split)
        assert not found.keys() & pieces.keys()
        found.update(pieces)
    assert sorted(found) == sorted(path.name for path in tiny_corpus.iterdir())
    for name, ids in found.items():
        assert ids.tolist() == vocabulary.encode(read_score(tiny_corpus / name)).tolist()


def test_the_manifest_tells_the_truth_and_its_shards_are_whole(data_dir: Path) -> None:
    manifest = Manifest.load(data_dir)
    manifest.verify(data_dir)
    assert (manifest.num_sources, manifest.rejects, rejected(data_dir)) == (16, {}, {})
    assert manifest.open_vocabulary == EventVocabulary()
    assert [len(manifest.of_split(split)) for split in SPLITS] == [4, 4, 4]
    assert {path.name for path in data_dir.iterdir()} == {
        *("manifest.json", "rejects.csv"),
        *(shard.file for shard in manifest.shards),
    }


def test_the_lanes_differ_by_one_piece_at_most(data_dir: Path) -> None:
    manifest = Manifest.load(data_dir)
    tokens = [sum(shard.num_tokens for shard in lane) for lane in manifest.lanes("train")]
    assert max(tokens) - min(tokens) <= manifest.longest("train")


@given(st.lists(st.integers(1, 5000), max_size=60), st.integers(1, 20))
def test_balancing_leaves_at_most_the_largest_item_between_any_two_bins(
    sizes: list[int], num_bins: int
) -> None:
    chosen = balance(sizes, num_bins)
    totals = np.bincount(chosen, weights=sizes, minlength=num_bins)
    assert totals.size == num_bins
    assert totals.max() - totals.min() <= max(sizes, default=0)


def test_the_bytes_are_the_same_with_one_process_and_with_two(
    data_dir: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    build_data_set(settings(tiny_corpus, out=tmp_path / "again", num_processes=2))
    assert contents(tmp_path / "again") == contents(data_dir)


def test_another_seed_moves_pieces_between_splits_and_changes_none(
    data_dir: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    build_data_set(settings(tiny_corpus, out=tmp_path / "other", seed=1))
    one, other = (
        {split: dict(read_pieces(folder, Manifest.load(folder), split)) for split in SPLITS}
        for folder in (data_dir, tmp_path / "other")
    )
    assert one["train"].keys() != other["train"].keys()
    ids, others = (
        {name: ids.tolist() for pieces in found.values() for name, ids in pieces.items()}
        for found in (one, other)
    )
    assert ids == others


def test_shards_may_be_more_than_lanes_and_hold_the_same_pieces(
    data_dir: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    build_data_set(settings(tiny_corpus, out=tmp_path / "many", num_shards=8))
    one, many = Manifest.load(data_dir), Manifest.load(tmp_path / "many")
    assert [len(lane) for lane in many.lanes("train")] == [2] * 4
    for few_shards, more_shards in zip(one.lanes("train"), many.lanes("train"), strict=True):
        assert sum(s.num_tokens for s in few_shards) == sum(s.num_tokens for s in more_shards)


def test_a_second_run_says_so_and_does_nothing(
    data_dir: Path, tiny_corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in data_dir.iterdir()}
    code, out, _ = run(capsys, tiny_corpus, "--out", data_dir, "--num-lanes", 4)
    assert code == 0
    assert "holds this data set already" in out
    assert {path: path.stat().st_mtime_ns for path in data_dir.iterdir()} == before


def test_other_settings_need_force_or_another_folder(
    tiny_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data"
    flags = (tiny_corpus, "--out", out, "--num-lanes", 4)
    assert run(capsys, *flags)[0] == 0
    code, _, error = run(capsys, *flags, "--seed", 3)
    assert (code, error.count("\n")) == (1, 1)
    assert "of other settings (seed differ)" in error and "--force" in error
    assert Manifest.load(out).seed == 0
    assert run(capsys, *flags, "--seed", 3, "--force")[0] == 0
    assert Manifest.load(out).seed == 3
    assert list(tmp_path.iterdir()) == [out]


def test_a_damaged_data_set_is_not_called_done(
    tiny_corpus: Path, data_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(data_dir, out)
    shard = out / Manifest.load(out).shards[0].file
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is damaged"):
        build_data_set(settings(tiny_corpus, out=out))


def test_a_folder_that_is_no_data_set_is_never_replaced(tiny_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds no data set: not replaced"):
        build_data_set(settings(tiny_corpus, out=tmp_path, force=True))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_summary_is_printed_and_given_to_programs(
    tiny_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(
        capsys,
        *(tiny_corpus, "--out", tmp_path / "data", "--num-lanes", 4, "--instruments"),
        *("--velocity-bins", 8, "--json", tmp_path / "summary.json"),
    )
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert code == 0
    assert "16 pieces from 16 files" in out
    assert summary["files"] == sum(summary["pieces"].values()) == 16
    manifest = Manifest.load(tmp_path / "data")
    assert summary["tokens"]["train"] == manifest.num_tokens("train")
    assert manifest.open_vocabulary == EventVocabulary(velocity_bins=8, instruments=True)


# --- Files that go wrong


@pytest.fixture
def odd_corpus(tiny_corpus: Path, tmp_path: Path) -> Path:
    """The tiny corpus with files that cannot be used."""
    folder = tmp_path / "odd"
    shutil.copytree(tiny_corpus, folder)
    (folder / "words.mid").write_text("These are only words.")
    (folder / "cut.mid").write_bytes(GOLDEN.read_bytes()[:400])
    shutil.copy(folder / "bwv255.mid", folder / "twin.mid")
    # Other bytes, the same notes: the tempo is another one.
    same_notes = bytearray((folder / "bwv264.mid").read_bytes())
    tempo = same_notes.index(b"\xff\x51\x03")
    same_notes[tempo + 5] ^= 1
    (folder / "zweitschrift.mid").write_bytes(same_notes)
    return folder


def test_what_cannot_be_used_is_listed_with_its_true_reason(
    odd_corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "data"
    summary = build_data_set(settings(odd_corpus, out=out))
    assert rejected(out) == {
        "cut.mid": ("unreadable", rejected(out)["cut.mid"][1]),
        "twin.mid": ("duplicate", "the same bytes as bwv255.mid"),
        "words.mid": (
            "unreadable",
            "not a MIDI file: it begins with b'Thes', not with b'MThd'",
        ),
        "zweitschrift.mid": ("duplicate", "the same notes as bwv264.mid"),
    }
    assert rejected(out)["cut.mid"][1].startswith("cut off in track 2 of 2")
    assert summary["rejects"] == {"duplicate": 2, "unreadable": 2}
    assert sum(summary["pieces"].values()) == 16


def test_a_file_that_hangs_eats_memory_or_crashes_is_killed_and_the_rest_goes_on(
    tiny_corpus: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "odd", tmp_path / "data"
    shutil.copytree(tiny_corpus, folder)
    for number, name in enumerate(("hangs", "eats", "crashes", "breaks")):
        (folder / f"{name}.mid").write_bytes(GOLDEN.read_bytes() + bytes([number]))
    changes = {"reader": odd_readers.by_name, "max_rejects": 4.0, "num_processes": 2}
    build_data_set(settings(folder, out=out, limits=Limits(seconds=5, memory_gib=1), **changes))
    assert rejected(out) == {
        "breaks.mid": ("crash", "its reader ended with exit code 1"),
        "crashes.mid": ("crash", "its reader died of SIGSEGV"),
        "eats.mid": ("memory", "needs more than 1 GiB of memory"),
        "hangs.mid": ("timeout", "took more than 5 seconds of processor time"),
    }
    assert sum(shard.num_pieces for shard in Manifest.load(out).shards) == 16


def test_too_many_rejects_stop_the_run_with_the_list(
    odd_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data"
    flags = (odd_corpus, "--out", out, "--num-lanes", 4, "--processes", 1)
    code, _, error = run(capsys, *flags, "--max-rejects", "5%")
    assert code == 1
    assert "words.mid: unreadable: not a MIDI file" in error
    assert "error: 2 of 20 files could not be used, 1 would be accepted" in error
    assert not out.exists() and not out.with_name("data.partial").exists()
    assert "cut.mid,unreadable," in out.with_name("data.rejects.csv").read_text()
    assert run(capsys, *flags, "--max-rejects", "2")[0] == 0


def test_a_file_that_cannot_be_opened_or_has_an_odd_name_does_not_stop_the_rest(
    tiny_corpus: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "scores"
    shutil.copytree(tiny_corpus, folder)
    odd_name = os.fsdecode(b'caf\xe9, "1".mid')  # Latin-1, not UTF-8
    (folder / "bwv255.mid").rename(folder / odd_name)
    (folder / "gone.mid").symlink_to(tmp_path / "nowhere.mid")
    (folder / "unplugged.mid").symlink_to("/proc/self/mem")  # opens, and fails to read
    build_data_set(settings(folder, out=tmp_path / "data", max_rejects=2.0))
    manifest = Manifest.load(tmp_path / "data")
    names = {
        name for split in SPLITS for name, _ in read_pieces(tmp_path / "data", manifest, split)
    }
    assert 'caf\\udce9, "1".mid' in names
    assert rejected(tmp_path / "data") == {
        "gone.mid": ("unreadable", "No such file or directory"),
        "unplugged.mid": ("unreadable", "Input/output error"),
    }


def test_only_percussion_is_a_reject_unless_instruments_are_kept(
    tiny_corpus: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "drums"
    shutil.copytree(tiny_corpus, folder)
    (folder / "drums.mid").write_bytes(
        b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x00\x60MTrk\x00\x00\x00\x0b"
        b"\x00\x99\x24\x50\x30\x24\x00\x00\xff\x2f\x00"
    )
    build_data_set(settings(folder, out=tmp_path / "plain"))
    kind, reason = rejected(tmp_path / "plain")["drums.mid"]
    assert (kind, reason) == ("empty", "only percussion, which needs --instruments")


# --- One clear line, a non-zero code, nothing half-written


def test_an_empty_or_missing_source_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for source, reason in (("empty", "no scores in"), ("missing", "does not exist; needed:")):
        code, _, error = run(capsys, tmp_path / source, "--out", tmp_path / "data")
        assert (code, error.count("\n")) == (1, 1)
        assert reason in error
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_grid_data_set_can_mark_the_pieces_that_training_moves(
    tiny_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--vocabulary", "grid", "--mark-moved", "--num-lanes", "1")
    code, _, error = run(capsys, tiny_corpus, "--out", tmp_path / "data", *flags)
    assert code == 0, error
    vocabulary = Manifest.load(tmp_path / "data").open_vocabulary
    assert vocabulary == GridVocabulary(mark_moved=True)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--num-shards", "6"], "no multiple of 4 lanes"),
        (["--valid", "60%", "--test", "0.5"], "leave nothing to train on"),
        (["--processes", "0"], "0 processes; at least 1"),
        (["--timeout", "0"], "limits of time and memory must be positive"),
        (["--num-lanes", "64"], "some lanes would be empty. Use --num-lanes 1"),
        (["--velocity-bins", "500"], "velocity_bins is 500"),
        (["--mark-moved"], "--mark-moved says nothing to --vocabulary events"),
    ],
)
def test_settings_that_cannot_be_are_one_line(
    tiny_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    reason: str,
) -> None:
    arguments = [tiny_corpus, "--out", tmp_path / "data", "--num-lanes", "4", *flags]
    code, _, error = run(capsys, *arguments)
    assert (code, error.count("\n")) == (1, 1)
    assert reason in error
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_flag_stops_the_run(tiny_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        command.main([str(tiny_corpus), "--out", str(tmp_path / "data"), "--procesess", "2"])
    assert stop.value.code == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of SMALL_DISK_BYTES."""
    if os.geteuid():
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"this machine mounts no tmpfs: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("phase", ["parsing", "writing shards"])
def test_a_full_disk_is_one_line_and_nothing_stays(
    tiny_corpus: Path,
    data_dir: Path,
    small_disk: Path,
    capsys: pytest.CaptureFixture[str],
    phase: str,
) -> None:
    page, manifest = 4096, Manifest.load(data_dir)
    spooled = 4 * sum(shard.num_tokens for shard in manifest.shards)  # bytes before any shard
    room = {"parsing": page, "writing shards": -(-spooled // page) * page + 2 * page}[phase]
    (small_disk / "other").write_bytes(bytes(SMALL_DISK_BYTES - room))
    code, _, error = run(capsys, tiny_corpus, "--out", small_disk / "data", "--num-lanes", 4)
    assert (code, error.count("\n")) == (1, 1)
    assert error.startswith("error: ") and str(small_disk / "data") in error
    assert [path.name for path in small_disk.iterdir()] == ["other"]


def test_killed_in_the_middle_it_leaves_no_folder_and_no_process_and_the_next_run_succeeds(
    tiny_corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "data"
    script = [sys.executable, str(REPOSITORY / "pipeline" / "preprocess.py")]
    process = subprocess.Popen(
        [*script, "bach", "--out", str(out), "--processes", "2"],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=tmp_path,
    )
    spool = tmp_path / "data.partial" / "spool"
    wait_until(lambda: spool.is_file() and spool.stat().st_size > 0)
    assert len(processes_of_session(process.pid)) >= 3
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    wait_until(lambda: not processes_of_session(process.pid))
    build_data_set(settings(tiny_corpus, out=out))
    assert list(tmp_path.iterdir()) == [out]


def test_a_package_of_the_same_name_where_it_is_called_from_is_not_taken_for_ours(
    tiny_corpus: Path, tmp_path: Path
) -> None:
    other = tmp_path / "pipeline"
    other.mkdir()
    (other / "__init__.py").touch()
    (other / "scores.py").touch()
    flags = [tiny_corpus, "--out", tmp_path / "data", "--num-lanes", "1", "--processes", "1"]
    done = subprocess.run(
        [sys.executable, REPOSITORY / "pipeline" / "preprocess.py", *map(str, flags)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not rejected(tmp_path / "data")


def wait_until(happened, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def processes_of_session(session: int) -> list[int]:
    """Process ids of a session, those that ended but were not waited for left out."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it ended meanwhile
            continue
        if int(its_session) == session and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


def test_two_runs_into_one_folder_do_not_mix(tiny_corpus: Path, tmp_path: Path) -> None:
    from pipeline.preprocessing.output_folder import complete_folder

    out = tmp_path / "data"
    with (
        complete_folder(out, replace=False),
        pytest.raises(ValueError, match="another process is writing"),
    ):
        build_data_set(settings(tiny_corpus, out=out))


def test_real_game_music_is_read_without_a_reject(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "vgmidi" / "labelled" / "midi"
    if not folder.is_dir():
        pytest.skip(f"no VGMIDI files at {folder}")
    some = tmp_path / "some"
    some.mkdir()
    for path in sorted(folder.iterdir())[::10]:
        (some / path.name).symlink_to(path)
    build_data_set(settings(some, out=tmp_path / "data", num_processes=2))
    assert rejected(tmp_path / "data") == {}
