"""Command: a finished run of the LSTM against the same network trained as long in PyTorch.

python hpc/benchmarks/twin.py runs/vgmidi --torch-python PYTHON-WITH-TORCH

The twin gets the run's own batches in their order, with the same transpositions, and its sizes,
dropout, optimizer and learning rates. Layers, initial weights and random masks are PyTorch's own.
Both are evaluated on the same windows of the valid split, in nats per note: the nats of all tokens
by the number of notes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import from the root, not from hpc/
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from pipeline.runtime.interpreter import explain_missing_libraries

    explain_missing_libraries()

from hpc.config.train_config import TrainConfig
from hpc.run_folder.recorded import RecordedRun, read_run
from pipeline.runtime.command import described_parser, run_command
from pipeline.runtime.files import write_json
from pipeline.runtime.tables import aligned_lines
from pipeline.runtime.tensorflow_loading import load_tensorflow


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    parser = described_parser(__doc__)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a run of --model lstm that has done all its steps")
    add("--torch-python", default=sys.executable, help="a Python that has PyTorch (default: this)")
    add("--threads", type=int, default=2, help="of PyTorch (default: 2)")
    add("--json", type=Path, metavar="FILE", help="write the result here for programs")
    flags = parser.parse_args(argv)
    return run_command(lambda: compare(flags.run, flags.torch_python, flags.threads, flags.json))


def compare(run_dir: Path, python: str, threads: int, json_file: Path | None) -> None:
    """Train the twin and print both results. Raises ValueError or OSError that says what to do."""
    run = read_run(run_dir, run_dir.name)
    config = TrainConfig.from_dict(run.config, str(run_dir))
    valid = run.curves.get("valid", ())
    is_plain = config.model == "lstm" and not config.average and not config.whole_pieces
    if not is_plain or not valid or valid[-1].step != config.steps:
        raise ValueError(
            f"{run_dir} is a run of --model {config.model}, --average {config.average}, --windows "
            f"{config.windows}, with {valid[-1].step if valid else 0} of {config.steps} steps "
            "evaluated. Needed is the LSTM over tokens on windows of the stream, without an "
            "average, all steps done and the last one evaluated"
        )
    load_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "twin.npz"
        notes = export(run, config, path)
        lines = train_twin(python, path, threads)
    result: dict[str, Any] = {"run": str(run_dir), "steps": config.steps, **notes}
    tokens_per_note = notes["valid_tokens"] / notes["valid_notes"]
    result["torch"] = lines[0]["version"]
    result["curves"] = {
        "ours": [(point.step, point.loss * tokens_per_note) for point in valid],
        "torch": [(line["step"], line["loss"] * tokens_per_note) for line in lines[1:]],
    }
    result["seconds"] = {"ours": valid[-1].seconds, "torch": lines[-1]["seconds"]}
    print(describe(result))
    if json_file:
        write_json(json_file, result)


def export(run: RecordedRun, config: TrainConfig, path: Path) -> dict[str, int]:
    """Write the twin's settings and batches; the numbers of parameters, valid tokens and notes."""
    import numpy as np

    from hpc.training.optimizer import build_optimizer
    from model.networks.registry import build_network, network_config, with_dropout
    from pipeline.dataset.batches import evaluation_batches, training_batches
    from pipeline.dataset.manifest import Manifest
    from pipeline.dataset.schedule import BatchPlan

    facts = run.stretches[-1].facts
    manifest = Manifest.load(config.data)
    vocabulary = manifest.open_vocabulary
    plan = BatchPlan(
        manifest,
        sequence_length=facts["sequence_length"],
        global_batch_size=facts["global_batch_size"],
        seed=config.seed,
        max_transpose=config.max_transpose,
        own_key=config.own_key,
    )
    batches = training_batches(config.data, plan)
    train = np.stack([tokens.numpy() for tokens in batches.take(config.steps)])
    pairs = list(evaluation_batches(config.data, plan, "valid"))
    valid, weights = (np.concatenate([pair[i].numpy() for pair in pairs]) for i in (0, 1))
    optimizer = build_optimizer(config, facts["workers"])
    rates = []
    for step in range(config.steps):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    network = network_config("lstm", config.preset, vocabulary)
    network = with_dropout(network, config.dropout)
    settings = {
        **network.to_dict(),
        "learning_rates": rates,
        "weight_decay": config.weight_decay,
        "clip_norm": config.clip_norm,
        "eval_every": config.eval_every,
        "seed": config.seed,
    }
    np.savez(path, train=train, valid=valid, weights=weights, settings=json.dumps(settings))
    is_note = (vocabulary.pitches[valid[:, 1:]] >= 0) & (weights > 0)
    return {
        "parameters": build_network(network).count_params(),
        "valid_tokens": int(weights.sum()),
        "valid_notes": int(is_note.sum()),
    }


def train_twin(python: str, path: Path, threads: int) -> list[dict[str, Any]]:
    """What the PyTorch process prints: its version, then its loss at each evaluation.

    Raises OSError if that Python has no PyTorch.
    """
    script = Path(__file__).with_name("twin_in_torch.py")
    process = subprocess.run(
        [python, str(script), str(path), str(threads)], capture_output=True, text=True
    )
    if process.returncode:
        raise OSError(
            f"{python} did not train the twin ({process.stderr.strip().splitlines()[-1:]}): give a "
            "Python that has PyTorch and NumPy with --torch-python"
        )
    return [json.loads(line) for line in process.stdout.splitlines()]


def describe(result: dict[str, Any]) -> str:
    """The comparison as lines of text."""
    heading = (
        f"{result['run']}: {result['parameters']:,} parameters, {result['steps']} steps; valid "
        f"split: {result['valid_notes']:,} notes in {result['valid_tokens']:,} tokens; losses in "
        "nats per note"
    )
    rows = []
    for name, title in (("ours", "this program"), ("torch", f"PyTorch {result['torch']}")):
        losses = [loss for _, loss in result["curves"][name]]
        seconds = f"{result['seconds'][name]:.0f}"
        rows.append((title, f"{losses[-1]:.4f}", f"{min(losses):.4f}", seconds))
    columns = ("", ">last loss", ">best loss", ">seconds")
    return "\n".join([heading, *aligned_lines(columns, rows)])


if __name__ == "__main__":
    sys.exit(main())
