"""The page of a blind listening test: excerpts that differ in their music alone."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model.rendering.audio import SAMPLE_RATE, encode_sound, render_wav
from model.rendering.listening_page import data_url, write_from_template
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import Score, sort_notes

TEMPLATE = Path(__file__).with_name("listening_test.html")
PIANO = 0  # the General MIDI program that plays all voices
TAIL_SECONDS = 1.5  # in which the last notes die away
# 96 kbit/s: with a variable rate the size of a file would say something of its music.
MP3 = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.75}


def render_alike(scores: Sequence[Score], seconds: float, soundfont: Path) -> list[bytes]:
    """The scores as MP3 files of one length, one size and one loudness, played by one piano.

    `seconds` is the length of each score, whose last notes may end before. The loudness is the root
    mean square of the samples: that of the softest one, so that none is clipped. Raises OSError and
    ValueError as `render_wav` does.
    """
    import soundfile

    num_samples = round((seconds + TAIL_SECONDS) * SAMPLE_RATE)
    sounds = []
    with tempfile.TemporaryDirectory() as folder:
        midi, wav = Path(folder) / "excerpt.mid", Path(folder) / "excerpt.wav"
        for score in scores:
            notes = score.notes.copy()
            notes["program"] = PIANO
            played = Score(sort_notes(notes), score.resolution, score.tempo)
            write_midi(played, midi)
            render_wav(midi, wav, soundfont, played.seconds)
            samples = soundfile.read(wav, dtype="float32", always_2d=True)[0][:num_samples]
            missing = num_samples - len(samples)
            sounds.append(np.pad(samples, [(0, missing), (0, 0)]))
    loudness = [float(np.sqrt(np.mean(np.square(samples)))) for samples in sounds]
    return [
        encode_sound(samples * np.float32(min(loudness) / loud), SAMPLE_RATE, **MP3)
        for samples, loud in zip(sounds, loudness, strict=True)
    ]


def write_test_page(path: Path, mp3s: Sequence[bytes], seconds: float) -> None:
    """Write the page that plays the excerpts and collects the listener's answers. OSError.

    Of an excerpt it has the place in the page and the sound, nothing else.
    """
    excerpts = [_excerpt(number, data_url("audio/mpeg", mp3)) for number, mp3 in enumerate(mp3s, 1)]
    parts = {"count": str(len(mp3s)), "seconds": f"{seconds:.0f}", "excerpts": "\n".join(excerpts)}
    write_from_template(path, TEMPLATE, parts)


def _excerpt(number: int, source: str) -> str:
    answers = "\n".join(
        f'<label><input type="radio" name="excerpt-{number}" value="{letter}"> {name}</label>'
        for letter, name in (("C", "composed by the program"), ("R", "real"))
    )
    return f"""<article>
<h2>Excerpt {number}</h2>
<audio controls preload="metadata" aria-label="Player of excerpt {number}" src="{source}"></audio>
<fieldset aria-label="Answer to excerpt {number}">
{answers}
</fieldset>
</article>"""
