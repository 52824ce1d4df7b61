"""examples/, small: fine-tuning on a folder of MIDI, and a duet. Two hosts: tests/testbed/."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from model import generate
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import Score, make_notes
from pipeline.scores.reading import read_score
from pipeline.vocabulary.frames import FIRST_PROGRAM
from pipeline.vocabulary.grid import GridVocabulary
from tests.conftest import REPOSITORY
from tests.hpc.launching import losses
from tests.model.tiny_run import write_tiny_run

needs_fluidsynth = pytest.mark.skipif(
    shutil.which("fluidsynth") is None, reason="this machine has no FluidSynth"
)


def example(name: str, *flags: str, cwd: Path, **environ: str) -> str:
    """What an example printed, run in a folder that is not the program's."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(REPOSITORY / "examples" / name), *flags],
        env={**os.environ, "PATH": path, **environ},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=890,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_fluidsynth
def test_the_shipped_model_is_fine_tuned_on_a_folder_of_midi_and_composes(
    tiny_corpus: Path, tmp_path: Path
) -> None:
    midi = tmp_path / "my midi"
    midi.mkdir()
    for name in ("bwv255", "bwv324", "bwv396", "bwv67.7", "bwv65.2", "bwv404"):
        shutil.copy(tiny_corpus / f"{name}.mid", midi)
    flags = ["--steps=1", "--eval-every=1", "--warmup-steps=0", "--log-every=1"]
    said = example("fine_tune.sh", midi.name, *flags, cwd=tmp_path, BARS="1")
    assert "data/mine-4: 6 pieces from 6 files" in said
    # Nats per token of chorales that the shipped model knows; a new network has ln(93) = 4.5.
    assert losses(tmp_path / "runs/mine-4", "valid")[0] < 1
    files = sorted(path.name for path in (tmp_path / "out/mine-4").iterdir())
    assert files == ["piece-001.mid", "piece-001.mp3", "piece-001.png"]


def test_the_example_tune_is_old_hundredth_and_is_harmonised_as_it_stands(tmp_path: Path) -> None:
    lines = (
        "67 67 66 64 62 67 69 71",  # All people that on earth do dwell,
        "71 71 71 69 67 72 71 69",  # sing to the Lord with cheerful voice;
        "67 69 71 69 67 64 66 67",  # him serve with fear, his praise forth tell,
        "74 71 67 69 72 71 69 67",  # come ye before him and rejoice.
    )
    pitches = [int(pitch) for line in lines for pitch in line.split()]
    tune = REPOSITORY / "examples/old_hundredth.musicxml"
    score = read_score(tune)
    onsets = (score.notes["onset"] / score.resolution).tolist()
    assert list(zip(onsets, score.notes["pitch"], strict=True)) == list(enumerate(pitches))

    run = write_tiny_run(tmp_path / "run", GridVocabulary())
    flags = ["--given", str(tune), "--formats=mid", f"--out={tmp_path}", "--seed=1"]
    assert generate.main([str(run), *flags]) == 0
    notes = read_score(tmp_path / "piece-001.mid").notes
    assert notes["pitch"][notes["program"] == FIRST_PROGRAM].tolist() == pitches
    assert len(set(notes["program"].tolist())) > 1


@needs_fluidsynth
def test_a_duet_answers_a_phrase_and_is_heard(tmp_path: Path) -> None:
    run = write_tiny_run(tmp_path / "tiny")
    notes = make_notes([(4 * beat, 0, 60 + 2 * beat, 4, 90) for beat in range(4)])
    write_midi(Score(notes, 4, 240.0), tmp_path / "phrase.mid")
    flags = ["--audio-driver=file", "--audio-file=duet.wav", "--json=result.json", "--seed=2"]
    example("duet.sh", "phrase.mid", *flags, cwd=tmp_path, MODEL=run.name)
    assert json.loads((tmp_path / "result.json").read_text())["answered"] == 1
    with wave.open(str(tmp_path / "duet.wav")) as heard:
        samples = np.frombuffer(heard.readframes(heard.getnframes()), np.int16)
    assert np.abs(samples).max() > 500
