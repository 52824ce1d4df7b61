"""Samples of a run's music for TensorBoard: the trainer starts a process that composes them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

LOG = "listening.log"  # in the run's folder
PROGRAM = Path(__file__).with_name("sample_process.py")

LONGEST_END = 60.0  # seconds that the end of a run waits for its last sample
STOP_SECONDS = 5.0  # for a process that was asked to end at once


class SampleProcess:
    """The process that composes samples while a run trains; only the chief has one."""

    def __init__(self, run_dir: Path, seconds: float, say: Callable[[str], None]) -> None:
        """Start nothing yet: the first sample comes after `seconds` of training; below 0, none.

        `say` prints a line for the user: why there are no samples, what a run's end waits for.
        """
        self._run_dir = run_dir
        self._say = say
        self._start_at = time.monotonic() + seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = seconds >= 0
        if self._wanted and (missing := missing_for_samples()):
            self._wanted = False
            say(f"no samples of the music in TensorBoard: {', '.join(missing)} not installed")

    def request(self, step: int) -> None:
        """Request a sample of this step's checkpoint, which is being saved; return at once."""
        if not self._wanted or time.monotonic() < self._start_at:
            return
        if self._process is None:
            self._process = self._start()
        try:
            assert self._process.stdin
            self._process.stdin.write(b"%d\n" % step)
            self._process.stdin.flush()
        except OSError:  # it has ended; training continues
            self._wanted = False
            self._say(f"no more samples in TensorBoard: {self._run_dir / LOG} says why")

    def close(self, *, wait: bool) -> None:
        """End the process: after its current sample, or at once."""
        if self._process is None:
            return
        assert self._process.stdin
        try:
            self._process.stdin.close()
            if wait and self._process.poll() is None:
                self._say(f"the last sample for TensorBoard: at most {LONGEST_END:.0f} s")
            self._process.wait(LONGEST_END if wait else 0.0)
        except OSError:  # it has ended, which was said
            self._end(self._process)
        except subprocess.TimeoutExpired:
            if wait:
                self._say(f"no sample of the last step: not ready after {LONGEST_END:.0f} s")
            self._end(self._process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End it by SIGTERM, upon which it removes its temporary files; else by SIGKILL."""
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        launcher = ("OMPI_", "PMIX_", "PMI_", "SLURM_", "TF_CONFIG")  # not a rank of the job
        with (self._run_dir / LOG).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(PROGRAM), str(self._run_dir)],
                env={k: v for k, v in os.environ.items() if not k.startswith(launcher)}
                | {"CUDA_VISIBLE_DEVICES": "-1", "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the trainer, which then ends this process. A session of its own
                # would get half of a core: Linux weighs nice values within one (autogroup).
                process_group=0,
            )


def missing_for_samples() -> list[str]:
    """What this machine lacks to compose a sample and render its sound."""
    needed = ("mido", "midi2audio", "soundfile")
    packages = [name for name in needed if importlib.util.find_spec(name) is None]
    if shutil.which("fluidsynth") is None:
        return [*packages, "FluidSynth"]
    from model.rendering.soundfonts import find_soundfont

    try:
        find_soundfont()
    except ValueError:
        packages.append("a SoundFont")
    return packages
