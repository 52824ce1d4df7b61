"""MIDI to WAV through FluidSynth, checked before and after: FluidSynth itself reports little."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.runtime.files import new_file

SAMPLE_RATE = 44100
FULL_SCALE = 32767  # of 16-bit samples
BLOCK_FRAMES = 2**18  # 6 s: an hour of live music would take 2 GB of memory at once
LOUDEST = 10 ** (-1 / 20)  # of full scale: -1 dB leaves room for the peaks between samples
# Of full scale: -140 dB. Without any sound FluidSynth's reverb leaves -150 dB; a note of velocity 1
# in the middle of an instrument's range has -120 dB or more.
SILENCE = 1e-7
# FluidSynth stops within a second of the last note, or later if a long release dies away.
SHORTEST_TAIL, LONGEST_TAIL = -0.1, 30.0


@dataclass(frozen=True)
class Sound:
    """The length and the loudness of a rendered WAV file."""

    seconds: float
    peak: float  # of full scale, 0 to 1


def check_synthesizer(or_else: str = "") -> None:
    """Raise ValueError unless the FluidSynth program is installed.

    `or_else` says what else the command can do.
    """
    if shutil.which("fluidsynth") is None:
        raise ValueError(
            "FluidSynth is not installed, so MIDI cannot become sound. Install it (Debian, Ubuntu: "
            f"apt install fluidsynth timgm6mb-soundfont){or_else}"
        )


def render_wav(midi_path: Path, wav_path: Path, soundfont: Path, seconds: float) -> Sound:
    """Render a MIDI file that lasts `seconds`; the length and peak of the WAV file, 16 bits.

    FluidSynth renders in floating point, at about -20 dB of full scale for a chorale, at -110 dB
    for a piano note of velocity 1. The peak of every file is -1 dB: audible, and never clipped. The
    file gets its name only after it has been checked. Raises OSError if it cannot be written whole,
    ValueError if it is silent or does not last as long as the music.
    """
    from midi2audio import FluidSynth

    rendered = wav_path.with_name(f"{wav_path.stem}.rendered.wav").resolve()
    synthesizer = FluidSynth(str(soundfont.resolve()), SAMPLE_RATE)
    try:
        with own_settings(), captured_output() as read_output:
            synthesizer.midi_to_audio(str(midi_path.resolve()), str(rendered))
            output = read_output()
        errors = [line for line in output.splitlines() if "error:" in line]
        if errors or not rendered.is_file():
            reason = errors[0].split("error:", 1)[1].strip() if errors else "nothing was written"
            raise OSError(f"FluidSynth could not write {wav_path}: {reason.rstrip('.')}")
        samples = _read_samples(rendered, wav_path)
    finally:
        rendered.unlink(missing_ok=True)  # before the WAV file is written: that needs half the room
    return _write_loud(samples, _checked_peak(samples, wav_path, seconds), wav_path)


def make_loud(wav_path: Path) -> None:
    """Bring a sound file of FluidSynth's to the peak that `render_wav` gives; not a silent one.

    Raises OSError if it is no sound file, or on a full disk; the file is then as before.
    """
    import soundfile

    try:
        with soundfile.SoundFile(wav_path) as sound:
            peak = max((float(np.abs(block).max()) for block in _blocks(sound)), default=0.0)
            if peak < SILENCE:
                return
            sound.seek(0)
            # Not by soundfile, which does not say why a disk did not take it.
            with (
                new_file(wav_path) as partial,
                partial.open("wb") as stream,
                wave.open(stream, "wb") as louder,
            ):
                louder.setparams((sound.channels, 2, sound.samplerate, 0, "NONE", ""))
                for block in _blocks(sound):
                    louder.writeframes(_loud(block, peak).tobytes())
    except soundfile.SoundFileError as error:
        raise OSError(f"FluidSynth wrote no sound file for {wav_path}: {error}") from None
    except OSError as error:
        raise OSError(f"could not write {wav_path}: {error.strerror or error}") from error


def _blocks(sound: Any) -> Iterator[np.ndarray]:
    """Samples [BLOCK_FRAMES, channels] float32 of an open sound file; the last block is shorter."""
    return sound.blocks(BLOCK_FRAMES, dtype="float32", always_2d=True)


def _write_loud(samples: np.ndarray, peak: float, wav_path: Path) -> Sound:
    """Write samples [num_frames, channels] float32 of this peak with a peak of LOUDEST."""
    integers = _loud(samples, peak)
    _write_wav(integers, wav_path)
    return Sound(len(samples) / SAMPLE_RATE, int(np.abs(integers).max()) / (FULL_SCALE + 1))


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Let programs started inside the block find our settings of FluidSynth, not the user's.

    FluidSynth runs the commands in ~/.fluidsynth, which may change the sound or fail. midi2audio
    passes it no options, so the home folder is another one for as long as it runs.
    """
    before = {name: os.environ.get(name) for name in ("HOME", "PULSE_RUNTIME_PATH")}
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / ".fluidsynth").write_text("set audio.file.format float\n")
        # PulseAudio's library would leave a folder in the temp folder for every new home.
        os.environ.update(dict.fromkeys(before, home))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _loud(samples: np.ndarray, peak: float) -> np.ndarray:
    """The samples as int16; those of the magnitude `peak` become LOUDEST."""
    return np.rint(samples * np.float32(LOUDEST / peak * FULL_SCALE)).astype("<i2")


