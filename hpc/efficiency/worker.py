"""Command: one process of a scaling measurement, which hpc/scaling.py starts under mpirun.

It takes its share of the host's cores, trains through the entry point of hpc/train.py, and prints
what the run recorded: so the figures come back from hosts that share no files.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import from the root, not from hpc/
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from pipeline.runtime.interpreter import explain_missing_libraries

    explain_missing_libraries()

from hpc import train
from hpc.config.train_config import TrainConfig
from hpc.distributed.launcher import Place, find_place
from hpc.distributed.processor import equal_part
from hpc.efficiency.measure import BEGIN, END, PARTS
from hpc.run_folder.layout import METRICS
from hpc.run_folder.recorded import read_run, tokens_per_step
from hpc.training.open_run import open_run
from hpc.training.run import Run
from hpc.training.throughput import WARMUP_STEPS
from pipeline.runtime.command import Parser, run_command
from pipeline.runtime.files import read_lines


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of the training."""
    flags = parse_flags(argv)
    code = run_command(lambda: work(flags))
    if code:
        # MPI's exit handler would wait for the others, which mpirun ends because of this code.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def parse_flags(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags of the command."""
    parser = Parser(description="One process of a scaling measurement; hpc/scaling.py starts it.")
    parser.add_argument("--share", type=int, required=True, help="workers that share a host")
    parser.add_argument(
        "--run", type=Path, required=True, help="folder of the run, which is removed"
    )
    parser.add_argument("--alone", action="store_true", help="train independently of the others")
    parser.add_argument("train_flags", nargs="*", metavar="-- FLAG", help="flags of hpc/train.py")
    return parser.parse_args(argv)


def work(flags: argparse.Namespace) -> int:
    """Train, and print the record of the run; the exit code."""
    place = find_place(os.environ)
    take_cores(place, flags.share)
    run_dir = flags.run / str(place.rank) if flags.alone else flags.run
    writes = flags.alone or place.is_chief
    if writes:  # a run left by an interrupted measurement would be continued
        shutil.rmtree(run_dir, ignore_errors=True)
    argv = [*flags.train_flags, f"--run={run_dir}"]
    code = train_alone(argv, place) if flags.alone else train.main(argv)
    if code == 0 and writes:
        print_record({"rank": place.rank, **record(run_dir)})
        shutil.rmtree(run_dir, ignore_errors=True)
    return code


class AtTheSameTime(Run):
    """A run whose steps after the warm-up begin when those of the other processes do."""

    def training_batches(self) -> Iterator[Any]:
        """The batches of this run; the wait falls into the first window, which does not count."""
        from mpi4py import MPI

        for index, tokens in enumerate(super().training_batches()):
            if index == WARMUP_STEPS:
                MPI.COMM_WORLD.Barrier()
            yield tokens


def train_alone(argv: Sequence[str], place: Place) -> int:
    """The exit code of a training as the only process, started together with the others."""
    own_gpu(place, os.environ)
    os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")

    def open_alone(config: TrainConfig, alone: Place, *found: Any) -> Run:
        run = open_run(config, alone, *found)
        return AtTheSameTime(**vars(run)) if place.size > 1 else run

    return train.train(argv, Place(host=place.host), open_alone)


def take_cores(place: Place, share: int) -> None:
    """Keep this process to one of `share` equal parts of this host's cores.

    Also if fewer workers run here: one process must not get the cores of two.
    """
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, equal_part(allowed, place.local_rank, share))


def own_gpu(place: Place, environ: MutableMapping[str, str]) -> None:
    """Show this process only the GPU of its local rank: it takes the first one that it sees."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible is not None else None
    if gpus is None:
        environ["CUDA_VISIBLE_DEVICES"] = str(place.local_rank)
    elif place.local_rank < len(gpus):
        environ["CUDA_VISIBLE_DEVICES"] = gpus[place.local_rank]


def record(run_dir: Path) -> dict[str, Any]:
    """What the run measured: windows after the warm-up, hardware, the timed allreduce."""
    stretch = read_run(run_dir, "this run").stretches[-1]
    lines = {
        line["step"]: line for line in read_lines(run_dir / METRICS) if line["split"] == "train"
    }
    windows = []
    for interval in stretch.intervals:
        line = lines[interval.step]
        parts = [line[f"{part}_seconds"] for part in PARTS]
        windows.append(
            [line["time"], *(float(f"{value:.5g}") for value in (interval.rate, *parts))]
        )
    facts, link = stretch.facts, stretch.facts["link"]
    if link:
        from hpc.distributed.allreduce_timing import Link

        link = {**link, "gigabytes_per_second": Link(**link).gigabytes_per_second}
    return {
        "windows": windows,
        "tokens_per_step": tokens_per_step(facts),
        "link": link,
        "machines": [
            f"{host} ({processor})"
            for host, processor in zip(facts["hosts"], facts["processors"], strict=True)
        ],
        **{name: facts[name] for name in ("devices", "sequence_length", "commit")},
    }


def print_record(entry: dict[str, Any]) -> None:
    """Print an entry that lines of other ranks do not interrupt.

    mpirun forwards what it reads, at most 4 KiB at a time, between the lines of other ranks. A
    short write into an empty pipe is read at once.
    """
    sys.stdout.flush()
    time.sleep(0.2)
    os.write(sys.stdout.fileno(), f"{BEGIN}{json.dumps(entry)}{END}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
