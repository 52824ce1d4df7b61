"""Preprocessing that was killed goes on where it was, and ends with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.dataset.manifest import Shard
from pipeline.preprocessing.build import Settings, build_data_set
from pipeline.preprocessing.encoder import Encoded
from pipeline.preprocessing.killable_pool import Failure, Limits
from pipeline.preprocessing.spool import JOURNAL, SPOOL, Spool
from tests.conftest import REPOSITORY
from tests.hpc.launching import MPI_ENVIRONMENT, mpi_command

OUTCOMES: dict[str, list[Encoded | Failure] | Failure] = {
    "one.mid": [Encoded(np.arange(5, dtype=np.int32), "1", 3, 3, {"duration clipped": 2})],
    "broken.mid": Failure("unreadable", "it is “broken”"),
    "book.abc": [
        Encoded(np.arange(3, dtype=np.int32), "2", 1, 1),
        Failure("miscount", "2 notes were read, but 3 are written", 3, 2),
        Encoded(np.arange(7, 9, dtype=np.int32), "3", 1, 1),
    ],
    "two.mid": [Encoded(np.arange(40, dtype=np.int32), "4", 9, 8, {"percussion left out": 1})],
}


def state(spool: Spool) -> tuple[object, ...]:
    ids = [(asdict(entry), spool.read(entry).tolist()) for entry in spool.entries]
    return ids, spool.failures, spool.done


def filled(folder: Path, request: str = "this") -> Spool:
    folder.mkdir()
    spool = Spool(folder, request)
    for source, outcome in OUTCOMES.items():
        spool.append(source, outcome)
    return spool


def test_what_was_parsed_is_there_again(tmp_path: Path) -> None:
    spool = filled(tmp_path / "work")
    before = state(spool)
    spool.close()
    again = Spool(tmp_path / "work", "this")
    assert state(again) == before
    assert [entry.piece for entry in again.entries] == [
        *("one.mid", "book.abc#1", "book.abc#3", "two.mid")
    ]
    assert set(again.failures) == {"broken.mid", "book.abc#2"}


def test_the_work_of_another_request_is_cleared(tmp_path: Path) -> None:
    filled(tmp_path / "work").close()
    (tmp_path / "work" / "train-00000-of-00001.tfrecord").touch()
    other = Spool(tmp_path / "work", "another")
    assert state(other) == ([], {}, set())
    assert {path.name for path in (tmp_path / "work").iterdir()} == {JOURNAL, SPOOL}


@pytest.mark.parametrize(
    "first_line",
    [
        '{"request": "this"}',  # its pieces were split by their files
        '{"request": "this", "version": 2}',  # without counts of notes
    ],
)
def test_the_work_of_an_older_version_is_not_continued(first_line: str, tmp_path: Path) -> None:
    filled(tmp_path / "work").close()
    journal = tmp_path / "work" / JOURNAL
    lines = journal.read_text().splitlines(keepends=True)
    lines[0] = f"{first_line}\n"
    journal.write_text("".join(lines))
    assert state(Spool(tmp_path / "work", "this")) == ([], {}, set())


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cut_or_changed_anywhere_it_goes_on_from_what_is_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut") / "work"
    spool = filled(folder)
    complete = state(spool)
    spool.close()
    path = folder / data.draw(st.sampled_from([JOURNAL, SPOOL]))
    contents = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(contents) - 1))
    if path.name == SPOOL and data.draw(st.booleans()):
        contents[place] ^= 1
    else:
        del contents[place:]
    path.write_bytes(contents)
    again = Spool(folder, "this")
    for source, outcome in OUTCOMES.items():
        if source not in again.done:
            again.append(source, outcome)
    assert state(again) == complete
    again.close()
    assert state(Spool(folder, "this")) == complete


def test_a_journal_cut_right_after_its_request_loses_nothing_that_comes_after(
    tmp_path: Path,
) -> None:
    filled(tmp_path / "work").close()
    journal = tmp_path / "work" / JOURNAL
    journal.write_bytes(journal.read_bytes().partition(b"\n")[0])
    again = Spool(tmp_path / "work", "this")
    for source, outcome in OUTCOMES.items():
        again.append(source, outcome)
    complete = state(again)
    again.close()
    assert state(Spool(tmp_path / "work", "this")) == complete


def test_a_shard_is_kept_only_while_it_is_what_was_written(tmp_path: Path) -> None:
    spool = filled(tmp_path / "work")
    path = tmp_path / "work" / "a.tfrecord"
    path.write_bytes(b"records")
    digest = "9e0f4e91d1ac7c3ac2e1ed8ea1e1f8d8fd1f83ff7ec1b4c2d5bd1a8e8c8b33c0"
    spool.add_shard(Shard("a.tfrecord", "train", 1, 2, 2, digest))
    assert spool.shard("a.tfrecord") is None  # other bytes than that digest's
    from pipeline.runtime.files import file_sha256

    shard = Shard("a.tfrecord", "train", 1, 2, 2, file_sha256(path))
    spool.add_shard(shard)
    spool.close()
    assert Spool(tmp_path / "work", "this").shard("a.tfrecord") == shard
    path.unlink()
    assert Spool(tmp_path / "work", "this").shard("a.tfrecord") is None


# Every life dies by SIGKILL in the middle of a line of the journal, a few lines further each time.
LIVES = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {repository!r})
import tensorflow  # once for all lives; it has no threads before it is used
import pipeline.dataset.records
from pipeline.preprocessing import spool
from pipeline.preprocessing.build import Settings, build_data_set

def live(lines_to_live):
    add_line, written = spool.Spool._add_line, 0
    def dying(self, line):
        nonlocal written
        if written == lines_to_live:
            self._journal.write(b'{{"file": "half')
            self._journal.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        written += 1
        add_line(self, line)
    spool.Spool._add_line = dying
    build_data_set(Settings(({corpus!r},), Path({out!r}), num_lanes=4, num_processes=1))

for life, lines in enumerate((4, 9, 5, 6, 1000)):
    child = os.fork()
    if not child:
        live(lines)
        sys.stdout.flush()  # os._exit does not
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    done = Path({out!r}).exists()
    print(life, os.waitstatus_to_exitcode(status), done, flush=True)
"""


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_bytes(
    tiny_corpus: Path, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "killed"
    build_data_set(Settings((str(tiny_corpus),), whole, num_lanes=4, num_processes=1))
    program = LIVES.format(repository=str(REPOSITORY), corpus=str(tiny_corpus), out=str(out))
    lives = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, cwd=tmp_path
    )
    said = [line for line in lives.stdout.splitlines() if line.endswith(("True", "False"))]
    killed = -signal.SIGKILL
    assert said == [*(f"{life} {killed} False" for life in range(4)), "4 0 True"], lives.stderr
    assert "16 of 16 files were parsed before: going on there" in lives.stdout
    assert bytes_of(out) == bytes_of(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "whole"]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- Under mpirun


