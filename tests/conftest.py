"""What tests share: which of them this machine can run, a few real scores, the large data sets."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from pipeline.scores.notes import Score

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before any test imports TensorFlow

# Not the user's own cache of scores; a test that needs an empty one sets its own.
os.environ.setdefault("CHORALE_CACHE", str(Path(__file__).resolve().parents[1] / ".cache/scores"))

# No time limit per example: what takes 20 ms here takes 2 s on a machine with other work to do.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

REPOSITORY = Path(__file__).resolve().parents[1]
VENV_BIN = REPOSITORY / ".venv" / "bin"

# Open MPI's own mpirun may live in .venv only, and sshd or slurmd in folders of root's PATH alone.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), str(VENV_BIN), "/usr/sbin", "/sbin"])

# Short chorales, so that parsing them takes seconds.
TINY_SPLITS = {
    "train": [
        "bwv255",
        "bwv264",
        "bwv265",
        "bwv281",
        "bwv286",
        "bwv323",
        "bwv324",
        "bwv341",
        "bwv384",
        "bwv396",
        "bwv404",
        "bwv424",
    ],
    "valid": ["bwv67.7", "bwv166.6", "bwv153.9"],
    "test": ["bwv65.2"],
}
NUM_LANES = 4
MAX_WORKERS = 4

# A script starts a program in the background (&) with SIGINT ignored, and nohup one with SIGHUP;
# children would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
SIGNALS = {
    number: signal.getsignal(number)
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)
}


@pytest.fixture(autouse=True)
def signals_that_end_a_child() -> Iterator[None]:
    """A training in this process ends with these signals ignored; children would inherit that."""
    yield
    for number, handler in SIGNALS.items():
        signal.signal(number, handler)


def missing_programs(*names: str) -> list[str]:
    """Those of the programs that are neither on the PATH, in .venv, nor in the sbin folders."""
    return [name for name in names if shutil.which(name, path=SEARCH_PATH) is None]


def missing_for_mark(mark: str) -> list[str]:
    """What this machine lacks for the tests of a mark, in words; empty when it can run them."""
    missing = []
    if mark in ("mpi", "cluster"):
        missing += missing_programs("mpirun")
        missing += [] if importlib.util.find_spec("horovod") else ["Horovod (see make setup)"]
    if mark == "cluster":
        missing += [] if os.geteuid() == 0 else ["root"]
        missing += missing_programs("ip", "sshd", "ssh", "rsync", "slurmctld", "slurmd", "munged")
    if mark == "gpu":
        missing += missing_programs("nvidia-smi")
    if mark == "browser":
        missing += missing_programs("chromium", "chromedriver")
    return missing


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker more than there are cores, at most four; no worker where files are named.

    One more, since the tests of the testbed wait most of the time. Not many, since a test may start
    four processes of its own.
    """
    if not all(Path(argument).is_dir() for argument in config.args):
        return 0
    return min(len(os.sched_getaffinity(0)) + 1, MAX_WORKERS)


def cost(item: pytest.Item) -> int:
    """A rank by duration: where the longest tests start first, the workers end together."""
    marks = {mark.name for mark in item.iter_markers()}
    return 0 if "cluster" in marks else 1 if marks & {"mpi", "browser", "slow", "soak"} else 2


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The tests of a file run in one worker and share its fixtures; those of testbed/ likewise.

    Only the requeued job has a testbed of its own: it waits for minutes. (xdist's own groups, by
    mark, do not work in version 3.8 under pytest 9.2, where an item's node id cannot be changed.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.partition("::")[0])
            is_shared = file.parent.name == "testbed" and file.name != "test_preemption.py"
            return str(file.parent if is_shared else file)

    return Files(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first; skip, with the reason, those that cannot run here."""
    items.sort(key=cost)
    lacking = {mark: missing_for_mark(mark) for mark in ("mpi", "cluster", "gpu", "browser")}
    for item in items:
        for mark, missing in lacking.items():
            if missing and item.get_closest_marker(mark):
                reason = f"{mark}: this machine has no {', '.join(missing)}"
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the public data sets beside the clone, or $SHARED_DATA; skips without one."""
    folder = Path(os.environ.get("SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}: set SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def tiny_scores() -> dict[str, Score]:
    """Sixteen Bach chorales by name, as music21's corpus has them."""
    from pipeline.scores.reading import read_score
    from pipeline.sources.bach import corpus_chorales

    files = {path.stem: path for path in corpus_chorales()}
    return {name: read_score(files[name]) for names in TINY_SPLITS.values() for name in names}


@pytest.fixture(scope="session")
def tiny_corpus(tiny_scores: dict[str, Score], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the same chorales as MIDI files, which parse fast."""
    from pipeline.scores.midi.writer import write_midi

    folder = tmp_path_factory.mktemp("corpus")
    for name, score in tiny_scores.items():
        write_midi(score, folder / f"{name}.mid")
    return folder


@pytest.fixture(scope="session")
def tiny_shards(tiny_scores: dict[str, Score], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of the same chorales: 12 train pieces in 4 lanes, 3 valid, 1 test."""
    from pipeline.dataset.manifest import FILE_NAME, Manifest
    from pipeline.dataset.records import write_shard
    from pipeline.vocabulary.events import EventVocabulary

    folder = tmp_path_factory.mktemp("data")
    vocabulary = EventVocabulary()
    shards = [
        write_shard(
            folder / f"{split}-{lane:05d}.tfrecord",
            split,
            [(name, vocabulary.encode(tiny_scores[name])) for name in names[lane::NUM_LANES]],
        )
        for split, names in TINY_SPLITS.items()
        for lane in range(NUM_LANES)
    ]
    manifest = Manifest(
        vocabulary=vocabulary.to_dict(),
        num_lanes=NUM_LANES,
        seed=0,
        settings={"sources": ["bach"]},
        shards=tuple(shards),
        num_sources=len(tiny_scores),
    )
    (folder / FILE_NAME).write_text(manifest.to_json())
    return folder
