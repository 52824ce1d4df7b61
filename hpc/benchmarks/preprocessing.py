"""Benchmark rows of preprocessing: against music21's own way, by processes, by ranks, by memory.

The scores are MIDI files: those of a folder, or music21's chorales written as MIDI. Rows of one
process count its processor seconds; rows of several count the wall time that the command reports.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from hpc.benchmarks.rows import (
    BenchmarkRow,
    Options,
    alternate,
    cpu_seconds,
    paired_ratio,
    peak_memory_of,
)
from hpc.distributed.mpirun import mpi_environment
from pipeline.preprocessing.encoder import Encoder
from pipeline.runtime.provenance import REPOSITORY
from pipeline.scores.cache import ScoreCache
from pipeline.scores.formats import AS_WRITTEN, SYMUSIC, Reading
from pipeline.scores.notes import DRUMS, Score
from pipeline.sources.piece import Piece
from pipeline.vocabulary.events import EventVocabulary

ROWS = {  # name -> target
    "midi-music21": ">= 12",  # files/s to ids against converter.parse + flatten + notes
    "midi-symusic": ">= 300",  # the same
    "notation-cache": ">= 50",  # files/s of notation found in the cache against parsed
    "two-processes": ">= 1.85",  # files/s against one process
    "two-ranks": ">= 0.95",  # files/s of mpirun -np 2 against two processes
    "preprocess-memory": "<= 1.1",  # peak memory for ten times the files
}
SAMPLE, NOTATION_SAMPLE = 16, 6  # files: music21 takes up to a second for one
CORPUS_FILES = 400  # for the rows of whole commands
LONG_CORPUS_FILES = 2000  # what a command does or needs once weighs less; and a tenth of them
# BenchmarkRow -> its two commands in turn: files of the corpus, processes, ranks.
COMMANDS = {
    "two-processes": {"one": (LONG_CORPUS_FILES, 1, 1), "two": (LONG_CORPUS_FILES, 2, 1)},
    "two-ranks": {"local": (CORPUS_FILES, 2, 1), "ranks": (CORPUS_FILES, 1, 2)},
    "preprocess-memory": {
        "few": (LONG_CORPUS_FILES // 10, 2, 1),
        "many": (LONG_CORPUS_FILES, 2, 1),
    },
}
WHOLE_COMMANDS = 5  # rounds at most: each is two runs of half a minute


def measure(names: list[str], options: Options) -> list[BenchmarkRow]:
    """The rows asked for."""
    from pipeline.scores.midi.writer import write_midi
    from pipeline.scores.reading import read_scores
    from pipeline.sources.bach import corpus_chorales

    with TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        files = sorted(options.scores.rglob("*.mid")) if options.scores else []
        chorales = corpus_chorales()
        if not files:
            for path in chorales[: 4 * SAMPLE]:
                write_midi(read_scores(path)[0], folder / f"{path.stem}.mid")
            files = sorted(folder.glob("*.mid"))
        rows = parsing_rows(names, files[:: max(1, len(files) // SAMPLE)], options.rounds)
        if "notation-cache" in names:
            sample = chorales[:: len(chorales) // NOTATION_SAMPLE]
            rows.append(cache_row(sample, folder / "cache", options.rounds))
        whole = [name for name in COMMANDS if name in names]
        counts = {count for name in whole for count, _, _ in COMMANDS[name].values()}
        corpora = {count: make_corpus(files, folder / f"corpus-{count}", count) for count in counts}
        rounds = min(options.rounds, WHOLE_COMMANDS)
        rows += [command_row(name, corpora, rounds) for name in whole]
    return sorted(rows, key=lambda row: names.index(row.name))


def parsing_rows(names: list[str], files: list[Path], rounds: int) -> list[BenchmarkRow]:
    """MIDI files to ids by our readers, each against music21's converter and its notes."""
    from pipeline.scores.reading import count_by_converter

    parts: dict[str, Callable[[], float]] = {"everybody": over(files, count_by_converter)}
    for name, reading in {"midi-music21": AS_WRITTEN, "midi-symusic": Reading(SYMUSIC)}.items():
        if name in names:
            encoder = Encoder(EventVocabulary(), reading=reading)
            parts[name] = over(files, lambda path, e=encoder: e(Piece(path.name, path)))  # type: ignore[misc]
    if len(parts) == 1:
        return []
    seconds = alternate(parts, rounds)
    return [
        ratio_row(name, seconds["everybody"], seconds[name], len(files))
        for name in parts
        if name in ROWS
    ]


