"""`generate.py --live`: opens the player and the composer, plays, and reports."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from model.composing.wishes import wishes_of
from model.live.players import ChannelPlayer, Player, open_player
from model.rendering.output_files import live_sound
from pipeline.runtime.tables import print_line
from pipeline.runtime.tensorflow_loading import load_tensorflow
from pipeline.scores.notes import DEFAULT_TEMPO, Score
from pipeline.scores.parts import Parts

if TYPE_CHECKING:
    from model.composing.composer import Composer
    from model.live.stage import Stage


def add_live_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags of music that is played while it is composed."""
    add = group.add_argument
    add(
        "--live",
        metavar="OUTPUT",
        help="stdout (a JSON line an event), port:NAME or virtual:NAME (MIDI), synth (FluidSynth)",
    )
    add(
        "--look-ahead",
        type=float,
        default=2.0,
        metavar="S",
        help="seconds composed ahead (default: 2)",
    )
    add("--audio-driver", metavar="NAME", help="synth: FluidSynth's (pulseaudio, alsa, file, ...)")
    add(
        "--audio-file",
        type=Path,
        metavar="FILE",
        help="what driver file writes (live.wav in --out)",
    )
    add("--list-ports", action="store_true", help="print the MIDI ports and exit")
    add("--input", metavar="PORT|FILE", help="answer the phrases played there, bar for bar")


def run_live(flags: argparse.Namespace) -> None:
    """Play as the flags say. Raises ValueError or OSError, with advice.

    Ctrl-C ends an endless performance; it is no error.
    """
    audio_file = live_sound(flags)
    player = open_player(flags.live, flags.soundfont, flags.audio_driver, audio_file)
    try:
        _perform(flags, player)
    finally:
        player.close()
    if audio_file and audio_file.is_file():  # without any music there is none
        from model.rendering.audio import make_loud

        make_loud(audio_file)
        print_line(f"the sound is in {audio_file}", sys.stderr)


def _perform(flags: argparse.Namespace, player: Player) -> None:
    """Compose and play until the end that the flags ask for, then report."""
    load_tensorflow()
    import tensorflow as tf

    # Rewriting the loop's graph would delay the first note, and makes no id faster.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    from model.composing.composer import Composer
    from model.composing.sampling import Sampling
    from model.live.keys import Controls, keyboard
    from model.live.stage import Stage
    from pipeline.runtime.command import signals_interrupt

    sampling = Sampling(flags.temperature, flags.top_k, flags.top_p, flags.guidance)
    seed = secrets.randbits(32) if flags.seed is None else flags.seed
    composer = Composer.load(flags.run)
    composer = composer.asked(wishes_of(flags, composer.vocabulary.conditions))
    composer.settings(sampling)  # what does not fit the network is refused before a note sounds
    if isinstance(player, ChannelPlayer):
        player.parts = Parts(composer.vocabulary.part_names)
    played = _input_file(flags)
    primer = _primer(flags, composer)
    known = played or primer
    tempo = flags.tempo or (known.tempo if known else DEFAULT_TEMPO)
    composer.warm_up(primer=bool(flags.input or flags.primer))
    if flags.another_folder:
        print_line(flags.another_folder, sys.stderr)  # standard output may carry the music
    print_line(f"playing from {composer.checkpoint}, seed {seed}, tempo {tempo:g}", sys.stderr)
    controls = Controls(sampling, tempo)
    with signals_interrupt(), keyboard(controls) as keys:
        stage = Stage(player, controls, keys, flags.look_ahead)
        answered = None
        try:
            if flags.input:
                answered = _answer(flags, stage, composer, played, seed)
            else:
                _play_on(flags, stage, composer, primer, seed)
        except KeyboardInterrupt:
            print_line("stopped", sys.stderr)
        except BrokenPipeError:  # the reader of the lines has left
            player.abandon()
    print_line(stage.performance.report(), sys.stderr)
    if answered is not None:
        print_line(f"answered {answered} phrase{'' if answered == 1 else 's'}", sys.stderr)
    if flags.json:
        from pipeline.runtime.files import write_json

        contents = {
            "checkpoint": str(composer.checkpoint),
            "seed": seed,
            **asdict(stage.performance),
        }
        write_json(flags.json, contents | {"answered": answered})


def _play_on(
    flags: argparse.Namespace, stage: Stage, composer: Composer, primer: Score | None, seed: int
) -> None:
    """Play piece after piece, as long as the flags say."""
    from model.live.clock import MusicClock
    from model.live.composing_ahead import compose_on
    from model.live.stage import StopAt

    steps_per_quarter = composer.vocabulary.steps_per_quarter
    bar = flags.beats_per_bar * steps_per_quarter
    steps = ((primer.end if primer else 0) // bar + flags.bars) * bar if flags.bars else None
    passages = compose_on(composer, lambda: stage.controls.sampling, seed, primer, bar)
    stage.play(
        passages,
        lambda now: MusicClock(steps_per_quarter, stage.controls.tempo, now),
        StopAt(steps, flags.seconds),
    )


def _answer(
    flags: argparse.Namespace, stage: Stage, composer: Composer, played: Score | None, seed: int
) -> int:
    """Answer the phrases of the file or port; the number of phrases answered."""
    from model.live.answering import answer_phrases, phrases_of_file, phrases_of_port

    if played:
        phrases = phrases_of_file(played, flags.beats_per_bar)
        return answer_phrases(stage, composer, phrases, seed, flags.beats_per_bar)
    from model.live.ports import open_input

    with open_input(flags.input) as port:
        end = None if flags.seconds is None else time.monotonic() + flags.seconds
        phrases = phrases_of_port(port, stage, flags.beats_per_bar, end)
        return answer_phrases(stage, composer, phrases, seed, flags.beats_per_bar)


def _primer(flags: argparse.Namespace, composer: Composer) -> Score | None:
    """The primer as the vocabulary can express it; None without --primer."""
    if flags.primer is None:
        return None
    from model.composing.primer import read_primer

    return read_primer(
        flags.primer, composer.vocabulary, flags.primer_bars, flags.beats_per_bar, say=_say
    )


def _input_file(flags: argparse.Namespace) -> Score | None:
    """The score of --input if that names a file; None if it names a port."""
    if not flags.input:
        return None
    from pipeline.scores.formats import SCORE_SUFFIXES
    from pipeline.scores.reading import read_score

    path = Path(flags.input)
    if path.suffix.lower() not in SCORE_SUFFIXES:
        return None
    if not path.is_file():
        raise ValueError(f"--input {path} does not exist. Give a score file or a port's name")
    return read_score(path)


def _say(line: str) -> None:
    print_line(line, sys.stderr)  # standard output may carry the music
