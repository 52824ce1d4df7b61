"""Music composed ahead of its playing: a series of events, and the thread that makes it.

Every few tokens all ids so far are decoded again. Events before the last step reached cannot change
any more, in any vocabulary: they are passed on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from model.composing.composer import Composer
from model.composing.pieces import DEFAULT_MAX_TOKENS, whole_notes
from model.composing.sampling import Sampling
from model.live.clock import KeyEvent, events_between
from pipeline.scores.notes import Score
from pipeline.vocabulary.grammar import END

CHUNK = 16  # tokens a call: one or two seconds of music, composed in a few milliseconds


@dataclass(frozen=True)
class Passage:
    """Events in order, and the step up to which the music is composed."""

    events: list[KeyEvent]
    horizon: int


def compose_on(
    composer: Composer,
    sampling: Callable[[], Sampling],
    seed: int,
    primer: Score | None,
    bar: int,
) -> Iterator[Passage]:
    """The passages of piece after piece, without end; the first continues the primer, included.

    A piece begins at the first bar line (every `bar` steps) after the end of the one before. Piece
    number i has the tokens that `Composer.compose` gives it for this seed.
    """
    start, index = 0, 0
    while True:
        primer_ids = composer.primer_ids(None if index else primer)
        for passage in compose_piece(composer, sampling, seed, index, primer_ids):
            events = [event._replace(step=event.step + start) for event in passage.events]
            yield Passage(events, passage.horizon + start)
        start += -(-passage.horizon // bar) * bar
        index += 1


def compose_piece(
    composer: Composer,
    sampling: Callable[[], Sampling],
    seed: int,
    index: int,
    primer_ids: np.ndarray,
    first_end: int = 0,
) -> Iterator[Passage]:
    """The passages of one piece, up to END or the bound on tokens that a stuck model meets."""
    ids, done = primer_ids, 0  # `done`: events before this step have been passed on
    for chunk in composer.stream([index], sampling, seed, primer_ids, first_end, CHUNK):
        ids = np.concatenate([ids, chunk[0]])
        over = ids.size - primer_ids.size >= DEFAULT_MAX_TOKENS or bool((ids == END).any())
        if (ids == END).any():
            ids = ids[: (ids == END).argmax()]
        score = composer.vocabulary.decode(whole_notes(ids, composer.vocabulary))
        reached = int(composer.vocabulary.times(ids)[-1])
        horizon = max(score.end + 1, reached) if over else reached
        yield Passage(events_between(score, done, horizon), max(score.end, 1) if over else horizon)
        if over:
            return
        done = horizon


class ComposingAhead:
    """A thread that composes passages until it is as far ahead as wanted."""

    def __init__(self, passages: Iterator[Passage]) -> None:
        """Start the thread, which composes the first passage at once."""
        self._passages = passages
        self._changed = threading.Condition()
        self._ready: list[KeyEvent] = []
        self._wanted = 0.0
        self._closed = False
        self._error: BaseException | None = None
        self.horizon = 0  # all events before this step are ready or have been taken
        self.ended = False  # no passage will follow
        self._thread = threading.Thread(target=self._run, name="composing", daemon=True)
        self._thread.start()

    def want(self, step: float) -> None:
        """Ask the thread to compose up to this step."""
        with self._changed:
            self._wanted = max(self._wanted, step)
            self._changed.notify_all()

    def wait_for(self, step: float, seconds: float) -> bool:
        """Whether the music before the step is composed, after waiting at most `seconds`."""
        self.want(step)
        with self._changed:
            self._changed.wait_for(lambda: self._is_ready(step), seconds)
            self._raise_its_error()
            return self._is_ready(step)

    def take(self) -> list[KeyEvent]:
        """The events composed since the last call. Raises what the composer raised."""
        with self._changed:
            self._raise_its_error()
            ready, self._ready = self._ready, []
            return ready

    def close(self) -> None:
        """Stop the thread and wait for its end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _is_ready(self, step: float) -> bool:
        return self.ended or self._error is not None or self.horizon > step

    def _raise_its_error(self) -> None:
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            for passage in self._passages:
                with self._changed:
                    self._ready += passage.events
                    self.horizon = passage.horizon
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._closed or self.horizon <= self._wanted)
                    if self._closed:
                        return
            with self._changed:
                self.ended = True
                self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()
