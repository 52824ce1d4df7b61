"""The blind listening test: its key is right, its page tells nothing, and it takes answers."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model import evaluate
from model.evaluation.listening_test import SECONDS, Excerpt, least_right
from model.networks.checkpoint import write_bundle
from model.rendering.listening_test import write_test_page
from pipeline import preprocess
from pipeline.vocabulary.grammar import END
from pipeline.vocabulary.grid import GridVocabulary
from tests.chromium import open_browser
from tests.model.tiny_run import tiny_bundle

pytestmark = pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="no fluidsynth here")
VOCABULARY = GridVocabulary(steps_per_quarter=1, lowest_pitch=55, highest_pitch=71, voices=2)
SILENT_QUARTERS = slice(12, 20)  # of real pieces: a random network composes no such silence
SOUND = re.compile(r'"data:audio/mpeg;base64,([^"]*)"')


@dataclass(frozen=True)
class Made:
    """A listening test with three excerpts of each kind."""

    page: Path
    key: str
    sounds: list[np.ndarray]  # [num_samples, channels] of each excerpt
    flags: list[str]


def write_run(folder: Path, end_bias: float) -> Path:
    """A network of random weights whose pieces never end, or at once."""
    bundle = tiny_bundle(VOCABULARY)
    bundle.weights["music/logits/bias"][END] = end_bias
    write_bundle(folder / "checkpoints" / "step-00000001", bundle)
    return folder


def write_data(folder: Path) -> Path:
    """Four tunes of 40 quarters in valid and one that is too short, in two voices."""
    tunes = []
    for number in range(4):
        voice = 60 + (np.arange(40) + number) % 7
        frames = np.stack([voice, voice - 4], 1)
        frames[SILENT_QUARTERS] = -1
        tunes.append(frames.tolist())
    path = folder / "tunes-quarter.json"
    path.write_text(json.dumps({"train": [], "valid": [tunes[0][:31], *tunes], "test": []}))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("listening")
    page = folder / "new" / "page.html"
    run = write_run(folder / "some-run", end_bias=-50)
    flags = [str(run), "--data", f"jsb:{write_data(folder)}", "--page", str(page)]
    assert evaluate.main([*flags, "--listening-test", "3"]) == 0
    mp3s = [base64.b64decode(sound) for sound in SOUND.findall(page.read_text())]
    sounds = [soundfile.read(io.BytesIO(mp3), always_2d=True)[0] for mp3 in mp3s]
    return Made(page, page.with_name("page-key.txt").read_text(), sounds, flags)


def test_no_test_replaces_another_without_a_word(
    made: Made,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("model.evaluation.networks.load_tensorflow", interrupt)
    monkeypatch.chdir(tmp_path)
    assert evaluate.main([*made.flags, "--listening-test", "3"]) == 130
    said = " ".join(capsys.readouterr().err.split())
    assert f"{made.page} and page-key.txt of an earlier call will be replaced" in said
    without_page = made.flags[: made.flags.index("--page")]
    for name in ("listening-test.html", "listening-test-2-key.txt"):
        (tmp_path / name).touch()
    assert evaluate.main([*without_page, "--listening-test", "3"]) == 130
    assert "earlier call" not in capsys.readouterr().out  # it may still be refused
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("model.evaluation.listening_test.composed_excerpts", lambda *_: interrupt())
    assert evaluate.main([*without_page, "--listening-test", "3"]) == 130
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "listening-test.html is of an earlier call: this one writes listening-test-3.html" in said
    )


def test_the_key_says_of_each_excerpt_what_its_sound_is(made: Made) -> None:
    letters = []
    for sound in made.sounds:
        quarter = SECONDS / 32 * len(sound) / (SECONDS + 1.5)
        silence = sound[int(14 * quarter) : int(19 * quarter)]  # after the last note died away
        letters.append("R" if np.abs(silence).max() < 0.01 * np.abs(sound).max() else "C")
    answers = "".join(letters)
    assert sorted(answers) == ["C"] * 3 + ["R"] * 3
    assert answers not in ("CCCRRR", "RRRCCC")
    assert f"Right:   {answers[:5]} {answers[5:]}\n" in made.key
    assert "6 or more of 6 right in at most 5%" in made.key
    rows = re.findall(r"^ +(\d) +(composed|real) +piece (\d+) of (valid|seed 1)", made.key, re.M)
    assert [int(number) for number, *_ in rows] == [1, 2, 3, 4, 5, 6]
    assert "".join(kind[0].upper() for _, kind, *_ in rows) == answers
    real = {int(piece) for _, kind, piece, _ in rows if kind == "real"}
    assert len(real) == 3 and real <= {2, 3, 4, 5}  # the first piece is too short


def test_nothing_in_the_page_tells_composed_from_real(made: Made, tmp_path: Path) -> None:
    text = made.page.read_text()
    assert len({len(sound) for sound in SOUND.findall(text)}) == 1  # bytes
    assert len({len(sound) for sound in made.sounds}) == 1  # seconds
    loudness = np.sqrt([np.mean(sound**2) for sound in made.sounds])
    assert loudness.max() < 1.01 * loudness.min()
    # Without the sound, the page is that of any other excerpts.
    write_test_page(tmp_path / "other.html", [b"x"] * 6, SECONDS)
    other = (tmp_path / "other.html").read_text()
    assert SOUND.sub("", text) == SOUND.sub("", other)
    articles = re.findall(r"<article>.*?</article>", SOUND.sub("", text), re.S)
    assert len({re.sub(r"\d+", "", article) for article in articles}) == 1
    assert not re.search(r"some-run|valid|seed|jsb|(https?:)?//\w|url\(", SOUND.sub("", text))
    assert sorted(path.name for path in made.page.parent.iterdir()) == ["page-key.txt", "page.html"]


@pytest.mark.browser
def test_a_listener_plays_and_answers_and_sees_the_text_to_send(made: Made, tmp_path: Path) -> None:
    with open_browser(tmp_path) as browser:
        browser.open(made.page.as_uri())
        answers = "return document.getElementById('answers').value"
        assert browser.run(answers) == "Answers: ----- -"
        audio = "document.querySelectorAll('audio')[{}]"
        browser.press("Tab")  # without a user's deed no page may play sound
        for index in (0, 5):
            browser.run(f"{audio.format(index)}.play()")
            browser.wait(f"return {audio.format(index)}.currentTime > 0.2")
        browser.wait(f"return {audio.format(0)}.paused && !{audio.format(5)}.paused")
        durations = f"return [0, 1, 2, 3, 4, 5].map(i => {audio.format('i')}.duration)"
        browser.wait(f"{durations}.every(one => one > 20)")
        assert len(set(browser.run(durations))) == 1
        for number, letter in ((1, "C"), (2, "R"), (6, "R"), (2, "C")):
            browser.run(
                f"document.querySelector('[name=excerpt-{number}][value={letter}]').click()"
            )
        assert browser.run(answers) == "Answers: CC--- R"
        left = browser.run("return document.getElementById('left').textContent")
        assert left == "3 without an answer."
        browser.take_picture("listening-test")


def test_the_real_excerpts_may_be_of_a_data_set_folder(
    made: Made,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tunes = json.loads(write_data(tmp_path).read_text()) | {"train": [[[60, 55]] * 40]}
    (tmp_path / "tunes-quarter.json").write_text(json.dumps(tunes))
    grid = ["--vocabulary=grid", "--steps-per-quarter=1", "--pitches=55:71", "--voices=2"]
    source, data = f"jsb:{tmp_path / 'tunes-quarter.json'}", str(tmp_path / "data")
    assert preprocess.main([source, *grid, "--processes=1", "--out", data]) == 0
    found: list[Excerpt] = []

    def interrupted(_page: Path, _key: Path, excerpts: list[Excerpt], *_: object) -> None:
        found.extend(excerpts)
        raise KeyboardInterrupt

    monkeypatch.setattr("model.evaluation.listening_test.write_listening_test", interrupted)
    monkeypatch.setattr("model.evaluation.listening_test.composed_excerpts", lambda *_: ([], 0))
    flags = [made.flags[0], "--page", str(tmp_path / "page.html"), "--listening-test", "4"]
    assert evaluate.main([*flags, "--data", data]) == 130
    # The file has -1 for a rest, an excerpt 0; all tunes of 40 quarters differ in their first note.
    expected = [np.maximum(tune[:32], 0).tolist() for tune in tunes["valid"] if len(tune) == 40]
    assert sorted(excerpt.frames.tolist() for excerpt in found) == sorted(expected)
    capsys.readouterr()
    assert evaluate.main([made.flags[0], "--data", data]) == 1
    assert "the protocols are stated for jsb," in capsys.readouterr().err
    events = str(tmp_path / "events")
    assert preprocess.main([source, "--processes=1", "--out", events]) == 0
    capsys.readouterr()
    assert evaluate.main([*flags, "--data", events]) == 1
    assert "events has no frames; make it with: pipeline/pre" in capsys.readouterr().err


def test_what_cannot_be_asked_is_one_line(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*made.flags, "--page", str(tmp_path / "page.html")]
    nowhere = [asked[0], "--data", "jsb:no.json", *asked[3:]]
    ended = [str(write_run(tmp_path / "ended", end_bias=50)), *asked[1:]]
    for flags, said in (
        ([*asked, "--listening-test", "2"], "--listening-test is 2; it must be 3 to 30"),
        ([*asked, "--listening-test", "5"], "4 of the 5 pieces of valid last 32 quarters; 5"),
        ([*ended, "--listening-test", "3"], "of 24 pieces"),
        ([*nowhere, "--listening-test", "3"], "no.json does not exist; needed: Jsb16thSeparated"),
        ([*nowhere, "--listening-test", "3"], ", from github.com/czhuang/JSB-Chorales-dataset"),
    ):
        assert evaluate.main(flags) == 1
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    asked_alone = ["run", "--listening-test", "3"]
    for flags, said in (
        (asked_alone, "Jsb16thSeparated.json from github.com/czhuang/JSB-Chorales-dataset"),
        ([*made.flags], "--page and --soundfont go with --listening-test"),
        ([*made.flags, "--listening-test", "3", "--samples", "2"], "goes without --samples"),
    ):
        with pytest.raises(SystemExit) as end:
            evaluate.parse_arguments(flags)
        assert end.value.code == 2
        assert said in capsys.readouterr().err


def test_guesses_are_seldom_as_good_as_the_number_in_the_key() -> None:
    # Of 6 answers all are right by guessing in 1 of 64 tests, 5 or more in 7 of 64.
    assert least_right(6) == 6
    # Of 10: 9 or more in 11 of 1,024, 8 or more in 56 of 1,024 (5.5 %).
    assert least_right(10) == 9
    assert least_right(20) == 15
