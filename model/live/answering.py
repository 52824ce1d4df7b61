"""Call and response: a phrase is heard, and the composer answers with as many bars.

The phrase's first note sets the metre (in a file, its bar lines do). A phrase is over after a bar
of silence; the answer begins at the next bar line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from model.composing.composer import Composer
from model.live.clock import MusicClock, events_between
from model.live.composing_ahead import Passage, compose_piece
from model.live.stage import Limits, Stage
from pipeline.scores.midi.rules import PERCUSSION_CHANNEL
from pipeline.scores.notes import DRUMS, Score, make_notes

FINE = 960  # units per quarter in which a played phrase is written down before it is quantised
LISTENING_NAP = 0.002  # seconds
Row = tuple[float, float, int, int, int]  # seconds struck and released; channel, key, velocity


@dataclass(frozen=True)
class Phrase:
    """What was heard: notes from a bar line on, and when that bar line was."""

    score: Score
    began: float | None  # of time.monotonic; None for a phrase of a file, which is played too


def answer_phrases(
    stage: Stage, composer: Composer, phrases: Iterator[Phrase], seed: int, beats_per_bar: int
) -> int:
    """The number of phrases answered, each in turn until there are no more, or q."""
    bar = beats_per_bar * composer.vocabulary.steps_per_quarter
    num_answered = 0
    for index, phrase in enumerate(phrases):
        fitted = _from_its_bar_line(composer, phrase.score)
        length = max(1, -(-fitted.end // bar)) * bar
        passages = _call_and_answer(composer, stage, seed, index, fitted, length, phrase.began)
        clock = _clock_of(stage, composer.vocabulary.steps_per_quarter, bar, length, phrase.began)
        stage.play(passages, clock, Limits(steps=2 * length))
        if stage.controls.stop:
            break
        num_answered += 1
    return num_answered


def _from_its_bar_line(composer: Composer, score: Score) -> Score:
    """The phrase as the vocabulary can say it, with the rest before its first note kept."""
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
    """The phrase, where it has still to be played, then the bars after it."""
    if began is None:
        yield Passage(events_between(phrase, 0, length + 1), length)
    primer_ids = composer.primer_ids(phrase)
    # A vocabulary's time starts at the first note.
    rest = int(phrase.notes["onset"].min()) - int(
        composer.vocabulary.decode(primer_ids).notes["onset"].min()
    )
    sampling = lambda: stage.controls.sampling
    for passage in compose_piece(composer, sampling, seed, index, primer_ids, endless=True):
        moved = (event._replace(step=event.step + rest) for event in passage.events)
        answer = [event for event in moved if length <= event.step < 2 * length]
        yield Passage(answer, max(length, passage.horizon + rest))
        if passage.horizon + rest >= 2 * length:
            return


def _clock_of(
    stage: Stage, steps_per_quarter: int, bar: int, length: int, began: float | None
) -> Callable[[float], MusicClock]:
    """Makes the clock on which step `length`, the answer's first, falls on a bar line."""

    def clock(now: float) -> MusicClock:
        tempo = stage.controls.tempo
        if began is None:
            return MusicClock(steps_per_quarter, tempo, now)
        heard = MusicClock(steps_per_quarter, tempo, began)
        next_bar = -(-heard.step_at(now) // bar) * bar
        return MusicClock(steps_per_quarter, tempo, heard.time_of(next_bar - length))

    return clock


def phrases_of_file(score: Score, beats_per_bar: int) -> Iterator[Phrase]:
    """The phrases of a score: a bar in which nothing sounds ends one."""
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
    notes = score.notes[first:end].copy()
    notes["onset"] -= notes["onset"].min() // bar * bar
    return Phrase(Score(notes, score.resolution, score.tempo), None)


def phrases_of_port(
    port: Any, stage: Stage, beats_per_bar: int, end: float | None = None
) -> Iterator[Phrase]:
    """The phrases that are played into one of mido's input ports, until q or the time `end`."""
    rows: list[Row] = []
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
                rows.append((struck, now, *key, velocity))
            if message.type == "note_on" and message.velocity:
                down[key] = (now, message.velocity)
        if rows and not down and now - latest >= beats_per_bar * 60 / stage.controls.tempo:
            yield _written_down(rows, stage.controls.tempo)
            rows = []
        stage.keys.wait(LISTENING_NAP)


def _written_down(rows: list[Row], tempo: float) -> Phrase:
    """Keys struck and released at times, as notes at the tempo."""
    began = min(row[0] for row in rows)

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
            for struck, released, channel, pitch, velocity in rows
        ]
    )
    return Phrase(Score(notes, FINE, tempo), began)