def preprocess(
    num_ranks: int, *flags: object, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        mpi_command(num_ranks, *flags, script="pipeline/preprocess.py"),
        env={**os.environ, **MPI_ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=180,
    )


@pytest.mark.mpi
def test_two_ranks_write_the_bytes_of_one_process_and_kill_what_hangs_on_either(
    tiny_corpus: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for path in tiny_corpus.iterdir():
        (corpus / path.name).symlink_to(path)
    # Notes enough for several times the time limit: two in the share of each rank.
    for number, name in enumerate(("a-huge", "b-huge", "y-huge", "z-huge")):
        track = bytes([1, 0x90 | number, 60, 80]) * 1_000_000 + b"\x00\xff\x2f\x00"
        header = b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x01\xe0MTrk"
        contents = header + len(track).to_bytes(4, "big") + track
        (corpus / f"{name}.mid").write_bytes(contents)
    flags = (corpus, "--num-lanes", 4, "--timeout", 0.7, "--max-rejects", 4, "--no-cache")
    ranks = preprocess(2, *flags, "--out", tmp_path / "ranks")
    assert ranks.returncode == 0, ranks.stderr
    build_data_set(
        Settings(
            *((str(corpus),), tmp_path / "alone"),
            num_lanes=4,
            num_processes=2,
            limits=Limits(seconds=0.7),
            max_rejects=4.0,
        )
    )
    assert bytes_of(tmp_path / "ranks") == bytes_of(tmp_path / "alone")
    rejects = (tmp_path / "ranks" / "rejects.csv").read_text()
    assert rejects.count("timeout,took more than 0.7 seconds") == 4


@pytest.mark.mpi
def test_an_error_under_mpirun_is_one_line_of_one_rank_and_a_code(tmp_path: Path) -> None:
    ended = preprocess(2, tmp_path / "missing", "--out", tmp_path / "data")
    assert ended.returncode == 1
    assert ended.stderr.count("error: ") == 1
