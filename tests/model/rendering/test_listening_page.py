"""The page of composed pieces: its contents, and playing it in Chromium by keyboard alone."""

from __future__ import annotations

import base64
import re
import shutil
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model.rendering import listening_page
from model.rendering.listening_page import write_page
from model.rendering.piece_files import RenderedPiece, Renderer
from pipeline.scores.notes import Score
from tests.chromium import Browser, open_browser

needs_fluidsynth = pytest.mark.skipif(
    shutil.which("fluidsynth") is None, reason="no fluidsynth here"
)
NAMES = ("bwv255", "bwv264")


def made_with_sound(scores: dict[str, Score], folder: Path) -> list[tuple[RenderedPiece, Score]]:
    """Two chorales as pieces whose sound is a tone of their length: no synthesizer is needed."""
    pieces = []
    for name in NAMES:
        score = scores[name]
        piece = Renderer(folder, None, formats=("png",)).render(name, score)
        times = np.arange(int(8000 * score.seconds)) / 8000
        tone = (8000 * np.sin(2 * np.pi * 220 * times)).astype("<i2")
        with wave.open(str(folder / f"{name}.wav"), "wb") as stream:
            stream.setnchannels(1)
            stream.setsampwidth(2)
            stream.setframerate(8000)
            stream.writeframes(tone.tobytes())
        pieces.append((RenderedPiece(**{**vars(piece), "wav": f"{folder / name}.wav"}), score))
    return pieces


@pytest.fixture(scope="module")
def pieces(
    tiny_scores: dict[str, Score], tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[RenderedPiece, Score]]:
    return made_with_sound(tiny_scores, tmp_path_factory.mktemp("made") / "out")


RENDERER = Renderer(Path(), None)
SETTINGS = {"model": "runs/<a>", "seed": 7, "primer": None}


def test_a_page_holds_rolls_sound_settings_and_metrics_and_asks_for_nothing_else(
    pieces: list[tuple[RenderedPiece, Score]], tmp_path: Path
) -> None:
    page = write_page(tmp_path / "new" / "index.html", pieces, SETTINGS, RENDERER)
    assert page.beside == ()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["index.html"]
    text = page.path.read_text()
    sounds = re.findall(r'src="data:audio/wav;base64,([^"]*)"', text)
    assert [base64.b64decode(sound) for sound in sounds] == [
        Path(piece.wav or "").read_bytes() for piece, _ in pieces
    ]
    assert text.count('class="note"') == sum(score.notes.size for _, score in pieces)
    assert "<dt>seed</dt><dd>7</dd>" in text
    assert "runs/&lt;a&gt;" in text
    assert "primer" not in text
    entropy = pieces[0][0].metrics["pitch-class entropy"]
    assert f"<dt>pitch-class entropy</dt><dd>{entropy:.3g}</dd>" in text
    assert "{{" not in text
    without_sound = re.sub(r"data:audio/wav;base64,[^\"]*", "", text)
    assert not re.search(r"(https?:)?//\w|url\(|@import|<link", without_sound)


def test_large_sound_stays_beside_the_page(
    pieces: list[tuple[RenderedPiece, Score]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening_page, "EMBEDDED_MIB", 0)
    folder = Path(pieces[0][0].wav or "").parent
    page = write_page(folder.parent / "index.html", pieces, SETTINGS, RENDERER)
    sources = re.findall(r'<audio[^>]* src="([^"]*)"', page.path.read_text())
    assert sources == [f"out/{name}.wav" for name in NAMES]
    assert all((page.path.parent / source).is_file() for source in sources)
    assert "send its 2 WAV" in page.report()


# In Chromium ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def window(
    pieces: list[tuple[RenderedPiece, Score]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """The page, opened as a file."""
    folder = tmp_path_factory.mktemp("page")
    page = write_page(folder / "index.html", pieces, SETTINGS, RENDERER)
    with open_browser(folder / "profile") as browser:
        browser.open(page.path.as_uri())
        yield browser


CURSOR = "Number(document.querySelectorAll('.cursor')[{}].getAttribute('x1'))"
AUDIO = "document.querySelectorAll('audio')[{}]"


@pytest.mark.browser
def test_it_plays_and_its_cursor_moves_by_keyboard_alone(
    window: Browser, pieces: list[tuple[RenderedPiece, Score]]
) -> None:
    window.press("Tab")
    assert window.run("return document.activeElement.getAttribute('aria-label')") == (
        "Piano roll of bwv255"
    )
    assert window.run(f"return {CURSOR.format(0)}") == 0
    window.press("Space")
    window.wait(f"return {AUDIO.format(0)}.currentTime > 0.5 && {CURSOR.format(0)} > 5")
    assert "playing" in window.run("return document.activeElement.getAttribute('aria-valuetext')")
    window.take_picture("listening-page")
    window.press("Space")
    window.wait(f"return {AUDIO.format(0)}.paused")
    score = pieces[0][1]
    window.press("Home", "Right", "Right")  # two bars of four quarters
    window.wait(f"return Math.abs({AUDIO.format(0)}.currentTime - {8 * 60 / score.tempo}) < 0.01")
    width = window.run("return document.querySelector('.roll svg').viewBox.baseVal.width")
    assert window.run(f"return {CURSOR.format(0)}") == pytest.approx(
        width * 8 * score.resolution / score.end, rel=0.01
    )
    window.press("End")
    window.wait(f"return Math.abs({CURSOR.format(0)} - {width}) < {width / 100}")
    assert window.run("return document.activeElement.getAttribute('aria-valuenow')") == (
        f"{score.seconds:.1f}"
    )


@pytest.mark.browser
def test_one_piece_plays_at_a_time_and_a_click_goes_there(window: Browser) -> None:
    for index in (0, 1):
        window.run(
            f"const roll = document.querySelectorAll('.roll')[{index}];"
            "const box = roll.querySelector('svg').getBoundingClientRect();"
            "roll.querySelector('svg').dispatchEvent(new MouseEvent('click', "
            "{bubbles: true, clientX: box.left + box.width / 4}))"
        )
        window.wait(
            f"return !{AUDIO.format(index)}.paused && {AUDIO.format(index)}.currentTime > 0"
        )
        share = f"{AUDIO.format(index)}.currentTime / {AUDIO.format(index)}.duration"
        assert 0.24 < window.run(f"return {share}") < 0.9
    assert window.run(f"return {AUDIO.format(0)}.paused")
