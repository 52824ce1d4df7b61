"""The sampler beside a training: what the user is told. (test_tensorboard.py has its music.)"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from hpc.training.compose_samples import real_token_probability
from hpc.training.sample_process import LOG, SampleProcess, missing_for_samples
from model.composing.composer import Composer
from model.networks.registry import build_network, network_config
from pipeline.vocabulary.grid import GridVocabulary

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_for_samples()), reason=f"no {missing_for_samples()}"),
]


COMPATIBILITY = Path(__file__).resolve().parents[2] / "compatibility"


def samplers() -> list[psutil.Process]:
    """Those among this process's children."""
    children = psutil.Process().children()
    return [
        child for child in children if any("compose_samples.py" in word for word in child.cmdline())
    ]


def test_a_sampler_that_was_killed_is_told_of_once_and_training_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    samples = SampleProcess(tmp_path, 0.0, said.append)
    samples.request(1)
    (sampler,) = samplers()
    sampler.kill()
    sampler.wait(300)
    samples.request(2)
    samples.request(3)
    assert said == [f"no more samples in TensorBoard: {tmp_path / LOG} says why"]
    samples.close(wait=True)
    assert len(said) == 1


def test_its_priority_counts_against_the_trainer_and_ctrl_c_is_not_for_it(tmp_path: Path) -> None:
    samples = SampleProcess(tmp_path, 0.0, lambda _: None)
    samples.request(1)
    (sampler,) = samplers()
    session, group = os.getsid(sampler.pid), os.getpgid(sampler.pid)
    samples.close(wait=False)
    # Linux weighs nice values within a session only, where it groups tasks by session.
    assert session == os.getsid(0)
    assert group != os.getpgid(0)
    assert not samplers()


def test_one_that_is_ended_while_it_renders_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = shutil.copytree(COMPATIBILITY, tmp_path / "older")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.chdir(older)  # the run names its data set by a relative path
    samples = SampleProcess(older / "run", 0.0, lambda _: None)
    samples.request(4)
    (sampler,) = samplers()
    while not any(temporary.rglob("piece.*")):
        assert sampler.is_running(), (older / "run" / LOG).read_text()
        time.sleep(0.01)
    samples.close(wait=False)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("kind", ["frames", "lstm"])
def test_the_voices_of_a_frame_have_probabilities_but_its_step_has_none(kind: str) -> None:
    vocabulary = GridVocabulary(lowest_pitch=60, highest_pitch=71, voices=2)
    composer = Composer(build_network(network_config(kind, "tiny", vocabulary)), vocabulary)
    frames = np.random.default_rng(0).integers(60, 72, [10, 2])
    probability = real_token_probability(composer, vocabulary.encode_frames(frames)).numpy()
    assert probability.shape == (20,)
    # As drawn, a network prefers nothing much: a voice has 13 ids, all of the vocabulary 45.
    assert 0 < probability.min() <= probability.max() < 0.5


def test_where_no_music_can_sound_that_is_said_once_and_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpc.training.sample_process.missing_for_samples", lambda: ["FluidSynth"])
    said: list[str] = []
    samples = SampleProcess(tmp_path, 0.0, said.append)
    samples.request(1)
    samples.request(2)
    assert said == ["no samples of the music in TensorBoard: FluidSynth not installed"]
    assert not samplers()
    samples.close(wait=True)


def test_a_run_that_ends_says_what_it_waits_for_and_that_it_did_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpc.training.sample_process.LONGEST_END", 1.0)
    said: list[str] = []
    samples = SampleProcess(tmp_path, 0.0, said.append)
    samples.request(1)  # of a checkpoint that never comes
    samples.close(wait=True)
    assert said == [
        "the last sample for TensorBoard: at most 1 s",
        "no sample of the last step: not ready after 1 s",
    ]
    assert not samplers()
