"""Call and response: the composer answers each phrase with as many bars as it has.

The first note of a phrase sets the metre (in a file, its bar lines do). A phrase ends after a bar
of silence; the answer begins at the next bar line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from model.composing.composer import Composer
from model.composing.pieces import NEVER
from model.live.clock import MusicClock, events_between
from model.live.composing_ahead import Passage, compose_piece
from model.live.stage import Stage, StopAt
from pipeline.scores.midi.rules import PERCUSSION_CHANNEL
from pipeline.scores.notes import DRUMS, Score, make_notes

FINE = 960  # units per quarter of a recorded phrase, before it is quantised
POLL_SECONDS = 0.002
PlayedKey = tuple[float, float, int, int, int]  # seconds struck, released; channel, key, velocity


@dataclass(frozen=True)
class Phrase:
    """The notes of a phrase, from a bar line on, and the time of that bar line."""

    score: Score
    began: (
        float | None
    )  # by time.monotonic; None for a phrase of a file, which is still to be played


def answer_phrases(
    stage: Stage, composer: Composer, phrases: Iterator[Phrase], seed: int, beats_per_bar: int
) -> int:
    """Answer phrase after phrase until there are no more, or q; the number of phrases answered."""
    bar = beats_per_bar * composer.vocabulary.steps_per_quarter
    num_answered = 0
    for index, phrase in enumerate(phrases):
        fitted = _fitted(composer, phrase.score)
        length = max(1, -(-fitted.end // bar)) * bar
        passages = _call_and_answer(composer, stage, seed, index, fitted, length, phrase.began)
        clock = _clock_of(stage, composer.vocabulary.steps_per_quarter, bar, length, phrase.began)
        stage.play(passages, clock, StopAt(steps=2 * length))
        if stage.controls.stop:
            break
        num_answered += 1
    return num_answered


def _fitted(composer: Composer, score: Score) -> Score:
    """The phrase as the vocabulary can express it, with the rest before its first note."""
    steps_per_quarter = composer.vocabulary.steps_per_quarter
    fitted, _ = composer.vocabulary.fit(score)
    if fitted.notes.size:
        rest = round(int(score.notes["onset"].min()) * steps_per_quarter / score.resolution)
        fitted.notes["onset"] += rest - int(fitted.notes["onset"].min())
    return fitted


def _call_and_answer(
    composer: Composer,
    stage: Stage,
    seed: int,
    index: int,
    phrase: Score,
    length: int,
    began: float | None,
) -> Iterator[Passage]:
    """The passages of the phrase, if it is still to be played, then of the bars after it."""
    if began is None:
        yield Passage(events_between(phrase, 0, length + 1), length)
    primer_ids = composer.primer_ids(phrase)
    # A vocabulary's time starts at the first note, the phrase at its bar line.
    rest = int(phrase.notes["onset"].min()) - int(
        composer.vocabulary.decode(primer_ids).notes["onset"].min()
    )
    sampling = lambda: stage.controls.sampling
    for passage in compose_piece(composer, sampling, seed, index, primer_ids, NEVER):
        moved = (event._replace(step=event.step + rest) for event in passage.events)
        answer = [event for event in moved if length <= event.step < 2 * length]
        yield Passage(answer, max(length, passage.horizon + rest))
        if passage.horizon + rest >= 2 * length:
            return


def _clock_of(
    stage: Stage, steps_per_quarter: int, bar: int, length: int, began: float | None
) -> Callable[[float], MusicClock]:
    """A function that makes the clock on which step `length`, the answer's first, is a bar line."""

    def clock(now: float) -> MusicClock:
        tempo = stage.controls.tempo
        if began is None:
            return MusicClock(steps_per_quarter, tempo, now)
        phrase_clock = MusicClock(steps_per_quarter, tempo, began)
        next_bar = -(-phrase_clock.step_at(now) // bar) * bar
        return MusicClock(steps_per_quarter, tempo, phrase_clock.time_of(next_bar - length))

    return clock


def phrases_of_file(score: Score, beats_per_bar: int) -> Iterator[Phrase]:
    """The phrases of a score: a bar of silence ends a phrase."""
    bar = score.resolution * beats_per_bar
    notes = score.notes
    first, end = 0, 0
    for index, note in enumerate(notes):
        if index > first and note["onset"] >= end + bar:
            yield _phrase_of(score, first, index, bar)
            first = index
        end = max(end, int(note["onset"] + note["duration"]))
    if notes.size:
        yield _phrase_of(score, first, notes.size, bar)


def _phrase_of(score: Score, first: int, end: int, bar: int) -> Phrase:
    """The phrase of the notes first .. end - 1, from the bar line before them."""
    notes = score.notes[first:end].copy()
    notes["onset"] -= notes["onset"].min() // bar * bar
    return Phrase(Score(notes, score.resolution, score.tempo), None)


def phrases_of_port(
    port: Any, stage: Stage, beats_per_bar: int, end: float | None = None
) -> Iterator[Phrase]:
    """The phrases played into one of mido's input ports, until q or the time `end`."""
    played: list[PlayedKey] = []
    down: dict[tuple[int, int], tuple[float, int]] = {}
    latest = time.monotonic()
    while not stage.controls.stop and (end is None or time.monotonic() < end):
        now = time.monotonic()
        for message in port.iter_pending():
            if message.type not in ("note_on", "note_off"):
                continue
            key, latest = (message.channel, message.note), now
            if key in down:
                struck, velocity = down.pop(key)
                played.append((struck, now, *key, velocity))
            if message.type == "note_on" and message.velocity:
                down[key] = (now, message.velocity)
        if played and not down and now - latest >= beats_per_bar * 60 / stage.controls.tempo:
            yield _recorded(played, stage.controls.tempo)
            played = []
        stage.keys.wait(POLL_SECONDS)


def _recorded(played: list[PlayedKey], tempo: float) -> Phrase:
    """The phrase of keys struck and released, as notes at the tempo."""
    began = min(struck for struck, *_ in played)

    def units(seconds: float) -> int:
        return round(seconds * tempo / 60 * FINE)

    notes = make_notes(
        [
            (
                units(struck - began),
                DRUMS if channel == PERCUSSION_CHANNEL else 0,
                pitch,
                max(1, units(released - struck)),
                velocity,
            )
            for struck, released, channel, pitch, velocity in played
        ]
    )
    return Phrase(Score(notes, FINE, tempo), began)
