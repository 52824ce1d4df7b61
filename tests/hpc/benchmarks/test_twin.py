"""The twin of a run: what it is given, and how both are told; PyTorch itself is stood in for."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

from hpc import train
from hpc.benchmarks import twin
from tests.hpc.launching import TINY_FLAGS

# In the place of a Python with PyTorch: one that checks what it gets, and has learned nothing.
STAND_IN = """#!{python}
import json, math, sys
import numpy as np
_, script, exported, threads = sys.argv
assert script.endswith("twin_in_torch.py") and threads == "1"
exported = np.load(exported)
settings = json.loads(str(exported["settings"]))
steps, windows, ids = exported["train"].shape
assert (steps, windows) == (4, {batch}) and exported["valid"].shape[1] == ids
assert exported["weights"].shape == (len(exported["valid"]), ids - 1)
assert len(settings["learning_rates"]) == 4 and max(settings["learning_rates"]) > 0
assert exported["train"].max() < settings["vocab_size"]
print(json.dumps({{"version": "none"}}))
print(json.dumps({{"step": 4, "loss": math.log(settings["vocab_size"]), "seconds": 1.0}}))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    flags = [*TINY_FLAGS, f"--data={tiny_shards}", f"--run={folder}"]
    assert train.main([*flags, "--log-every=2", "--eval-every=2", "--steps=4"]) == 0
    return folder


@pytest.mark.slow
def test_both_are_told_in_nats_per_note(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = json.loads((run / "stretches.jsonl").read_text())["global_batch_size"]
    python, result = tmp_path / "python", tmp_path / "result.json"
    python.write_text(STAND_IN.format(python=sys.executable, batch=batch))
    python.chmod(0o755)
    flags = [str(run), "--torch-python", str(python), "--threads", "1", "--json", str(result)]
    assert twin.main(flags) == 0
    told = json.loads(result.read_text())
    per_note = told["valid_tokens"] / told["valid_notes"]
    assert 1.5 < per_note < 4  # NOTE and DURATION, and a SHIFT where time goes on
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    ours = [line["loss"] * per_note for line in lines if line["split"] == "valid"]
    assert [step for step, _ in told["curves"]["ours"]] == [2, 4]
    assert [loss for _, loss in told["curves"]["ours"]] == pytest.approx(ours)
    bundle = json.loads((run / "checkpoints" / "step-00000004" / "bundle.json").read_text())
    even = math.log(bundle["model"]["vocab_size"]) * per_note
    assert told["curves"]["torch"] == [[4, pytest.approx(even)]]
    assert "PyTorch none" in capsys.readouterr().out


@pytest.mark.slow
def test_a_python_without_pytorch_and_an_unfinished_run_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert twin.main([str(run), "--torch-python", "/bin/false"]) == 1
    assert "give a Python that has PyTorch" in capsys.readouterr().err
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "steps": 6}))
    assert twin.main([str(run)]) == 1
    assert "4 of 6 steps evaluated" in capsys.readouterr().err
