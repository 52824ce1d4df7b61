"""On a GPU: training starts there, and its kernels give the losses of the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


def losses(run: Path, data: Path, *flags: str, **environment: str) -> list[float]:
    """Losses of the first ten steps of a training in a process of its own."""
    done = subprocess.run(
        [
            sys.executable, "hpc/train.py", "--strategy", "single", "--data", str(data), "--run",
            str(run), "--preset", "tiny", "--sequence-length", "32", "--global-batch-size", "8",
            "--steps", "10", "--log-every", "1", "--samples-after", "-1", *flags,
        ],
        cwd=REPOSITORY, env={**os.environ, **environment}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["split"] == "train"]


@pytest.mark.gpu
@pytest.mark.parametrize("model", ["lstm", "lstm-attention", "transformer"])
def test_a_gpu_computes_the_losses_of_the_cpu(
    tmp_path: Path, tiny_shards: Path, model: str
) -> None:
    on_gpu = losses(tmp_path / "gpu", tiny_shards, "--model", model, NVIDIA_TF32_OVERRIDE="0")
    on_cpu = losses(tmp_path / "cpu", tiny_shards, "--model", model, CUDA_VISIBLE_DEVICES="-1")
    assert on_gpu == pytest.approx(on_cpu, rel=1e-4)


@pytest.mark.gpu
def test_half_precision_on_a_gpu_learns_as_float32_does(tmp_path: Path, tiny_shards: Path) -> None:
    half = losses(tmp_path / "half", tiny_shards, "--precision", "mixed_float16")
    assert half == pytest.approx(losses(tmp_path / "full", tiny_shards), rel=2e-2)


@pytest.mark.gpu
def test_the_default_flags_start_on_a_gpu(tmp_path: Path, tiny_shards: Path) -> None:
    flags = ("--sequence-length", "auto", "--global-batch-size", "4")
    assert len(losses(tmp_path / "run", tiny_shards, *flags)) == 10
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-2])
    assert last["gpu_memory_gigabytes"] > 0