def cache_row(files: list[Path], folder: Path, rounds: int) -> BenchmarkRow:
    """Notation found in the cache against notation parsed."""
    from pipeline.scores.reading import read_scores

    folder.mkdir()
    cache = ScoreCache(folder)
    seconds = alternate(
        {
            "parsed": over(files, lambda path: read_scores(path)),
            "cached": over(files, lambda path: cache.read(path, AS_WRITTEN, read_scores)),
        },
        rounds,
    )
    return ratio_row("notation-cache", seconds["parsed"], seconds["cached"], len(files))


def over(files: list[Path], work: Callable[[Path], object]) -> Callable[[], float]:
    """Do the work for every file; the processor seconds."""
    return lambda: cpu_seconds(lambda: [work(path) for path in files])


def ratio_row(name: str, theirs: list[float], ours: list[float], num_files: int) -> BenchmarkRow:
    """How many times as fast ours is."""
    value, spread = paired_ratio(theirs, ours)
    each = [1e3 * statistics.median(seconds) / num_files for seconds in (ours, theirs)]
    note = f"{each[0]:.3g} against {each[1]:.4g} ms a file, {num_files} files; pairs {spread}"
    return BenchmarkRow.judged(name, value, ROWS[name], note)


def make_corpus(files: list[Path], folder: Path, count: int) -> Path:
    """A folder of `count` different MIDI files: the given ones, and those a semitone higher, ..."""
    from pipeline.scores.midi.writer import write_midi
    from pipeline.scores.reading import read_score

    folder.mkdir()
    for index, file in enumerate(files[:count]):
        score = read_score(file)
        for higher, number in enumerate(range(index, count, len(files))):
            notes = score.notes.copy()
            notes["pitch"] = (notes["pitch"] + higher * (notes["program"] != DRUMS)).clip(0, 127)
            write_midi(Score(notes, score.resolution, score.tempo), folder / f"{number:06}.mid")
    return folder


def command_row(name: str, corpora: dict[int, Path], rounds: int) -> BenchmarkRow:
    """A row of whole commands, in turn."""
    if name == "two-ranks" and shutil.which("mpirun") is None:
        return BenchmarkRow.judged(name, None, ROWS[name], "this machine has no mpirun")
    flags = COMMANDS[name]
    which = 1 if name == "preprocess-memory" else 0
    parts = {
        part: lambda given=given: preprocess(corpora[given[0]], *given[1:])[which]  # type: ignore[misc]
        for part, given in flags.items()
    }
    found = alternate(parts, rounds)
    first, second = found.values()
    value, spread = paired_ratio(
        *((second, first) if name == "preprocess-memory" else (first, second))
    )
    (one, two), unit = (statistics.median(x) for x in (second, first)), "s"
    if name == "preprocess-memory":
        one, two, unit = one / 2**30, two / 2**30, "GiB"
    num_files = max(given[0] for given in flags.values())
    note = f"{one:.3g} against {two:.3g} {unit}, {num_files} files, {rounds} rounds; pairs {spread}"
    return BenchmarkRow.judged(name, value, ROWS[name], note)


def preprocess(corpus: Path, num_processes: int, num_ranks: int) -> tuple[float, float]:
    """Wall seconds that the command reports, and peak bytes of its largest process."""
    out = corpus.with_name("out")
    shutil.rmtree(out, ignore_errors=True)
    summary = corpus.with_name("summary.json")
    program = [sys.executable, str(REPOSITORY / "pipeline" / "preprocess.py"), str(corpus)]
    program += ["--out", str(out), "--no-cache", "--json", str(summary)]
    program += ["--processes", str(num_processes)]
    environ = None
    if num_ranks > 1:
        program = ["mpirun", "-np", str(num_ranks), *program]
        environ = mpi_environment()
    peak = peak_memory_of(program, environ)
    return json.loads(summary.read_text())["seconds"], peak
