"""The sampler beside a training: what the user is told. (test_tensorboard.py has its music.)"""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from hpc.listening import LOG, Listening, missing_for_samples

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_for_samples()), reason=f"no {missing_for_samples()}"),
]


def samplers() -> list[psutil.Process]:
    """Those among this process's children."""
    children = psutil.Process().children()
    return [child for child in children if any("listening.py" in word for word in child.cmdline())]


def test_a_sampler_that_was_killed_is_told_of_once_and_training_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    listening = Listening(tmp_path, 0.0, said.append)
    listening.sample(1)
    (sampler,) = samplers()
    sampler.kill()
    sampler.wait(60)
    listening.sample(2)
    listening.sample(3)
    assert said == [f"no more samples in TensorBoard: {tmp_path / LOG} says why"]
    listening.close(wait=True)
    assert len(said) == 1


def test_a_run_that_ends_says_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpc.listening.LONGEST_END", 1.0)
    said: list[str] = []
    listening = Listening(tmp_path, 0.0, said.append)
    listening.sample(1)  # of a checkpoint that never comes
    listening.close(wait=True)
    assert said == ["the last sample for TensorBoard: at most 1 s"]
    assert not samplers()
