"""The SoundFont that is played with, and what a command says without one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model import evaluate, generate_flags
from model.rendering.audio import check_synthesizer
from model.rendering.soundfonts import find_soundfont
from model.rendering.write_pieces import choose_soundfont

pytestmark = pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="no fluidsynth here")


def test_the_soundfont_asked_for_is_never_replaced_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = find_soundfont()
    with pytest.raises(ValueError, match=r"missing\.sf2 \(--soundfont\) does not exist"):
        find_soundfont(tmp_path / "missing.sf2")
    (tmp_path / "text.sf2").write_text("RIFF, but not a SoundFont")
    with pytest.raises(ValueError, match="is not a SoundFont"):
        find_soundfont(tmp_path / "text.sf2")
    monkeypatch.setenv("SOUNDFONT", str(tmp_path / "other.sf2"))
    with pytest.raises(ValueError, match=r"other\.sf2 \(\$SOUNDFONT\) does not exist"):
        find_soundfont()
    assert find_soundfont(installed) == installed


def test_without_a_soundfont_or_a_synthesizer_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOUNDFONT", raising=False)
    monkeypatch.setattr("model.rendering.soundfonts.SOUNDFONT_FOLDERS", (str(tmp_path),))
    with pytest.raises(ValueError, match="apt install timgm6mb-soundfont"):
        find_soundfont()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="apt install fluidsynth"):
        check_synthesizer()


def test_what_a_command_can_do_without_sound_is_named_by_its_own_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluating = ["run", "--data", "jsb:x", "--listening-test", "3"]
    commands = [
        (generate_flags.parse_arguments(["run"]), ", or leave sound out with --no-wav"),
        (evaluate.parse_arguments(evaluating), ""),
    ]
    monkeypatch.delenv("SOUNDFONT", raising=False)
    monkeypatch.setattr("model.rendering.soundfonts.SOUNDFONT_FOLDERS", (str(tmp_path),))
    for flags, silent in commands:
        with pytest.raises(ValueError) as refused:
            choose_soundfont(flags)
        named = f"or name one with $SOUNDFONT or --soundfont FILE{silent}"
        assert str(refused.value).endswith(named)
    monkeypatch.setenv("PATH", str(tmp_path))
    for flags, silent in commands:
        with pytest.raises(ValueError) as refused:
            choose_soundfont(flags)
        assert str(refused.value).endswith(f"apt install fluidsynth timgm6mb-soundfont){silent}")
