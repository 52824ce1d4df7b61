"""Evaluation on the valid split: when it is due, how it is done, and when training gives up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from hpc.training.preemption import StopRequest
from hpc.training.run import Run

if TYPE_CHECKING:  # imports TensorFlow, which must wait until the flags are parsed
    from hpc.run_folder.journal import Journal


def evaluation_is_due(run: Run) -> bool:
    """Does this step need an evaluation that it has not had yet?"""
    step = run.progress.step
    at_its_time = run.config.is_due(step, run.config.eval_every) or step == run.config.steps
    return run.has_evaluation and at_its_time and step > run.progress.evaluated


def evaluate_if_due(run: Run, journal: Journal, stop_request: StopRequest) -> bool:
    """Evaluate on the valid split, if due; did a request to stop interrupt the evaluation?

    A long evaluation would not end within the grace time of a signal. The run repeats it when it
    is continued.
    """
    if not evaluation_is_due(run):
        return False
    progress = run.progress
    started = time.perf_counter()
    totals = np.zeros(3)
    for tokens, weights in run.evaluation_batches("valid"):
        totals += run.steps.evaluate(tokens, weights, stop_request.asked).numpy()
        run.watchdog.progress(progress.step, "evaluating")
        if totals[2]:
            return True

    nats, num_tokens, _ = totals
    loss = float(nats / num_tokens)
    rate = float(num_tokens) / (time.perf_counter() - started)
    journal.scalars(progress.step, "valid", loss=loss, tokens_per_second=rate)
    is_best = loss < progress.best_loss
    progress.stale_evaluations = 0 if is_best else progress.stale_evaluations + 1
    progress.evaluated = progress.step
    if is_best:
        progress.best_loss, progress.best_step = loss, progress.step
    return False


def gave_up(run: Run) -> bool:
    """Have as many evaluations passed without a better loss as --patience allows?"""
    return 0 < run.config.patience <= run.progress.stale_evaluations
