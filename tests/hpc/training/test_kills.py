"""kill -9 at random times, again and again: the run that is left ends bit for bit as it should."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from signal import SIGKILL

import pytest

from hpc.run_folder.layout import STRETCHES
from model.networks.checkpoint import list_checkpoints
from pipeline.runtime.files import read_lines
from tests.hpc.training.lives import Job, Life, Running, final_state, last_step

SAVE_EVERY = 4
FLAGS = ("--log-every=1", "--eval-every=30", f"--save-every={SAVE_EVERY}", "--dropout=0.3")


@dataclass
class Faults:
    """What was done to a run and what it cost; `python -m pytest -s` prints it."""

    kills: Counter[str] = field(default_factory=Counter)
    steps_redone: list[int] = field(default_factory=list)
    checkpoints_cut: int = 0  # left half-written by a kill

    def count(self, run_dir: Path, moment: str) -> None:
        """Count a kill by its moment, and what it cost."""
        saved = newest_step(run_dir)
        self.kills[moment] += 1
        self.steps_redone.append(max(last_step(run_dir) - saved, 0))
        self.checkpoints_cut += bool(list((run_dir / "checkpoints").glob("step-*.partial")))

    def __str__(self) -> str:
        return json.dumps(
            {
                "kills": self.kills,
                "total": sum(self.kills.values()),
                "checkpoints cut short": self.checkpoints_cut,
                "steps redone, at most": max(self.steps_redone, default=0),
                "steps redone, in all": sum(self.steps_redone),
            }
        )


def newest_step(run_dir: Path) -> int:
    """The step of the newest checkpoint; 0 without one."""
    found = list_checkpoints(run_dir)
    return int(found[-1].name[-8:]) if found else 0


def wait_for_start_up(running: Running, chance: random.Random, start_seconds: float) -> bool:
    """Some time after the start, at the latest when a step is taken that none took before."""
    arrives = time.monotonic() + chance.uniform(0.0, start_seconds)
    before = last_step(running.run_dir)
    return running.wait(lambda: time.monotonic() >= arrives or last_step(running.run_dir) > before)


def wait_for_steps(running: Running, chance: random.Random, start_seconds: float) -> bool:
    """Some time after a step has been taken."""
    arrived = running.wait_for_step(newest_step(running.run_dir) + chance.randint(1, 6))
    time.sleep(chance.uniform(0.0, 0.05))
    return arrived


def wait_for_writing(running: Running, chance: random.Random, start_seconds: float) -> bool:
    """While a checkpoint is being written, or a moment later."""
    folder = running.run_dir / "checkpoints"
    before = newest_step(running.run_dir)

    def is_writing() -> bool:
        return newest_step(running.run_dir) > before or any(folder.glob("step-*.partial"))

    arrived = running.wait(is_writing)
    time.sleep(chance.choice([0.0, 0.0, chance.uniform(0.0, 0.02)]))
    return arrived


MOMENTS: dict[str, Callable[[Running, random.Random, float], bool]] = {
    "start-up": wait_for_start_up,
    "in the steps": wait_for_steps,
    "while a checkpoint is written": wait_for_writing,
}


def kill_rank(running: Running, rank: int) -> bool:
    """Kill the process of a rank; False where mpirun has not started it yet."""
    try:
        running.send(SIGKILL, rank)
    except (LookupError, ProcessLookupError):
        return False
    return True


@pytest.fixture
def faults(capsys: pytest.CaptureFixture[str]) -> Iterator[Faults]:
    counted = Faults()
    yield counted
    with capsys.disabled():
        print(f"\n{counted}")


def torment(
    start: Callable[..., Running], num_kills: int, folder: Path, seed: int, faults: Faults
) -> None:
    """Kill a run so many times, end it, and compare it with one that was left alone."""
    chance = random.Random(seed)
    began = time.monotonic()
    left_alone = start(folder / "left-alone")
    assert left_alone.wait_for_step(1)
    start_seconds = time.monotonic() - began
    assert left_alone.end() == 0, left_alone.said()
    for number in range(num_kills):
        running = start(folder / "killed")
        moment = list(MOMENTS)[number % len(MOMENTS)]
        rank = chance.randrange(2) if isinstance(running, Job) else 0
        assert MOMENTS[moment](running, chance, start_seconds), running.said()
        assert running.wait(partial(kill_rank, running, rank))
        assert running.end() != 0
        faults.count(folder / "killed", moment)
    last = start(folder / "killed")
    assert last.end() == 0, last.said()
    assert "Traceback" not in last.log.read_text()
    assert final_state(folder / "killed") == final_state(folder / "left-alone")
    assert not list(folder.glob("killed/**/*.partial"))
    assert steps_in_tensorboard(folder / "killed") == steps_in_tensorboard(folder / "left-alone")
    # The number of files grows with the steps that were saved, not with the restarts.
    assert files_of(folder / "killed") == files_of(folder / "left-alone")
    starts = read_lines(folder / "killed" / STRETCHES)
    assert len(list((folder / "killed").glob("*tfevents*"))) <= len(starts)
    assert len({start["first_step"] for start in starts}) == len(starts)
    # One interval, and a second one where the checkpoint of the first was still being written.
    assert max(faults.steps_redone) <= 2 * SAVE_EVERY


def files_of(run_dir: Path) -> set[str]:
    """A run's files, without those of TensorBoard and logs."""
    files = {path.relative_to(run_dir) for path in run_dir.rglob("*") if path.is_file()}
    return {str(path) for path in files if "tfevents" not in path.name and path.suffix != ".log"}


def steps_in_tensorboard(run_dir: Path) -> list[int]:
    """The steps whose loss TensorBoard shows; its files were open at every kill."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run_dir), size_guidance={"tensors": 0})
    events.Reload()
    return [event.step for event in events.Tensors("1 loss/train")]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twelve_kills_lose_nothing(tiny_shards: Path, tmp_path: Path, faults: Faults) -> None:
    flags = (f"--data={tiny_shards}", "--steps=160", *FLAGS)
    torment(lambda run_dir: Life(run_dir, *flags), 12, tmp_path, seed=1, faults=faults)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("seed", "num_kills"), [(2, 30), (3, 100)])
def test_many_kills_lose_nothing(
    seed: int, num_kills: int, tiny_shards: Path, tmp_path: Path, faults: Faults
) -> None:
    flags = (f"--data={tiny_shards}", f"--steps={10 * num_kills}", *FLAGS)
    torment(lambda run_dir: Life(run_dir, *flags), num_kills, tmp_path, seed, faults)


@pytest.mark.soak
@pytest.mark.mpi
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("strategy", ["horovod", "multiworker"])
def test_kills_of_either_of_two_ranks_lose_nothing(
    strategy: str, tiny_shards: Path, tmp_path: Path, faults: Faults
) -> None:
    flags = (f"--data={tiny_shards}", "--steps=200", *FLAGS, f"--strategy={strategy}")
    torment(lambda run_dir: Job(run_dir, 2, *flags), 12, tmp_path, seed=4, faults=faults)
