"""Command: train a network on one or many machines. Reads top to bottom.

    python hpc/train.py
    mpirun -np 2 -H dorchester,bath python hpc/train.py --data data/bach --run runs/both

The same command with --run, run again, continues the run from its newest checkpoint; a setting
whose flag is then left out is that of the run. Exit codes: 0 done, 1 error, 2 wrong flag, 76
another rank or the connection to it was lost, 85 stopped by a signal, after saving.
"""

from __future__ import annotations

import math
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):  # run as a script: import from the root, not from hpc/
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from pipeline.runtime.interpreter import explain_missing_libraries

    explain_missing_libraries()

import numpy as np

from hpc.config.train_config import parse_flags
from hpc.distributed.collective_errors import collective_failure, without_nodes
from hpc.distributed.launcher import Place, find_place
from hpc.distributed.mpirun import EXIT_PEER_LOST
from hpc.distributed.watchdog import Watchdog
from hpc.run_folder.layout import METRICS, TIMELINE, write_config
from hpc.run_folder.rank_log import RankLog
from hpc.training.evaluation import evaluate_if_due, evaluation_is_due, gave_up
from hpc.training.open_run import open_run
from hpc.training.preemption import EXIT_PREEMPTED, StopRequest
from hpc.training.preflight import agreed_settings, preflight, rendezvous, require_agreement
from hpc.training.run import Run
from hpc.training.throughput import Throughput
from pipeline.runtime.command import outlive_terminal, run_command
from pipeline.runtime.files import write_json
from pipeline.runtime.tables import print_line, print_lines

if TYPE_CHECKING:  # imports TensorFlow, which must wait until the flags are parsed
    from hpc.run_folder.journal import Journal
    from hpc.training.profiling import Profiler
    from hpc.training.sample_process import SampleProcess


def main(argv: Sequence[str] | None = None) -> int:
    """Train with the given flags; the exit code."""
    place, log = Place(), RankLog()
    outlive_terminal()
    try:
        place = find_place(os.environ)
        who = str(place) if place.size > 1 else ""
        code = run_command(lambda: train(argv, place, log=log), who)
    except Exception as error:
        line = collective_failure(error)
        text = f" {line}" if line else f"\n{without_nodes(traceback.format_exc())}"
        print(f"error: {place}:{text}", file=sys.stderr)
        code = EXIT_PEER_LOST if line and place.size > 1 else 1
    log.close()
    if place.size > 1 and code:
        # The exit handlers of MPI and Horovod would wait for ranks that may be gone.
        os._exit(code)
    return code


def train(
    argv: Sequence[str] | None,
    place: Place,
    open_run: Callable[..., Run] = open_run,
    log: RankLog | None = None,
) -> int:
    """Open or continue a run, train it, and close it; the exit code.

    `open_run` returns a run that is ready for its next step (hpc/training/open_run.py); `log` gets
    what this rank prints.
    """
    config, extra = parse_flags(argv)
    stop_request = StopRequest(place)
    local = preflight(config, extra.given, place, dry_run=extra.dry_run)
    with Watchdog(place, config.timeout) as watchdog:
        # All ranks meet and compare what they found, before the first collective.
        roll = rendezvous(config, local, watchdog)
        require_agreement(roll, place)
        config = agreed_settings(local, roll)
        stop_request.local_steps = config.local_steps
        watchdog.has_checkpoint = bool(roll[0]["begin"] and roll[0]["begin"]["progress"])
        if config.run is None:
            watchdog.same_command += f" with --run {roll[0]['run']}"
        if log and not extra.dry_run:
            log.keep(Path(roll[0]["run"]), place)
            watchdog.use_log(log)

        watchdog.allow(config.start_timeout, "loading TensorFlow")
        run = open_run(config, place, roll, watchdog, local)
        watchdog.progress(run.progress.step)
        watchdog.allow(config.start_timeout, "getting ready")

        if extra.dry_run:
            ended = "checked"
            if place.is_chief:
                print_lines(run.describe())
        else:
            ended = train_run(run, stop_request)
            report(run, ended, extra.json)

        # A collective: the first rank that leaves with a code ends the job under mpirun, and that
        # must not be before the chief has saved and closed all files.
        run.strategy.gather(np.array([run.progress.step]))
        stop_request.close()
        run.strategy.close()
    return EXIT_PREEMPTED if ended == "stopped" else 0


