"""A run without a network: checkpoints of small arrays, and a training whose end is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hpc.config.train_config import TrainConfig
from hpc.training.checkpoints import Checkpoints, newest_bundle
from model.networks.checkpoint import Bundle, list_checkpoints

NUM_LANES = 4


def silent(line: str) -> None:
    """Say nothing: for tests that look at something else."""


class SmallRun:
    """What hpc/train.py does with its checkpoints, with four numbers in place of a network.

    Every step adds what the lanes of all workers give, in whole numbers, so that the state after a
    step is known and does not depend on how many workers share the lanes.
    """

    def __init__(self, run_dir: Path, config: TrainConfig, *, eval_every: int = 4) -> None:
        self.run_dir = run_dir
        self.config = config
        self.eval_every = eval_every
        self.workers = 1
        self.said: list[str] = []
        run_dir.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        """Begin, or continue from the newest whole checkpoint."""
        bundle = newest_bundle(self.run_dir, self.said.append)
        self.state = np.zeros(4, np.int64)
        self.progress: dict[str, Any] = {"step": 0, "best_loss": float("inf"), "best_step": 0}
        if bundle is not None:
            self.state, self.progress = bundle.weights["a/b"].copy(), dict(bundle.progress)
            assert (bundle.optimizer["velocity"] == self.state * 2).all()
        self.checkpoints = Checkpoints(self.run_dir, self.config, is_chief=True)
        self.checkpoints.roll_back(self.progress)

    @property
    def step(self) -> int:
        """The last step taken."""
        return self.progress["step"]

    def train(self, num_steps: int) -> None:
        """Take so many steps, with evaluations and checkpoints at their times, and let all land."""
        for step in range(self.step + 1, self.step + num_steps + 1):
            shares = [
                sum(gain(step, lane) for lane in range(rank, NUM_LANES, self.workers))
                for rank in range(self.workers)
            ]
            self.state = self.state * 3 % 1_000_003 + sum(shares)
            self.progress["step"] = step
            is_best = False
            if step % self.eval_every == 0 and valid_loss(step) < self.progress["best_loss"]:
                is_best = True
                self.progress |= {"best_loss": valid_loss(step), "best_step": step}
            is_late = self.checkpoints.is_late
            if is_best or self.checkpoints.due(step, is_late=is_late):
                self.checkpoints.save(step, self.bundle)
        self.checkpoints.wait()

    def bundle(self) -> Bundle:
        """The state now."""
        return Bundle(
            model={"units": 4},
            vocabulary={"kind": "events"},
            weights={"a/b": self.state.copy()},
            optimizer={"velocity": self.state * 2},
            progress=dict(self.progress),
            run={"config": self.config.to_json(), "workers": self.workers},
        )

    def marked_best(self) -> int:
        """The step that best.json names; 0 without one."""
        best = self.run_dir / "checkpoints" / "best.json"
        return json.loads(best.read_text())["step"] if best.is_file() else 0


def gain(step: int, lane: int) -> int:
    """What a lane gives to a step."""
    return (step * 7919 + lane * 104_729) % 1009


def valid_loss(step: int) -> float:
    """A loss that goes down to step 12, up, and down again to a better one at step 36."""
    return abs(step % 24 - 12) + 20 / step


def state_after(step: int) -> np.ndarray:
    """The state of a run that was never disturbed."""
    state = np.zeros(4, np.int64)
    for number in range(1, step + 1):
        state = state * 3 % 1_000_003 + sum(gain(number, lane) for lane in range(NUM_LANES))
    return state


def saved_steps(run_dir: Path) -> list[int]:
    """The steps of a run's checkpoints, oldest first."""
    return [int(path.name.removeprefix("step-")) for path in list_checkpoints(run_dir)]


def flip_byte(path: Path, position: int, mask: int = 1) -> None:
    """Damage one byte of a file."""
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= mask
    path.write_bytes(content)