def _read_samples(rendered: Path, wav_path: Path) -> np.ndarray:
    """Samples [num_frames, channels] float32 of a sound file, 1.0 for full scale.

    Raises OSError if it is no sound file.
    """
    import soundfile

    try:
        return soundfile.read(rendered, dtype="float32", always_2d=True)[0]
    except soundfile.SoundFileError as error:
        raise OSError(f"FluidSynth wrote no sound file for {wav_path}: {error}") from None


def as_mp3(wav_path: Path) -> bytes:
    """The sound as MP3 of about 80 kbit/s, which every browser plays; the same bytes each time."""
    import soundfile

    # As floats: libsndfile 1.2.2 turns 16-bit stereo into noise (its pull request 1106).
    samples, rate = soundfile.read(wav_path, dtype="float32", always_2d=True)
    return encode_sound(samples, rate, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5)


def write_mp3(wav_path: Path, mp3_path: Path) -> None:
    """Write the sound as MP3 (`as_mp3`), whole or not at all. Raises OSError on a full disk."""
    with new_file(mp3_path) as partial:
        partial.write_bytes(as_mp3(wav_path))


def encode_sound(samples: np.ndarray, rate: int, **options: Any) -> bytes:
    """Samples [num_frames, channels] int16 or float32 as the bytes of a sound file."""
    import soundfile

    # In memory: soundfile does not say why a disk did not take it.
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **options)
    return buffer.getvalue()


def _checked_peak(samples: np.ndarray, wav_path: Path, seconds: float) -> float:
    """The largest magnitude of samples [num_frames, channels].

    Raises ValueError unless they are audible and last as long as the music.
    """
    found = len(samples) / SAMPLE_RATE
    if not seconds + SHORTEST_TAIL <= found <= seconds + LONGEST_TAIL:
        raise ValueError(
            f"{wav_path} would last {found:.1f} s for {seconds:.1f} s of music: it was cut or got "
            "stuck. Is the disk full?"
        )
    peak = float(np.abs(samples).max(initial=0))
    if peak < SILENCE:
        raise ValueError(
            f"{wav_path} would be silent: the SoundFont has no sound for these instruments and "
            "keys. Name another SoundFont"
        )
    return peak


def _write_wav(samples: np.ndarray, wav_path: Path) -> None:
    """Write samples [num_frames, channels] int16: whole or not at all. Raises OSError."""
    try:
        with new_file(wav_path) as partial:
            partial.write_bytes(encode_sound(samples, SAMPLE_RATE, format="WAV", subtype="PCM_16"))
    except OSError as error:
        raise OSError(f"could not write {wav_path}: {error.strerror or error}") from error


@contextlib.contextmanager
def captured_output() -> Iterator[Callable[[], str]]:
    """A function that reads what programs started inside the block have written so far.

    midi2audio passes its own output streams on and drops the exit code, which is 0 even on a full
    disk: FluidSynth's messages are the only sign of an error.
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
