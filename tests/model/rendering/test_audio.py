"""MIDI to WAV through the real FluidSynth: checked before, checked after."""

from __future__ import annotations

import os
import shutil
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest

from model import evaluate, generate_flags
from model.live.players import SynthPlayer
from model.rendering.audio import (
    SAMPLE_RATE,
    check_synthesizer,
    encode_sound,
    make_loud,
    render_wav,
)
from model.rendering.soundfonts import find_soundfont
from model.rendering.write_pieces import choose_soundfont
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import DRUMS, Score, make_notes
from tests.model.tiny_run import small_disk

pytestmark = pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="no fluidsynth here")

CHORD = Score(make_notes([(0, 0, pitch, 8, 80) for pitch in (60, 64, 67)]), 4, 120.0)


@pytest.fixture(scope="module")
def soundfont() -> Path:
    return find_soundfont()


@pytest.fixture
def chord(tmp_path: Path) -> Path:
    """A MIDI file of one second."""
    write_midi(CHORD, tmp_path / "chord.mid")
    return tmp_path / "chord.mid"


def test_the_wav_lasts_as_long_as_the_music_and_is_heard(chord: Path, soundfont: Path) -> None:
    target = chord.with_suffix(".wav")
    sound = render_wav(chord, target, soundfont, CHORD.seconds)
    with wave.open(str(target)) as stream:
        samples = np.frombuffer(stream.readframes(stream.getnframes()), "<i2")
        assert stream.getnframes() / stream.getframerate() == pytest.approx(sound.seconds)
    assert 1.0 <= sound.seconds < 6.0
    assert np.abs(samples.astype(int)).max() / 32768 == pytest.approx(sound.peak)
    assert sound.peak > 0.01
    assert sorted(path.name for path in chord.parent.iterdir()) == ["chord.mid", "chord.wav"]


