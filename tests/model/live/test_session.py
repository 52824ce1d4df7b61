"""Music played while it is composed: the notes, their times, and the end."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest

from model.composing.composer import Composer
from model.composing.pieces import NEVER, Length
from model.composing.sampling import Sampling
from model.generate import main
from model.live.clock import OFF, ON, KeyEvent, MusicClock
from model.live.composing_ahead import Passage, compose_on
from model.live.keys import Controls, Keyboard, keyboard
from model.live.players import ChannelPlayer, Player
from model.live.stage import Stage, StopAt
from model.networks.checkpoint import step_folder
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import DRUMS, Score, make_notes
from pipeline.scores.parts import Parts
from pipeline.scores.reading import read_score
from pipeline.vocabulary.grid import GridVocabulary
from tests.conftest import REPOSITORY
from tests.model.live import virtual_ports as live_ports
from tests.model.tiny_run import VOCABULARY, write_tiny_run

BAR = 4 * VOCABULARY.steps_per_quarter
FAST = ("--tempo", "1000")  # a bar in a quarter of a second


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_run(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def composer(run_dir: Path) -> Composer:
    return Composer.load(step_folder(run_dir, 1))


@pytest.fixture()
def ports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """mido with ports inside this process, by its own means of choosing a backend."""
    before = mido.backend
    mido.set_backend("tests.model.live.virtual_ports")
    for kept in (live_ports.sent, live_ports.to_come, live_ports.closed):
        kept.clear()
    yield
    mido.set_backend(before)


def lines_of(text: str) -> list[dict[str, Any]]:
    """The events of `--live stdout`; the last line says that all keys are up."""
    events = [json.loads(line) for line in text.splitlines()]
    assert events.pop() == {"event": "all_notes_off"}
    return events


def still_down(events: list[dict[str, Any]]) -> set[int]:
    """The keys that are struck and not released."""
    down: set[int] = set()
    for event in events:
        (down.add if event["event"] == "note_on" else down.discard)(event["pitch"])
    return down


class Listener(Player):
    """Keeps the events that it is asked to play."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[KeyEvent] = []

    def _play(self, event: KeyEvent, seconds: float) -> None:
        self.heard.append(event)

    def close(self, seconds: float = 0.0) -> None:
        self.release(seconds)


def stage_for(player: Player, tempo: float = 1000.0) -> Stage:
    controls = Controls(Sampling(), tempo)
    return Stage(player, controls, Keyboard(controls, None), 0.1)


def clock_at(tempo: float) -> Any:
    return lambda now: MusicClock(4, tempo, now)


# What is played -----------------------------------------------------------------------------------


def test_live_music_is_the_piece_that_the_seed_composes(
    run_dir: Path, composer: Composer, capsys: pytest.CaptureFixture[str]
) -> None:
    (piece,) = composer.compose([0], Sampling(), Length(), seed=5)
    notes = composer.score(piece, Length(), 1000.0).notes
    assert main([str(run_dir), "--live", "stdout", "--bars", "4", "--seed", "5", *FAST]) == 0
    events = lines_of(capsys.readouterr().out)
    struck = [(e["step"], e["pitch"]) for e in events if e["event"] == "note_on"]
    expected = [(n["onset"], n["pitch"]) for n in notes if n["onset"] < 4 * BAR]
    assert len(expected) > 4
    assert struck[: len(expected)] == expected  # a short piece is followed by the next one
    assert max(step for step, _ in struck) < 4 * BAR
    assert still_down(events) == set()
    seconds = [event["seconds"] for event in events]
    assert seconds == sorted(seconds)
    for event in events:
        if event["event"] == "note_on":
            due = event["step"] / 12 * 60 / 1000
            assert event["seconds"] == pytest.approx(due, abs=0.5)


