"""The page of composed pieces: its contents, and playing it in Chromium by keyboard alone."""

from __future__ import annotations

import base64
import io
import re
import shutil
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.rendering import listening_page
from model.rendering.listening_page import write_page
from model.rendering.piece_files import RenderedPiece, Renderer
from pipeline.scores.notes import Score, make_notes, sort_notes
from pipeline.scores.parts import Parts
from tests.chromium import Browser, open_browser

needs_fluidsynth = pytest.mark.skipif(
    shutil.which("fluidsynth") is None, reason="no fluidsynth here"
)
NAMES = ("bwv255", "bwv264")
PARTS = Parts(names={40: "High <voice>", 43: "Bass"})
FADING = 1.5  # seconds of sound after the end of the notes
RENDERER = Renderer(Path(), None, PARTS)


def renderer_of(folder: Path) -> Renderer:
    return Renderer(folder, None, PARTS, formats=("mid", "png"))


def made_with_sound(scores: dict[str, Score], folder: Path) -> list[tuple[RenderedPiece, Score]]:
    """Two chorales as pieces whose sound is a tone of their length: no synthesizer is needed.

    The voices of the first one are instruments of their own.
    """
    pieces = []
    for name in NAMES:
        score = scores[name]
        if name == NAMES[0]:
            notes = score.notes.copy()
            notes["program"] = np.where(notes["pitch"] < 60, 43, 40)
            score = Score(sort_notes(notes), score.resolution, score.tempo)
        piece = renderer_of(folder).render(name, score)
        times = np.arange(int(8000 * (score.seconds + FADING))) / 8000
        tone = (8000 * np.sin(2 * np.pi * 220 * times)).astype("<i2")
        with wave.open(str(folder / f"{name}.wav"), "wb") as stream:
            stream.setnchannels(2)
            stream.setsampwidth(2)
            stream.setframerate(8000)
            stream.writeframes(np.stack([tone, tone], axis=1).tobytes())
        pieces.append((RenderedPiece(**{**vars(piece), "wav": f"{folder / name}.wav"}), score))
    return pieces


@pytest.fixture(scope="module")
def pieces(
    tiny_scores: dict[str, Score], tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[RenderedPiece, Score]]:
    return made_with_sound(tiny_scores, tmp_path_factory.mktemp("made") / "out")


SETTINGS = {"model": "<a>", "seed": 7, "top_p": 0.9, "primer": None}


def contents(text: str, kind: str) -> list[bytes]:
    """What the page holds as data of a kind."""
    return [base64.b64decode(data) for data in re.findall(rf'"data:{kind};base64,([^"]*)"', text)]


def test_a_page_holds_rolls_sound_settings_and_metrics_and_asks_for_nothing_else(
    pieces: list[tuple[RenderedPiece, Score]], tmp_path: Path
) -> None:
    page = write_page(tmp_path / "new" / "index.html", pieces, SETTINGS, RENDERER)
    assert page.beside == ()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["index.html"]
    text = page.path.read_text()
    for sound, (piece, _) in zip(contents(text, "audio/mpeg"), pieces, strict=True):
        samples, rate = soundfile.read(io.BytesIO(sound))
        original, original_rate = soundfile.read(piece.wav)
        assert (len(samples), rate) == (len(original), original_rate)
        assert np.sqrt(np.mean((samples - original) ** 2)) < 0.01  # of a tone of 0.24
        assert len(sound) < 0.3 * len(Path(piece.wav or "").read_bytes())
    assert contents(text, "audio/midi") == [Path(p.midi or "").read_bytes() for p, _ in pieces]
    assert f"{len(text) / 1e6:.1f} MB" in page.report()
    assert text.count('class="note"') == sum(score.notes.size for _, score in pieces)
    assert "<dt>seed</dt><dd>7</dd>" in text
    assert "<dt>model</dt><dd>&lt;a&gt;</dd>" in text
    assert "<dt>top p</dt><dd>0.9</dd>" in text
    assert "primer" not in text
    assert "High &lt;voice&gt;</span>" in text and ">Bass</span>" in text
    assert f"probably in\n{pieces[0][0].key}" in text
    for piece, _ in pieces:  # what the player shows
        minutes, seconds = divmod(int(piece.seconds + FADING), 60)
        assert f" bars, {minutes}:{seconds:02d} until the last sound has faded, prob" in text
    assert str(tmp_path) not in text and str(Path(pieces[0][0].wav or "").parent) not in text
    entropy = pieces[0][0].metrics["pitch-class entropy"]
    assert f"<dt>pitch-class entropy</dt><dd>{entropy:.3g}</dd>" in text
    assert "{{" not in text
    without_sound = re.sub(r"data:audio/\w+;base64,[^\"]*", "", text)
    again = write_page(tmp_path / "again.html", pieces, SETTINGS, RENDERER)
    assert again.path.read_text() == text
    assert not re.search(r"(https?:)?//\w|url\(|@import|<link", without_sound)


def test_large_sound_stays_beside_the_page(
    pieces: list[tuple[RenderedPiece, Score]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening_page, "EMBEDDED_MIB", 0)
    folder = Path(pieces[0][0].wav or "").parent
    page = write_page(folder.parent / "index.html", pieces, SETTINGS, RENDERER)
    sources = re.findall(r'<audio[^>]* src="([^"]*)"', page.path.read_text())
    assert sources == [f"out/{name}.mp3" for name in NAMES]
    assert all((page.path.parent / source).is_file() for source in sources)
    assert "send the 2 MP3 files beside it" in page.report()


def test_a_note_with_room_is_named_as_the_key_spells_it(tmp_path: Path) -> None:
    scale = (65, 67, 69, 70, 72, 74, 76, 77)  # F major, with a B flat
    rows = [(4 * place, 0, pitch, 4, 80) for place, pitch in enumerate(scale)]
    score = Score(make_notes([*rows, (32, 0, 65, 64, 80)]), 4)
    piece = renderer_of(tmp_path).render("scale", score)
    soundfile.write(tmp_path / "scale.wav", np.zeros(8000), 8000)
    piece = RenderedPiece(**{**vars(piece), "wav": str(tmp_path / "scale.wav")})
    text = write_page(tmp_path / "page.html", [(piece, score)], {}, RENDERER).path.read_text()
    assert re.findall(r">([A-G][♯♭]?)</text>", text.partition('class="roll"')[2]) == [
        *("F", "G", "A", "B♭", "C", "D", "E", "F"),
        "F",
    ]
    column = re.findall(r">([A-G]\d?)</text>", text.partition('class="roll"')[0])
    assert column[:6] == ["E", "F", "G", "A", "B", "C5"]


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
    window.press("Tab", "Tab")
    assert window.run("return document.activeElement.getAttribute('aria-label')") == (
        "Piano roll of piece 1"
    )
    assert window.run(f"return {CURSOR.format(0)}") == 0
    hrefs = window.run("return [...document.querySelectorAll('a.sound')].map(a => a.href)")
    assert hrefs == [window.run(f"return {AUDIO.format(index)}.src") for index in (0, 1)]
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
        share = f"{AUDIO.format(index)}.currentTime / ({AUDIO.format(index)}.duration - {FADING})"
        assert 0.24 < window.run(f"return {share}") < 0.9
    assert window.run(f"return {AUDIO.format(0)}.paused")