def test_fluidsynth_does_not_talk_over_the_command(
    chord: Path, soundfont: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    print("before")
    render_wav(chord, chord.with_suffix(".wav"), soundfont, CHORD.seconds)
    print("after")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("before\nafter\n", "")


def test_a_full_disk_is_named_and_leaves_no_wav(chord: Path, soundfont: Path) -> None:
    with small_disk(chord.parent / "disk", 200_000) as disk:
        with pytest.raises(OSError, match=r"chord\.wav: .*No space left on device"):
            render_wav(chord, disk / "chord.wav", soundfont, CHORD.seconds)
        assert not list(disk.iterdir())


def test_a_wav_much_shorter_than_the_music_is_refused(chord: Path, soundfont: Path) -> None:
    with pytest.raises(ValueError, match=r"would last .* for 100\.0 s of music"):
        render_wav(chord, chord.with_suffix(".wav"), soundfont, 100.0)
    assert not chord.with_suffix(".wav").exists()


def test_only_a_piece_without_any_sound_is_refused_as_silent(
    tmp_path: Path, soundfont: Path
) -> None:
    # General MIDI has no percussion on key 5.
    score = Score(make_notes([(0, DRUMS, 5, 8, 127)]), 4, 120.0)
    write_midi(score, tmp_path / "silent.mid")
    with pytest.raises(ValueError, match=r"silent: .* Name another SoundFont"):
        render_wav(tmp_path / "silent.mid", tmp_path / "silent.wav", soundfont, score.seconds)
    assert not (tmp_path / "silent.wav").exists()

    for velocity in (1, 10):
        quiet = CHORD.notes.copy()
        quiet["velocity"] = velocity
        write_midi(Score(quiet, 4, 120.0), tmp_path / f"{velocity}.mid")
        wav = tmp_path / f"{velocity}.wav"
        sound = render_wav(tmp_path / f"{velocity}.mid", wav, soundfont, CHORD.seconds)
        assert sound.peak == pytest.approx(10 ** (-1 / 20), rel=0.01)


def test_a_broken_soundfont_is_named_by_what_fluidsynth_says(chord: Path, soundfont: Path) -> None:
    broken = chord.with_name("broken.sf2")
    broken.write_bytes(soundfont.read_bytes()[:4000])
    with pytest.raises(OSError, match="FluidSynth could not write"):
        render_wav(chord, chord.with_suffix(".wav"), broken, CHORD.seconds)


def test_the_soundfont_asked_for_is_never_replaced_by_another(
    tmp_path: Path, soundfont: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"missing\.sf2 \(--soundfont\) does not exist"):
        find_soundfont(tmp_path / "missing.sf2")
    (tmp_path / "text.sf2").write_text("RIFF, but not a SoundFont")
    with pytest.raises(ValueError, match="is not a SoundFont"):
        find_soundfont(tmp_path / "text.sf2")
    monkeypatch.setenv("SOUNDFONT", str(tmp_path / "other.sf2"))
    with pytest.raises(ValueError, match=r"other\.sf2 \(\$SOUNDFONT\) does not exist"):
        find_soundfont()
    assert find_soundfont(soundfont) == soundfont


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


# FluidSynth's own settings and loudness ----------------------------------------------------------


@pytest.fixture
def home_with_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home folder whose ~/.fluidsynth changes the gain and holds a mistake."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".fluidsynth").write_text("set synth.gain 5\ngain 5\nset no.such thing\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_users_fluidsynth_settings_change_nothing(
    chord: Path, soundfont: Path, home_with_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(home_with_settings.parent / "temp"))
    (home_with_settings.parent / "temp").mkdir()
    render_wav(chord, chord.with_name("with.wav"), soundfont, CHORD.seconds)
    assert not list((home_with_settings.parent / "temp").iterdir())
    broken = chord.with_name("broken.sf2")
    broken.write_bytes(soundfont.read_bytes()[:4000])
    with pytest.raises(OSError, match="could not write") as with_settings:
        render_wav(chord, chord.with_name("x.wav"), broken, CHORD.seconds)
    assert os.environ["HOME"] == str(home_with_settings)
    monkeypatch.setenv("HOME", str(chord.parent / "empty"))
    render_wav(chord, chord.with_name("without.wav"), soundfont, CHORD.seconds)
    assert chord.with_name("with.wav").read_bytes() == chord.with_name("without.wav").read_bytes()
    with pytest.raises(OSError, match="could not write") as without:
        render_wav(chord, chord.with_name("x.wav"), broken, CHORD.seconds)
    assert str(with_settings.value) == str(without.value)


def test_a_users_fluidsynth_settings_do_not_change_live_sound(
    tmp_path: Path, soundfont: Path, home_with_settings: Path
) -> None:
    pytest.importorskip("fluidsynth")
    player = SynthPlayer(soundfont, "file", tmp_path / "live.wav")
    assert player._synth.get_setting("synth.gain") == 0.5
    player.close()


@pytest.mark.parametrize(
    ("num_programs", "pitches", "velocity"),
    [(1, range(60, 61), 20), (1, range(60, 72, 4), 80), (15, range(36, 96), 127)],
)
def test_quiet_and_loud_music_peaks_at_minus_1_db_and_is_not_clipped(
    num_programs: int, pitches: range, velocity: int, tmp_path: Path, soundfont: Path
) -> None:
    rows = [
        (0, program, pitch, 16, velocity) for program in range(num_programs) for pitch in pitches
    ]
    score = Score(make_notes(rows), 4, 120.0)
    write_midi(score, tmp_path / "music.mid")
    sound = render_wav(tmp_path / "music.mid", tmp_path / "music.wav", soundfont, score.seconds)
    with wave.open(str(tmp_path / "music.wav")) as stream:
        samples = np.frombuffer(stream.readframes(stream.getnframes()), "<i2").astype(int)
    assert np.count_nonzero(np.abs(samples) >= 32767) == 0
    assert 20 * np.log10(np.abs(samples).max() / 32768) == pytest.approx(-1, abs=0.01)
    assert sound.peak == np.abs(samples).max() / 32768


def test_a_long_recording_becomes_loud_without_being_held_in_memory(tmp_path: Path) -> None:
    file, seconds = tmp_path / "live.wav", 120
    quiet = np.zeros((seconds * SAMPLE_RATE, 2), np.int16)
    quiet[5], quiet[-3] = 100, -200  # in the first block, and in the last one
    file.write_bytes(encode_sound(quiet, SAMPLE_RATE, format="WAV", subtype="PCM_16"))
    tracemalloc.start()
    try:
        make_loud(file)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < quiet.nbytes / 2  # whole it would be three times as much: floats beside integers
    with wave.open(str(file)) as stream:
        assert (stream.getframerate(), stream.getnchannels()) == (SAMPLE_RATE, 2)
        louder = np.frombuffer(stream.readframes(stream.getnframes()), "<i2").reshape(-1, 2)
    assert len(louder) == len(quiet)
    # 32767 x 10 ** (-1 / 20) = 29203.5, and half of it
    assert set(louder[-3]) <= {-29203, -29204} and set(louder[5]) <= {14601, 14602}
    assert np.count_nonzero(louder) == 4
    make_loud(file)
    assert [path.name for path in tmp_path.iterdir()] == ["live.wav"]


def test_a_disk_without_room_for_a_louder_recording_keeps_the_quiet_one(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 400_000) as disk:
        quiet = np.full((60_000, 2), 100, np.int16)
        before = encode_sound(quiet, SAMPLE_RATE, format="WAV", subtype="PCM_16")
        (disk / "live.wav").write_bytes(before)
        with pytest.raises(OSError, match=r"could not write .*live\.wav: No space left"):
            make_loud(disk / "live.wav")
        assert [path.read_bytes() for path in disk.iterdir()] == [before]
