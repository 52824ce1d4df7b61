"""The checkpoints of a run: when it is saved, and the newest whole one, from which it continues."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.networks.checkpoint import (
    BEST,
    Arrays,
    Bundle,
    list_checkpoints,
    read_bundle,
    step_folder,
    write_best,
    write_bundle,
)

if TYPE_CHECKING:
    import keras

    from hpc.config.train_config import TrainConfig
    from hpc.distributed.strategies import Strategy

    Variables = dict[str, keras.Variable]  # by path


class Checkpoints:
    """The checkpoints of one run; every rank may call `save`, only the chief writes."""

    def __init__(self, run_dir: Path, config: TrainConfig, *, is_chief: bool) -> None:
        self.run_dir = run_dir
        self._config = config
        self._is_chief = is_chief
        self._saved_at = time.monotonic()
        # One thread: training continues, and no checkpoint begins before the last one is whole.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._written: dict[str, Any] = {}  # progress of the newest checkpoint

    def roll_back(self, progress: dict[str, Any]) -> None:
        """Restore the folder to the moment when the checkpoint of this progress was written.

        Newer checkpoints are damaged, since `newest_bundle` passed over them: they are renamed.
        """
        if not self._is_chief:
            return
        for path in list_checkpoints(self.run_dir):
            if path > step_folder(self.run_dir, progress["step"]):
                aside = path.with_name(path.name + ".damaged")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
        for path in (self.run_dir / "checkpoints").glob("*.partial"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._prune(self._mark_best(progress))
        self._written = dict(progress)

    @property
    def is_late(self) -> bool:
        """Have --save-minutes passed on this rank since the last checkpoint?"""
        minutes = (time.monotonic() - self._saved_at) / 60
        return 0 < self._config.save_minutes <= minutes

    def due(self, step: int, *, is_late: bool = False) -> bool:
        """Is it time to save, by steps or because a rank `is_late`? Equal on all ranks.

        Raises OSError if the previous checkpoint could not be written.
        """
        if self._pending is not None and self._pending.done():
            self.wait()
        return is_late or self._config.is_due(step, self._config.save_every)

    def save(self, step: int, make_bundle: Callable[[], Bundle]) -> None:
        """Copy the state now, and write it while training continues.

        Raises OSError if the previous checkpoint could not be written.
        """
        self._saved_at = time.monotonic()
        if self._is_chief:
            self.wait()
            self._pending = self._writer.submit(self._write, step, make_bundle())

    def wait(self) -> None:
        """Wait until all checkpoints are on disk. Raises OSError if one could not be written."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _write(self, step: int, bundle: Bundle) -> None:
        # The same step is written twice only if its progress has changed: the validation loss,
        # after an evaluation that a signal interrupted.
        if bundle.progress != self._written:
            write_bundle(step_folder(self.run_dir, step), bundle)
        self._written = bundle.progress
        self._prune(self._mark_best(bundle.progress))

    def _mark_best(self, progress: dict[str, Any]) -> int | None:
        """Write the best checkpoint's step, as the newest one records it, into best.json.

        Returns the step, or None if there is no checkpoint of it. So best.json, which is not read
        here, is right also after a kill between the two files, or a return to an older checkpoint.
        """
        step = progress.get("best_step", 0)
        if not step_folder(self.run_dir, step).is_dir():
            (self.run_dir / BEST).unlink(missing_ok=True)
            return None
        write_best(self.run_dir, step)
        return int(step)

    def _prune(self, best: int | None) -> None:
        """Delete all but the newest checkpoints and the best one."""
        for path in list_checkpoints(self.run_dir)[: -self._config.keep]:
            if best is None or path != step_folder(self.run_dir, best):
                # Renamed first, so that a kill leaves no half under the name of a checkpoint.
                path = path.rename(path.with_name(path.name + ".partial"))
                shutil.rmtree(path)