def test_piece_follows_piece_at_a_bar_line_and_nothing_is_left_out(composer: Composer) -> None:
    pieces = composer.compose([0, 1, 2], Sampling(), Length(), seed=3)
    expected, start = [], 0
    for piece in pieces:
        notes = composer.score(piece, Length(), 100.0).notes
        expected += [(start + n["onset"], n["pitch"]) for n in notes]
        start += -(-int((notes["onset"] + notes["duration"]).max()) // BAR) * BAR
    played: list[KeyEvent] = []
    for passage in compose_on(composer, Sampling, 3, None, BAR):
        played += passage.events
        if passage.horizon > start:
            break
    assert played == sorted(played)
    struck = [(event.step, event.pitch) for event in played if event.kind == ON]
    assert struck[: len(expected)] == expected
    releases = sum(event.kind == OFF and event.step <= start for event in played)
    assert releases == len(expected)


def test_a_primer_is_played_and_gone_on_from(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--primer", "C4 E4 G4", "--bars", "1", "--seed", "1", "--live", "stdout", *FAST]
    assert main([str(run_dir), *flags]) == 0
    events = lines_of(capsys.readouterr().out)
    struck = [(e["step"], e["pitch"]) for e in events if e["event"] == "note_on"]
    assert [note for note in struck if note[0] < 24] == [(0, 60), (12, 64)]
    assert (24, 67) in struck  # what is composed may sound with it, below it too
    assert all(step < BAR for step, _ in struck)


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="no fluidsynth here")
def test_fluidsynth_inside_the_process_makes_sound_from_the_start(
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/live.wav").touch()
    flags = ["--live", "synth", "--audio-driver", "file"]
    assert main([str(run_dir), *flags, "--seconds", "1.5", "--seed", "1"]) == 0
    said = capsys.readouterr().err
    assert "out holds live.wav of an earlier call: this one writes to out-2" in said
    assert "the sound is in out-2/live.wav" in said
    with wave.open(str(tmp_path / "out-2/live.wav")) as stream:
        seconds = stream.getnframes() / stream.getframerate()
        samples = np.frombuffer(stream.readframes(stream.getnframes()), "<i2")
    assert 1.0 < seconds < 10.0
    assert np.abs(samples[: samples.size // 2].astype(int)).max() > 300
    peak = np.abs(samples.astype(int)).max()
    assert peak == pytest.approx(10 ** (-1 / 20) * 32767, abs=1)  # -1 dB, as of pieces in files


# Ports --------------------------------------------------------------------------------------------


def test_a_midi_port_is_found_by_part_of_its_name_and_left_silent(
    run_dir: Path, ports: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--list-ports"]) == 0
    said = capsys.readouterr().out
    assert "output (--live port:NAME)  Tone Generator 1" in said
    assert "input  (--input NAME)      Stage Keys 1" in said
    flags = ["--live", "port:Generator", "--bars", "1", "--seed", "1", *FAST]
    assert main([str(run_dir), *flags]) == 0
    kinds = [message.type for message in live_ports.sent]
    assert kinds[:2] == ["program_change", "note_on"]
    assert kinds.count("note_on") == kinds.count("note_off") > 0
    assert live_ports.sent[-1].control == 123
    assert live_ports.closed == ["Tone Generator 1"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--live", "port:Piano"], "no MIDI output is called 'Piano'"),
        (["--live", "stdout", "--input", "Violin"], "no MIDI input is called 'Violin'"),
        (["--live", "radio"], "--live is 'radio'; give one of stdout, port:NAME"),
        (["--live", "stdout", "--look-ahead", "0"], "--look-ahead is 0"),
        (["--live", "synth", "--soundfont", "no.sf2"], "no.sf2 (--soundfont) does not exist"),
        (["--live", "stdout", "--input", "no.mid"], "--input no.mid does not exist"),
    ],
)
def test_what_cannot_be_played_to_is_named_in_one_line(
    run_dir: Path,
    ports: None,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    named: str,
) -> None:
    assert main([str(run_dir), *flags]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert named in last


def test_a_missing_package_or_midi_system_is_named(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    assert main([str(run_dir), "--live", "synth"]) == 1
    assert "--live synth needs pyfluidsynth" in capsys.readouterr().err
    if not Path("/dev/snd/seq").exists():
        assert main(["--list-ports"]) == 1
        said = capsys.readouterr().err
        # Python 3.13 has to build it, which needs ALSA's headers; set-up goes on without it.
        has_ports = importlib.util.find_spec("rtmidi")
        assert ("modprobe snd-seq" if has_ports else "MIDI ports need python-rtmidi") in said
        assert said.count("\n") == 1


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="no fluidsynth here")
def test_without_a_sound_card_one_line_says_what_to_do(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fluidsynth = pytest.importorskip("fluidsynth")
    monkeypatch.setattr(fluidsynth, "new_fluid_audio_driver", lambda *_: None)
    assert main([str(run_dir), "--live", "synth"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is there a sound card? Without one, --audio-driver file writes a WAV file" in said
    assert "without --live the pieces are files" in said


class Channels(ChannelPlayer):
    """Records the messages and their channels."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, int, int]] = []

    def _program(self, channel: int, program: int) -> None:
        self.sent.append(("program", channel, program))

    def _note_on(self, channel: int, pitch: int, velocity: int) -> None:
        self.sent.append(("on", channel, pitch))

    def _note_off(self, channel: int, pitch: int) -> None:
        self.sent.append(("off", channel, pitch))

    def _all_notes_off(self, channel: int) -> None:
        self.sent.append(("all off", channel, 0))


def test_percussion_has_its_channel_and_a_sixteenth_program_takes_the_idlest_one() -> None:
    player = Channels()
    player.play(KeyEvent(0, ON, DRUMS, 36, 80), 0.0)
    assert player.sent == [("on", 9, 36)]
    for program in range(15):
        player.play(KeyEvent(0, ON, program, 60, 80), 0.0)
    player.play(KeyEvent(0, ON, 0, 62, 80), 0.0)  # so 1 is now the one that struck longest ago
    used = {channel for kind, channel, _ in player.sent if kind == "on"}
    assert used == set(range(16))
    player.sent.clear()
    player.play(KeyEvent(1, ON, 100, 64, 80), 0.0)
    taken = player.sent[1][1]
    assert player.sent == [("off", taken, 60), ("program", taken, 100), ("on", taken, 64)]
    player.play(KeyEvent(2, OFF, 1, 60, 80), 0.0)  # its channel has gone to another: nothing to do
    assert player.sent[-1] == ("on", taken, 64)


# Time ---------------------------------------------------------------------------------------------


def test_the_clock_changes_tempo_without_a_jump_and_can_wait() -> None:
    clock = MusicClock(12, 60.0, now=100.0)
    assert clock.time_of(12) == 101.0
    clock.set_tempo(120.0, now=101.0)
    assert clock.step_at(101.0) == 12.0
    assert clock.time_of(24) == 101.5
    clock.hold(24.0, now=103.0)
    assert clock.step_at(103.0) == 24.0
    assert clock.time_of(36) == 103.5


def test_music_waits_for_a_slow_composer_and_says_so() -> None:
    def slow() -> Iterator[Passage]:
        yield Passage([KeyEvent(0, ON, 0, 60, 80), KeyEvent(3, OFF, 0, 60, 0)], 10)
        time.sleep(0.3)
        yield Passage([KeyEvent(10, ON, 0, 62, 80), KeyEvent(14, OFF, 0, 62, 0)], 15)

    player = Listener()
    stage = stage_for(player)
    stage.play(slow(), clock_at(1000.0), StopAt())
    assert [event.pitch for event in player.heard if event.kind == ON] == [60, 62]
    assert stage.performance.num_waits == 1
    assert stage.performance.waited > 0.05
    assert "waited 1 times for the composer" in stage.performance.report()


def test_a_late_event_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = stage_for(Listener())
    monkeypatch.setattr(stage.keys, "wait", lambda seconds: time.sleep(seconds + 0.05))
    events = [KeyEvent(step, ON, 0, 60 + step, 80) for step in range(3)]
    stage.play(iter([Passage(events, 8)]), clock_at(60.0), StopAt())
    assert stage.performance.num_late == 2
    assert stage.performance.worst_lateness >= 0.05


def test_music_that_a_busy_machine_held_up_past_its_last_bar_is_late_and_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    player = Listener()
    stage = stage_for(player)
    monkeypatch.setattr(stage.keys, "wait", lambda seconds: time.sleep(seconds + 0.2))
    events = [KeyEvent(step, ON, 0, 60 + step, 80) for step in range(4)]
    stage.play(iter([Passage(events[:1], 1), Passage(events[1:], 8)]), clock_at(1000.0), StopAt(4))
    assert [event.pitch for event in player.heard if event.kind == ON] == [60, 61, 62, 63]


def test_an_error_of_the_composer_reaches_the_user_and_leaves_no_key_down() -> None:
    def broken() -> Iterator[Passage]:
        yield Passage([KeyEvent(0, ON, 0, 60, 80)], 200)
        raise ValueError("the network is gone")

    player = Listener()
    with pytest.raises(ValueError, match="the network is gone"):
        stage_for(player).play(broken(), clock_at(1000.0), StopAt())
    assert [event.kind for event in player.heard] in ([ON, OFF], [])
    assert not player.sounding


# Keys and the end ---------------------------------------------------------------------------------


def test_keys_change_tempo_temperature_and_top_p_within_bounds() -> None:
    controls = Controls(Sampling(1.0, 0, 0.9), 100.0)
    for key in "+TTPPP":
        assert controls.press(key) == str(controls)
    assert str(controls) == "tempo 105, temperature 1.1, top-p 1"
    for key in 40 * "tp":
        controls.press(key)
    assert controls.sampling == Sampling(0.05, 0, 0.05)
    assert controls.press("x") is None
    assert not controls.stop
    controls.press("q")
    assert controls.stop


def test_a_change_of_temperature_reaches_the_music_that_goes_on(composer: Composer) -> None:
    controls = Controls(Sampling(), 100.0)
    chunks = composer.stream(
        [0], lambda: controls.sampling, 1, composer.primer_ids(None), NEVER, 16
    )
    constant = composer.stream([0], Sampling(), 1, composer.primer_ids(None), NEVER, 16)
    assert next(chunks).tolist() == next(constant).tolist()
    controls.sampling = Sampling(temperature=0.05)
    assert next(chunks).tolist() != next(constant).tolist()


def test_the_terminal_gives_keys_without_enter_and_is_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import termios

    master, terminal = pty.openpty()
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        before = termios.tcgetattr(stdin)
        controls = Controls(Sampling(), 100.0)
        with keyboard(controls) as keys:
            os.write(master, b"-")
            keys.wait(60)
            assert controls.tempo < 100
            os.write(master, b"q")
            keys.wait(60)
            assert controls.stop
        assert termios.tcgetattr(stdin) == before
    os.close(master)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_a_request_to_end_leave_no_key_down(
    run_dir: Path, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    # A shell starts a background job with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    heard = sys.stdout

    def signal_at_the_first_note() -> None:
        while "note_on" not in heard.getvalue():  # type: ignore[attr-defined]
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=signal_at_the_first_note, daemon=True).start()
    assert main([str(run_dir), "--live", "stdout", "--seed", "1"]) == 0
    said = capsys.readouterr()
    events = lines_of(said.out)
    assert events
    assert still_down(events) == set()
    assert "stopped\nplayed" in said.err


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_music_without_a_traceback(run_dir: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "model" / "generate.py"), str(run_dir)]
    process = subprocess.Popen(
        [*command, "--live", "stdout", *FAST],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stderr
    json.loads(process.stdout.readline())
    process.stdout.close()
    assert process.wait(300) == 0
    assert [line.split()[0] for line in process.stderr] == ["playing", "played"]


# Call and response --------------------------------------------------------------------------------


def phrases_file(folder: Path) -> Path:
    """Two phrases of one and two bars, the second with a rest before it, a silent bar between."""
    first = [(0, 0, 60, 4, 80), (4, 0, 62, 4, 80), (8, 0, 64, 8, 80)]
    second = [(52, 0, 67, 12, 80), (64, 0, 65, 8, 80), (72, 0, 64, 8, 80)]
    write_midi(Score(make_notes([*first, *second]), 4, 1000.0), folder / "calls.mid")
    return folder / "calls.mid"


def test_each_phrase_of_a_file_is_answered_in_its_metre(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = phrases_file(tmp_path)
    assert read_score(calls).notes.size == 6
    flags = ["--live", "stdout", "--input", str(calls), "--seed", "2"]
    assert main([str(run_dir), *flags, "--json", str(tmp_path / "result.json")]) == 0
    events = lines_of(capsys.readouterr().out)
    assert json.loads((tmp_path / "result.json").read_text())["answered"] == 2
    struck = [(e["step"], e["pitch"]) for e in events if e["event"] == "note_on"]
    assert struck[:3] == [(0, 60), (12, 62), (24, 64)]
    second = struck.index((12, 67))
    assert struck[second : second + 3] == [(12, 67), (48, 65), (72, 64)]
    first_answer, second_answer = struck[3:second], struck[second + 3 :]
    assert first_answer and all(BAR <= step < 2 * BAR for step, _ in first_answer)
    assert second_answer and all(2 * BAR <= step < 4 * BAR for step, _ in second_answer)
    # Six bars in all, however many notes the answers have.
    assert all(event.get("step", 0) <= 4 * BAR for event in events)
    assert still_down(events) == set()


def test_seconds_are_refused_for_a_file_that_is_answered_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["nowhere", "--live=synth", "--seconds=20", "--input", str(phrases_file(tmp_path))])
    error = capsys.readouterr().err
    assert "--input FILE is answered to its end: leave --seconds out" in error
    assert error.count("\n") == 1
    with pytest.raises(SystemExit, match="2"):
        main(["nowhere", "--live=synth", "--bars=4", "--input=Keyboard"])
    assert "leave --bars out" in capsys.readouterr().err


def test_what_is_played_into_a_port_is_answered_from_the_next_bar_line(
    run_dir: Path, ports: None, capsys: pytest.CaptureFixture[str]
) -> None:
    struck = mido.Message("note_on", note=60, velocity=90)
    live_ports.to_come += [[struck], [mido.Message("note_off", note=60)]]
    # What was held for 1 to 8 steps of 21 ms, as the clock has it, has notes in this seed's answer.
    flags = ["--live", "stdout", "--input", "Keys", "--seconds", "4", "--seed", "2"]
    assert main([str(run_dir), *flags, "--tempo", "240"]) == 0
    said = capsys.readouterr()
    assert "answered 1 phrase\n" in said.err
    steps = [e["step"] for e in lines_of(said.out) if e["event"] == "note_on"]
    assert steps and all(BAR <= step < 2 * BAR for step in steps)


def test_more_voices_than_four_keep_their_channels_and_sound_as_the_piano() -> None:
    player = Channels()
    player.parts = Parts(GridVocabulary(voices=5).part_names)
    for program in (40, 44):
        player.play(KeyEvent(0, ON, program, 60, 80), 0.0)
    (_, first, sound), on, (_, second, same), also_on = player.sent
    assert (sound, same) == (0, 0) and first != second
    assert (on, also_on) == (("on", first, 60), ("on", second, 60))
