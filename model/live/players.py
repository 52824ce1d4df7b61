"""The outputs of live music: standard output, a MIDI port, or FluidSynth.

After `close` all are silent: it releases every key that is still down.
"""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, TextIO

from model.live.clock import ON, KeyEvent
from pipeline.scores.midi.rules import MELODIC_CHANNELS, PERCUSSION_CHANNEL
from pipeline.scores.notes import DRUMS
from pipeline.scores.parts import PLAIN

ALL_NOTES_OFF = 123  # the controller of MIDI 1.0 that releases every key of a channel
KINDS = ("stdout", "port:NAME", "virtual:NAME", "synth")


class Player(ABC):
    """Plays events at once, and keeps the keys that are down, to release them at the end."""

    def __init__(self) -> None:
        self.sounding: set[tuple[int, int]] = set()  # (program, pitch)

    def begin(self) -> None:  # noqa: B027 - most players need no start
        """Called when the music begins."""

    def play(self, event: KeyEvent, seconds: float) -> None:
        """Strike or release a key; `seconds` since the start, for the record."""
        key = (event.program, event.pitch)
        if event.kind == ON:
            self.sounding.add(key)
            self._play(event, seconds)
        elif key in self.sounding:
            self.sounding.discard(key)
            self._play(event, seconds)

    def release(self, seconds: float = 0.0) -> None:
        """Release every key that is down."""
        for program, pitch in sorted(self.sounding):
            self._play(KeyEvent(0, 0, program, pitch, 0), seconds)
        self.sounding.clear()

    def abandon(self) -> None:
        """Play nothing any more: the listener has left."""
        self.sounding.clear()

    @abstractmethod
    def _play(self, event: KeyEvent, seconds: float) -> None: ...

    @abstractmethod
    def close(self, seconds: float = 0.0) -> None:
        """Release all keys; nothing more will be played."""


class LinePlayer(Player):
    """Writes one JSON object a line for each event, when it is due."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._has_reader = True

    def _play(self, event: KeyEvent, seconds: float) -> None:
        line: dict[str, Any] = {
            "event": "note_on" if event.kind == ON else "note_off",
            "seconds": round(seconds, 4),
            "pitch": event.pitch,
            "program": event.program,
        }
        if event.kind == ON:
            line |= {"velocity": event.velocity, "step": event.step}
        print(json.dumps(line), file=self._stream, flush=True)

    def abandon(self) -> None:
        """Write nothing any more: the reader has left."""
        super().abandon()
        self._has_reader = False
        # Python flushes standard output once more at its end, and would report an error there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def close(self, seconds: float = 0.0) -> None:
        """Release all keys, and write a line that says so."""
        if self._has_reader:
            self.release(seconds)
            print(json.dumps({"event": "all_notes_off"}), file=self._stream, flush=True)


class ChannelPlayer(Player):
    """Plays programs on the 16 channels of a MIDI instrument, percussion on the tenth."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = PLAIN  # what sounds for which program
        self._channels: dict[int, int] = {}  # program -> channel, the least recently used first

    def _play(self, event: KeyEvent, seconds: float) -> None:
        channel = self._channel(event.program, struck=event.kind == ON)
        if event.kind == ON:
            self._note_on(channel, event.pitch, event.velocity)
        else:
            self._note_off(channel, event.pitch)

    def close(self, seconds: float = 0.0) -> None:
        """Release all keys, and send All Notes Off to each channel used."""
        self.release(seconds)
        for channel in {*self._channels.values(), PERCUSSION_CHANNEL}:
            self._all_notes_off(channel)

    def _channel(self, program: int, *, struck: bool) -> int:
        """The program's channel; a 16th program takes that of the program silent for longest."""
        if program == DRUMS:
            return PERCUSSION_CHANNEL
        if program not in self._channels:
            free = [c for c in MELODIC_CHANNELS if c not in self._channels.values()]
            if not free:
                oldest = next(iter(self._channels))
                for held, pitch in sorted(key for key in self.sounding if key[0] == oldest):
                    self._note_off(self._channels[held], pitch)
                    self.sounding.discard((held, pitch))
                free = [self._channels.pop(oldest)]
            self._program(free[0], self.parts.sound(program))
            self._channels[program] = free[0]
        elif struck:
            self._channels[program] = self._channels.pop(program)
        return self._channels[program]

    @abstractmethod
    def _program(self, channel: int, program: int) -> None: ...

    @abstractmethod
    def _note_on(self, channel: int, pitch: int, velocity: int) -> None: ...

    @abstractmethod
    def _note_off(self, channel: int, pitch: int) -> None: ...

    @abstractmethod
    def _all_notes_off(self, channel: int) -> None: ...