def newest_bundle(run_dir: Path, say: Callable[[str], None]) -> Bundle | None:
    """The newest whole checkpoint of a run; None for a run that has none yet.

    It changes nothing, and passes over a damaged one with a warning to `say`. Raises ValueError
    where all are damaged.
    """
    found = list_checkpoints(run_dir)
    for path in reversed(found):
        try:
            return read_bundle(path)
        except ValueError as error:
            say(f"warning: {error}: going back to the one before it")
    if found or any((run_dir / "checkpoints").glob("*.damaged")):
        raise ValueError(
            f"no checkpoint in {run_dir / 'checkpoints'} is whole. Copy the run folder from where "
            "it is whole, or begin another run with --run OTHER"
        )
    return None


def newest_step(run_dir: Path) -> int:
    """The step of a run's newest checkpoint, by the folder's name; 0 where there is none."""
    found = list_checkpoints(run_dir)
    return int(found[-1].name.removeprefix("step-")) if found else 0


def read_variables(variables: dict[str, Variables]) -> dict[str, Arrays]:
    """Copies of the variables' values, by kind and path."""
    return {
        kind: {path: _copy(variable) for path, variable in group.items()}
        for kind, group in variables.items()
    }


def _copy(variable: keras.Variable) -> np.ndarray:
    """The value of a variable, which later steps do not change."""
    return np.asarray(variable.value.numpy())  # TensorFlow's numpy() copies


def restore(variables: dict[str, Variables], bundle: Bundle | None, strategy: Strategy) -> None:
    """Set the variables of every rank to the chief's bundle or, without one, the chief's values.

    Raises ValueError where the bundle has other variables or shapes.
    """
    for kind, group in variables.items():
        stored: Arrays | None = getattr(bundle, kind) if bundle else None
        values = {path: _copy(variable) for path, variable in group.items()}
        if stored:
            _require_same_variables(kind, values, stored)
            values = {path: stored[path].astype(values[path].dtype) for path in values}
        for path, value in strategy.broadcast(values).items():
            group[path].assign(value)


def gather_own(own: Variables, strategy: Strategy) -> Arrays:
    """The values of variables that each worker has of its own: [workers, ...], in rank order.

    One collective, for all ranks to call; none where there are no such variables.
    """
    if not own:
        return {}
    # As integers: 0 + x keeps every bit of x. A count of steps below 2^24 is exact in float32.
    values = [_copy(variable).astype(np.float32).ravel() for variable in own.values()]
    rows = strategy.gather(np.concatenate(values).view(np.int32)).view(np.float32)
    parts = np.split(rows, np.cumsum([value.size for value in values[:-1]]), axis=1)
    return {
        path: part.reshape(-1, *variable.shape)
        for (path, variable), part in zip(own.items(), parts, strict=True)
    }


def restore_own(own: Variables, bundle: Bundle | None, workers: int, strategy: Strategy) -> None:
    """Set what this rank has of its own to what it had when the chief's bundle was written.

    With another number of workers than then, `workers`, to the mean of theirs.
    """
    rows = {
        path: np.zeros([workers, *variable.shape], np.float32) for path, variable in own.items()
    }
    if bundle:
        _require_same_variables("workers", rows, bundle.workers)
        rows = bundle.workers
    place = strategy.place
    for path, values in strategy.broadcast(rows).items():
        value = values[place.rank] if place.size == workers else values.mean(axis=0)
        own[path].assign(value.astype(own[path].dtype))


def _require_same_variables(kind: str, own: Arrays, stored: Arrays) -> None:
    """Raise ValueError unless both have the same paths and shapes."""
    different = set(own.keys() ^ stored.keys())
    different |= {p for p in own.keys() & stored.keys() if own[p].shape != stored[p].shape}
    if different:
        first = sorted(different)[0]
        shapes = [group[first].shape if first in group else "absent" for group in (stored, own)]
        raise ValueError(
            f"the checkpoint's {kind} do not fit this network: {len(different)} variables differ, "
            f"the first, {first}, is {shapes[0]} there and {shapes[1]} here. Use the flags the run "
            "was started with (its config.json)"
        )