def train_run(run: Run, stop_request: StopRequest) -> str:
    """Train with all records; why it ended: 'done', 'early' (--patience) or 'stopped' (signal)."""
    from hpc.run_folder.journal import Journal
    from hpc.training.profiling import Profiler
    from hpc.training.sample_process import SampleProcess

    # The folder: its settings, and nothing in it newer than the checkpoint.
    if run.place.is_chief:
        write_config(run.run_dir, run.config)
    run.checkpoints.roll_back(asdict(run.progress))

    # The records.
    journal = Journal(
        run.run_dir,
        run.place,
        step=run.progress.step,
        evaluated=run.progress.evaluated,
        total_steps=run.config.steps,
        tracker=run.config.tracker,
    )
    hosts, window = [facts["host"] for facts in run.roll], run.config.profile_window
    profiler = Profiler(run.run_dir, window, run.place, hosts, journal.say)
    wanted = run.config.samples_after if run.place.is_chief else -1.0
    samples = SampleProcess(run.run_dir, wanted, journal.say)

    ended = "failed"
    try:
        journal.stretch(run.progress.step + 1, run.facts(), run.hyperparameters())
        for line in run.describe():
            journal.say(line)
        run.strategy.start_timeline(run.run_dir / TIMELINE)
        ended = loop(run, journal, profiler, samples, stop_request)
        run.watchdog.allow(run.config.start_timeout, "saving its last checkpoint")
        run.save()
        run.checkpoints.wait()
        samples.close(wait=ended != "stopped")
    finally:
        samples.close(wait=False)
        profiler.close()
        journal.close(ended)
    return ended


def loop(
    run: Run,
    journal: Journal,
    profiler: Profiler,
    samples: SampleProcess,
    stop_request: StopRequest,
) -> str:
    """Take the remaining steps; why training ended, in the words of `train_run`."""
    from hpc.training.host_load import HostLoad

    config, progress, throughput = run.config, run.progress, Throughput(run.tokens_per_step)
    load = HostLoad()
    batches = run.training_batches()
    stop = evaluate_if_due(run, journal, stop_request)  # the one that a signal interrupted
    run.watchdog.allow(config.start_timeout, "compiling its first step")
    for step in range(progress.step + 1, config.steps + 1):
        if stop:
            return "stopped"
        if gave_up(run):
            return "early"

        # One step: the next batch, and an update of the weights with it.
        with throughput.part("input"):
            tokens = next(batches)
        with profiler.step(step), throughput.part("step"):
            outcome = run.steps.train(tokens, step, stop_request.asked, run.checkpoints.is_late)
            loss, norm, stops, saves = (
                float(outcome[name]) for name in ("loss", "gradient_norm", "stop", "save")
            )
        throughput.finish_step()
        progress.step, progress.tokens = step, progress.tokens + run.tokens_per_step
        run.watchdog.progress(step)
        journal.finish_step(step)
        if step % config.local_steps:
            continue  # with weights of its own: the workers have not exchanged yet
        require_finite(run, step, loss)

        # Once in a while: record the loss and the speed.
        if config.is_due(step, config.log_every):
            rates = throughput.report()
            record_step(run, journal, rates, loss=loss, gradient_norm=norm, **load.report())

        # Once in a while: evaluate on the valid split.
        with throughput.part("evaluate"):
            stop = evaluate_if_due(run, journal, stop_request) or stops > 0

        # Once in a while, and where the evaluation was the best so far: save, and be heard.
        is_due = run.checkpoints.due(step, is_late=saves > 0)
        if is_due or progress.best_step == step:
            with throughput.part("save"):
                run.save()
            if progress.evaluated == step or not run.has_evaluation:
                samples.request(step)
    if stop and evaluation_is_due(run):
        return "stopped"
    return "early" if gave_up(run) else "done"


def record_step(run: Run, journal: Journal, rates: dict[str, float], **values: float) -> None:
    """Record a step's loss and gradient norm, its learning rate, and the speed of late steps."""
    rate = run.steps.learning_rate
    journal.scalars(run.progress.step, "train", **values, learning_rate=rate, **rates)
    if rates and run.link:
        journal.say_once("link", run.link.advise(rates["step_seconds"]))


def require_finite(run: Run, step: int, loss: float) -> None:
    """Raise RuntimeError unless the loss is a finite number: all later steps would be lost."""
    if not math.isfinite(loss):
        last_good = max(step - run.config.log_every, 0)
        raise RuntimeError(
            f"the loss of step {step} is {loss}; look at steps {last_good} to {step} of "
            f"{run.run_dir / METRICS}. Nothing was saved after the last checkpoint. Lower "
            "--learning-rate or --clip-norm, and continue or begin again"
        )


def report(run: Run, ended: str, json_file: Path | None) -> None:
    """Print how the run ended and what to do next; write the same into `json_file`, if given."""
    if not run.place.is_chief:
        return
    progress, best = run.progress, run.progress.best_loss
    endings = {
        "done": "done",
        "early": f"no better validation loss in {progress.stale_evaluations} evaluations: done",
        "stopped": f"asked to stop: saved. {run.watchdog.same_command} continues",
    }
    loss = "No validation loss yet" if run.has_evaluation else "No valid split to evaluate on"
    if math.isfinite(best):
        loss = f"Best validation loss {best:.4f} nats per token, perplexity {math.exp(best):.3f}"
    print_line(f"{endings[ended]}. Step {progress.step} of {run.config.steps}.")
    print(f"{loss}.\nCompose: python model/generate.py {run.run_dir}")
    if json_file:
        result = {
            "ended": ended,
            "run": str(run.run_dir),
            "strategy": run.strategy.name,
            "workers": run.place.size,
            "step": progress.step,
            "best_valid_loss": best if math.isfinite(best) else None,
        }
        write_json(json_file, result)


if __name__ == "__main__":
    sys.exit(main())