class PortPlayer(ChannelPlayer):
    """Plays on a MIDI port through mido: an instrument, a sequencer, another program."""

    def __init__(self, port: Any) -> None:
        """`port` is one of mido's outputs."""
        super().__init__()
        self._port = port

    def _program(self, channel: int, program: int) -> None:
        self._send("program_change", channel=channel, program=program)

    def _note_on(self, channel: int, pitch: int, velocity: int) -> None:
        self._send("note_on", channel=channel, note=pitch, velocity=velocity)

    def _note_off(self, channel: int, pitch: int) -> None:
        self._send("note_off", channel=channel, note=pitch)

    def _all_notes_off(self, channel: int) -> None:
        self._send("control_change", channel=channel, control=ALL_NOTES_OFF, value=0)

    def close(self, seconds: float = 0.0) -> None:
        """Release all keys, and close the port."""
        super().close(seconds)
        self._port.close()

    def _send(self, kind: str, **fields: int) -> None:
        import mido

        self._port.send(mido.Message(kind, **fields))


class SynthPlayer(ChannelPlayer):
    """Plays with FluidSynth inside this process, through an audio driver of its own."""

    def __init__(self, soundfont: Path, driver: str | None, audio_file: Path | None) -> None:
        """Open the synthesizer. Raises ValueError if the library, driver or SoundFont fails.

        `driver` None is FluidSynth's own default; `file` writes `audio_file` in real time.
        """
        super().__init__()
        self._library = _fluidsynth()
        settings: dict[str, Any] = {"audio.driver": driver} if driver else {}
        if audio_file:
            audio_file.parent.mkdir(parents=True, exist_ok=True)
            settings |= {"audio.file.name": str(audio_file), "audio.file.type": "wav"}
        self._synth = self._library.Synth(gain=0.5, **settings)
        if self._synth.sfload(str(soundfont), 1) < 0:
            self._synth.delete()
            raise ValueError(f"FluidSynth could not load the SoundFont {soundfont}")
        self._driver = driver
        if driver != "file":  # a file would also hold the silence before the music
            self._open_driver()

    def begin(self) -> None:
        """Open the audio driver if that has waited for the music: a file."""
        if not self._synth.audio_driver:
            self._open_driver()

    def _open_driver(self) -> None:
        from model.rendering.audio import captured_output

        with captured_output():  # ALSA and FluidSynth write a dozen lines
            # Not Synth.start, which also opens a MIDI input and reports an error without one.
            opened = self._library.new_fluid_audio_driver(self._synth.settings, self._synth.synth)
        if not opened:
            self._synth.delete()
            raise ValueError(
                f"FluidSynth could not open its audio driver ({self._driver or 'its default'}): is "
                "there a sound card? Without one, --audio-driver file writes a WAV file in real "
                "time, and without --live the pieces are files. With one, name its driver: "
                "--audio-driver pulseaudio, alsa or jack"
            )
        self._synth.audio_driver = opened

    def _program(self, channel: int, program: int) -> None:
        self._synth.program_change(channel, program)

    def _note_on(self, channel: int, pitch: int, velocity: int) -> None:
        self._synth.noteon(channel, pitch, velocity)

    def _note_off(self, channel: int, pitch: int) -> None:
        self._synth.noteoff(channel, pitch)

    def _all_notes_off(self, channel: int) -> None:
        self._synth.all_notes_off(channel)

    def close(self, seconds: float = 0.0) -> None:
        """Release all keys, and close the synthesizer."""
        super().close(seconds)
        self._synth.delete()


def _fluidsynth() -> Any:
    """The module of pyfluidsynth. Raises ValueError if it or its library is missing."""
    try:
        import fluidsynth
    except ImportError as error:  # it also raises this where the C library is missing
        raise ValueError(
            f"--live synth needs pyfluidsynth and FluidSynth's library ({error}). Run: pip install "
            "-c constraints.txt -e '.[live]' and, on Debian or Ubuntu, apt install fluidsynth"
        ) from None
    return fluidsynth


def open_player(
    kind: str, soundfont: Path | None, driver: str | None, audio_file: Path | None
) -> Player:
    """The player of a --live value. Raises ValueError if it does not exist or does not open."""
    word, _, name = kind.partition(":")
    if kind == "stdout":
        return LinePlayer(sys.stdout)
    if word in ("port", "virtual") and name:
        from model.live.ports import open_output

        return PortPlayer(open_output(name, virtual=word == "virtual"))
    if kind == "synth":
        from model.rendering.soundfonts import find_soundfont

        chosen = find_soundfont(soundfont, " or --soundfont FILE, or play to --live port:NAME")
        return SynthPlayer(chosen, driver, audio_file)
    raise ValueError(f"--live is {kind!r}; give one of {', '.join(KINDS)}")
