"""The pieces that a user asks generate.py for: read from its flags, then composed."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from model.composing.composer import Composer
from model.composing.drafts import ROOM, compose_pieces, length_of_bars
from model.composing.given_voice import Given, read_given_voice
from model.composing.harmonising import harmonise
from model.composing.infilling import read_piece_with_gap
from model.composing.infilling_drafts import fill_gap
from model.composing.infilling_events import EventsWithGap, read_events_with_gap
from model.composing.pieces import ComposedPiece, Length
from model.composing.primer import last_bar_line, read_primer
from model.composing.sampling import Sampling
from model.composing.wishes import quarters_per_bar
from pipeline.scores.bars import bar_length
from pipeline.scores.notes import DEFAULT_TEMPO, Score
from pipeline.vocabulary.conditions import METRE
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.registry import Vocabulary


@dataclass(frozen=True)
class Request:
    """What a user asks of a composer; pieces composed to `given` music are as long as that."""

    sampling: Sampling
    seed: int
    tempo: float  # quarters a minute
    length: Length
    bar: int  # grid steps
    primer: Score | None
    given: Given | EventsWithGap | None

    @classmethod
    def of(cls, flags: argparse.Namespace, vocabulary: Vocabulary) -> Request:
        """The request of the flags. Raises ValueError for music that the model cannot continue."""
        sampling = Sampling(flags.temperature, flags.top_k, flags.top_p, flags.guidance)
        primer = None
        if flags.primer is not None:
            primer = read_primer(flags.primer, vocabulary, flags.primer_bars, flags.beats_per_bar)
        bar = _steps_of_bar(flags, vocabulary, primer)
        given = _given(flags, vocabulary)
        known = primer or given
        tempo = flags.tempo or (known.tempo if known else DEFAULT_TEMPO)
        return cls(
            sampling=sampling,
            seed=secrets.randbits(32) if flags.seed is None else flags.seed,
            tempo=tempo,
            length=Length() if given else _length(flags, vocabulary, bar, primer, tempo),
            bar=bar,
            primer=primer,
            given=given,
        )

    def prepare(self, composer: Composer) -> None:
        """Compile what `compose` runs, which then takes only the time of composing."""
        if not self.given:
            composer.warm_up(primer=self.primer is not None)

    def compose(self, composer: Composer, pieces: Sequence[int]) -> list[ComposedPiece]:
        """Pieces of the given numbers."""
        if isinstance(self.given, EventsWithGap):
            return fill_gap(composer, pieces, self.sampling, self.given, self.seed)
        if self.given:
            return harmonise(composer, pieces, self.sampling, self.given, self.seed)
        return compose_pieces(
            composer, pieces, self.sampling, self.length, self.seed, self.bar, self.primer
        )


def _steps_of_bar(flags: argparse.Namespace, vocabulary: Vocabulary, primer: Score | None) -> int:
    """The grid steps of a bar: of the metre asked for, else of that in which the primer ends.

    Else, and for a model without metre, of --beats-per-bar.
    """
    quarters = quarters_per_bar(flags)
    goes_on = METRE in vocabulary.conditions and flags.own_metre and not flags.metre
    if goes_on and primer and primer.time_signatures:
        _, upper, lower = primer.time_signatures[-1]
        own = bar_length(upper, lower) if upper else quarters
        if (own * vocabulary.steps_per_quarter).denominator == 1:
            quarters = own
    return int(quarters * vocabulary.steps_per_quarter)


def _given(flags: argparse.Namespace, vocabulary: Vocabulary) -> Given | EventsWithGap | None:
    """The music of --given or --infill, to which the network composes the rest."""
    if flags.given:
        return read_given_voice(flags.given, flags.given_voice, vocabulary)
    if not flags.infill:
        return None
    bars = (flags.bars, flags.bars) if isinstance(flags.bars, int) else flags.bars
    voices = flags.voices.split(",") if flags.voices else ()
    if isinstance(vocabulary, EventVocabulary):
        return read_events_with_gap(flags.infill, vocabulary, bars, voices, flags.beats_per_bar)
    return read_piece_with_gap(flags.infill, vocabulary, bars, voices, flags.beats_per_bar)


def _length(
    flags: argparse.Namespace,
    vocabulary: Vocabulary,
    bar: int,
    primer: Score | None,
    tempo: float,
) -> Length:
    """The length that the flags ask for, in steps of the vocabulary's grid."""
    steps_per_quarter = vocabulary.steps_per_quarter
    primer_end = primer.end if primer else 0
    if flags.bars:
        begun = 0
        if primer and METRE in vocabulary.conditions:
            begun = last_bar_line(primer, primer_end, bar) % bar
        return length_of_bars(flags.bars, bar, steps_per_quarter, primer_end, begun)
    if flags.seconds:
        steps = max(1, round(flags.seconds * tempo / 60 * steps_per_quarter))
        return Length.of_steps(primer_end + steps, steps_per_quarter, ROOM * bar)
    return Length(flags.length_tokens) if flags.length_tokens else Length()
