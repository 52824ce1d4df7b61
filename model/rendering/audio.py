"""MIDI to WAV through FluidSynth, checked before and after: FluidSynth itself reports little."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SAMPLE_RATE = 44100
SOUNDFONT_VARIABLE = "SOUNDFONT"
SOUNDFONT_FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
)
# Tried first, in this order; then any other file of the folders by name.
PREFERRED = ("FluidR3_GM.sf2", "default.sf2", "default-GM.sf2", "TimGM6mb.sf2")
SUFFIXES = (".sf2", ".sf3")
# 16-bit samples: -60 dB of full scale, far below any note of any SoundFont.
SILENCE = 33
# FluidSynth stops within a second after the last note, or keeps on while a long release dies away.
SHORTEST_TAIL, LONGEST_TAIL = -0.1, 30.0


@dataclass(frozen=True)
class Sound:
    """What a rendered WAV file holds."""

    seconds: float
    peak: float  # of full scale, 0 to 1


def find_soundfont(asked: Path | None = None) -> Path:
    """The SoundFont to play with: the one asked for, else $SOUNDFONT, else an installed one.

    Raises ValueError where it is missing or no SoundFont; one that was asked for is never replaced
    by another.
    """
    if asked is not None:
        return _checked(asked, "--soundfont")
    if os.environ.get(SOUNDFONT_VARIABLE):
        return _checked(Path(os.environ[SOUNDFONT_VARIABLE]), f"${SOUNDFONT_VARIABLE}")
    for folder in map(Path, SOUNDFONT_FOLDERS):
        files = sorted(file for file in folder.glob("*") if file.suffix.lower() in SUFFIXES)
        for file in sorted(files, key=_preference):
            if _is_soundfont(file):
                return file
    raise ValueError(
        f"no SoundFont found in {', '.join(SOUNDFONT_FOLDERS)}. Install one (Debian, Ubuntu: "
        "apt install timgm6mb-soundfont), name one with --soundfont FILE or "
        f"${SOUNDFONT_VARIABLE}, or leave sound out with --no-wav"
    )


def check_synthesizer() -> None:
    """Raise ValueError where the FluidSynth program is not installed."""
    if shutil.which("fluidsynth") is None:
        raise ValueError(
            "FluidSynth is not installed, so MIDI cannot become sound. Install it (Debian, Ubuntu: "
            "apt install fluidsynth timgm6mb-soundfont) or leave sound out with --no-wav"
        )


def render_wav(midi_path: Path, wav_path: Path, soundfont: Path, seconds: float) -> Sound:
    """Render a MIDI file of so many seconds, and what came out.

    The file gets its name only after it has been checked. Raises OSError where it could not be
    written whole, ValueError where it is silent or does not last as long as the music.
    """
    from midi2audio import FluidSynth

    partial = wav_path.with_name(f"{wav_path.stem}.partial.wav").resolve()
    synthesizer = FluidSynth(str(soundfont), SAMPLE_RATE)
    try:
        with captured_output() as read_output:
            synthesizer.midi_to_audio(str(midi_path.resolve()), str(partial))
            said = read_output()
        errors = [line for line in said.splitlines() if "error:" in line]
        if errors or not partial.is_file():
            what = errors[0].split("error:", 1)[1].strip() if errors else "nothing was written"
            raise OSError(f"FluidSynth could not write {wav_path}: {what.rstrip('.')}")
        sound = _listen(partial, wav_path, seconds)
        partial.replace(wav_path)
    finally:
        partial.unlink(missing_ok=True)
    return sound


def _listen(partial: Path, wav_path: Path, seconds: float) -> Sound:
    """Length and peak of a WAV file, found to be as long as the music, and audible."""
    try:
        with wave.open(str(partial), "rb") as stream:
            samples = np.frombuffer(stream.readframes(stream.getnframes()), "<i2")
            found = stream.getnframes() / stream.getframerate()
    except (wave.Error, EOFError, ValueError) as error:
        raise OSError(f"FluidSynth wrote a file that is not WAV for {wav_path} ({error})") from None
    if not seconds + SHORTEST_TAIL <= found <= seconds + LONGEST_TAIL:
        raise ValueError(
            f"{wav_path} would last {found:.1f} s for {seconds:.1f} s of music: it was cut or got "
            "stuck. Is the disk full?"
        )
    peak = int(np.abs(samples.astype(np.int32)).max(initial=0))
    if peak < SILENCE:
        raise ValueError(
            f"{wav_path} would be silent: the SoundFont has no sound for these instruments. Name "
            "another with --soundfont"
        )
    return Sound(found, peak / 32768)


@contextlib.contextmanager
def captured_output() -> Iterator[Callable[[], str]]:
    """A function that reads what programs started inside the block have written so far.

    midi2audio hands its own output streams on and drops the exit code, which is 0 even on a full
    disk: FluidSynth's messages are the only sign of trouble.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    with tempfile.TemporaryFile() as output:

        def read() -> str:
            output.seek(0)
            return output.read().decode(errors="replace")

        try:
            for descriptor in kept:
                os.dup2(output.fileno(), descriptor)
            yield read
        finally:
            for descriptor, original in kept.items():
                os.dup2(original, descriptor)
                os.close(original)


def _checked(path: Path, origin: str) -> Path:
    if not path.is_file():
        raise ValueError(f"SoundFont {path} ({origin}) does not exist. Name an .sf2 or .sf3 file")
    if not _is_soundfont(path):
        raise ValueError(
            f"{path} ({origin}) is not a SoundFont: it does not start with RIFF....sfbk. Name an "
            ".sf2 or .sf3 file"
        )
    return path


def _is_soundfont(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            header = stream.read(12)
    except OSError:
        return False
    return header[:4] == b"RIFF" and header[8:] == b"sfbk"


def _preference(file: Path) -> tuple[int, str]:
    known = PREFERRED.index(file.name) if file.name in PREFERRED else len(PREFERRED)
    return known, file.name
