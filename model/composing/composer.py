"""The composer: a trained network and its vocabulary, which make pieces of music."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from model.composing.condition_plan import ConditionPlan, repeat_chords
from model.composing.decoder import Decoder
from model.composing.pieces import ComposedPiece, Length, finished_piece, num_ids_to_end
from model.composing.sampling import Sampling, uniforms
from model.networks.checkpoint import Bundle, open_checkpoint
from model.networks.frames.decoding import FrameModel
from model.networks.registry import Network, build_network, config_from_dict
from pipeline.scores.labels import NO_FEATURES, Features
from pipeline.scores.notes import Score
from pipeline.vocabulary.conditions import check_wishes, metre_of
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.grammar import END, PAD
from pipeline.vocabulary.registry import Vocabulary, vocabulary_from_dict

# Tokens of one call of the compiled loop: long enough to hide the call, short enough that what is
# composed past the end of the last piece costs little.
CHUNK = 64


class Composer:
    """A trained network that composes pieces of its vocabulary."""

    def __init__(
        self,
        model: Network,
        vocabulary: Vocabulary,
        wishes: Features = NO_FEATURES,
        checkpoint: Path | None = None,
    ) -> None:
        """`wishes`: the conditions of its pieces; `checkpoint`: where the weights come from.

        Raises ValueError for a wish that the vocabulary has no condition for.
        """
        check_wishes(wishes, vocabulary.conditions)
        self.model = model
        self.vocabulary = vocabulary
        self.wishes = wishes
        self.checkpoint = checkpoint
        self._plan = ConditionPlan.of(vocabulary, wishes)
        self.decoder = Decoder(model, vocabulary, self._plan)

    @classmethod
    def load(cls, run: Path) -> Composer:
        """The composer of a run folder (its best checkpoint) or of a checkpoint folder.

        The files that composing needs are read once; those of the optimizer are not.
        Raises ValueError if there is no whole checkpoint, or its parts do not fit together.
        """
        checkpoint, bundle = open_checkpoint(run, optimizer=False)
        return cls.of(bundle, checkpoint)

    @classmethod
    def of(cls, bundle: Bundle, checkpoint: Path) -> Composer:
        """The composer of a checkpoint that has been read. Raises ValueError if it does not fit."""
        vocabulary = vocabulary_from_dict(bundle.vocabulary)
        config = config_from_dict(bundle.model)
        if config.vocab_size != vocabulary.size:
            raise ValueError(
                f"{checkpoint} has a network of {config.vocab_size} tokens and a vocabulary of "
                f"{vocabulary.size}. Was it put together from two runs?"
            )
        model = build_network(config)
        _assign(model, bundle, checkpoint)
        return cls(model, vocabulary, checkpoint=checkpoint)

    def asked(self, wishes: Features) -> Composer:
        """The composer of the same network that composes with these wishes.

        Raises ValueError for a wish that the model was not trained for.
        """
        if not wishes.known():
            return self
        return Composer(self.model, self.vocabulary, wishes, self.checkpoint)

    def warm_up(self, primer: bool = False) -> None:
        """Compile the loop, once for all batches and lengths: about a second.

        With `primer` also the reading of a long primer or phrase, or the first one would wait.
        """
        next(self.stream([0], Sampling(), 0, self.primer_ids(None), chunk=1))
        if primer:
            self.decoder.compile_primer()

    def compose(
        self,
        pieces: Sequence[int],
        sampling: Sampling,
        length: Length,
        seed: int,
        primer: Score | None = None,
    ) -> list[ComposedPiece]:
        """Pieces of the given numbers, composed side by side.

        A piece depends on (seed, its number) and not on its neighbours, up to the rounding of a
        matrix product, which differs between batch sizes and can move one draw in about a million.
        Raises ValueError for a primer without a note that the vocabulary can express.
        """
        primer_ids = self.primer_ids(primer)
        chunks: list[np.ndarray] = []
        for chunk in self.stream(pieces, sampling, seed, primer_ids, length.first_end):
            chunks.append(chunk)
            drafts = np.concatenate(chunks, axis=1)  # [num_pieces, num_tokens]
            ends = [
                num_ids_to_end(np.concatenate([primer_ids, draft]), self.vocabulary, length)
                for draft in drafts
            ]
            if drafts.shape[1] >= length.max_tokens or all(end is not None for end in ends):
                break
        return [
            finished_piece(index, primer_ids, draft, self.vocabulary, length)
            for index, draft in zip(pieces, drafts, strict=True)
        ]

    def score(self, piece: ComposedPiece, length: Length, tempo: float) -> Score:
        """The piece as notes; a note that would sound past the length ends there."""
        score = self.vocabulary.decode(piece.ids, tempo)
        if length.steps is not None:
            room = length.steps - score.notes["onset"]
            score.notes["duration"] = np.minimum(score.notes["duration"], room)
        return score

    def stream(
        self,
        pieces: Sequence[int],
        sampling: Sampling | Callable[[], Sampling],
        seed: int,
        primer_ids: np.ndarray,
        first_end: int = 0,
        chunk: int = CHUNK,
    ) -> Iterator[np.ndarray]:
        """Chunks of ids [num_pieces, chunk] without end; PAD follows END.

        A piece may end from grid step `first_end` on; with `NEVER` it goes on for ever.
        `chunk` is rounded up to whole rows of ids, for a network with several ids a row. A function
        in place of the sampling is called before each chunk: its answer may change.
        """
        ids_per_row = len(self.decoder.steps)
        chunk = -(-chunk // ids_per_row) * ids_per_row
        grammar = self.grammar()
        start = self.decoder.start(primer_ids, len(pieces))
        position = 0
        while True:
            draws = tf.constant(uniforms(seed, pieces, position, chunk))
            current = sampling() if callable(sampling) else sampling
            settings = self.settings(current)
            ids, start = self.decoder.sample_ids(start, draws, grammar, first_end, settings)
            yield ids.numpy().T
            position += chunk

    def settings(self, sampling: Sampling) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """`Sampling.tensors`, after the network has been set to the guidance.

        Raises ValueError for a guidance that the network does not have.
        """
        if isinstance(self.model, FrameModel):
            self.model.guidance.assign(sampling.guidance)
        elif sampling.guidance != 1:
            raise ValueError(
                f"--guidance {sampling.guidance:g} needs a model of --model frames, which tells "
                "ranges, keys and parallel motion apart. Leave it out for this one"
            )
        return sampling.tensors(self.vocabulary.size)

    def primer_ids(self, primer: Score | None) -> np.ndarray:
        """START and the primer's tokens [num_tokens], without END, ready to be continued.

        Raises ValueError for a primer without a note that the vocabulary can express.
        """
        if primer is None:
            return self._opening()
        ids = self._encode(primer)[:-1]
        if not (self.vocabulary.pitches[ids] >= 0).any():
            raise ValueError(
                "the primer has no note with a pitch. Give one with notes, e.g. 'C4 E4 G4'"
            )
        return ids

    def grammar(self) -> tf.Tensor:
        """Which id may follow which [size, size] bool, within one piece: after END only PAD."""
        follows = self.vocabulary.follows.copy()
        if not self.vocabulary.conditions:  # they come again later: the plan knows the opening
            follows[self._opening()[-1]] = self.vocabulary.may_begin
        when_moved = self.vocabulary.when_moved  # what is composed is in no other key
        follows[:, when_moved[when_moved != np.arange(when_moved.size)]] = False
        follows[[PAD, END], :] = False
        follows[[PAD, END], PAD] = True
        return tf.constant(follows)

    def _opening(self) -> np.ndarray:
        """The ids with which a piece of these wishes begins."""
        if isinstance(self.vocabulary, EventVocabulary):
            return self.vocabulary.opening_of(self.wishes)
        return self.vocabulary.opening

    def _encode(self, primer: Score) -> np.ndarray:
        """The ids of the primer, as if it had been composed with these wishes."""
        if isinstance(self.vocabulary, EventVocabulary):
            if self.wishes.metre and not primer.time_signatures:
                primer = replace(primer, time_signatures=[(0.0, *metre_of(self.wishes.metre))])
            eighths = 1 + 2 * primer.end // primer.resolution
            return self.vocabulary.encode(primer, repeat_chords(self.wishes, eighths))
        return self.vocabulary.encode(primer)


def _assign(model: Network, bundle: Bundle, checkpoint: Path) -> None:
    """Assign the bundle's weights to the network.

    Raises ValueError unless they are exactly the weights it needs, all of them finite.
    """
    weights = model.named_weights()
    needed = {path: tuple(variable.shape) for path, variable in weights.items()}
    found = {path: values.shape for path, values in bundle.weights.items()}
    differing = sorted(path for path, _ in needed.items() ^ found.items())
    if differing:
        path = differing[0]
        raise ValueError(
            f"{checkpoint} holds other weights than its configuration asks for: {path} is "
            f"{found.get(path, 'missing')}, needed is {needed.get(path, 'none')}. Was it made by "
            "another version?"
        )
    for path, variable in weights.items():
        values = bundle.weights[path]
        if not np.isfinite(values).all():
            raise ValueError(
                f"{checkpoint}: {path} holds values that are not finite: the training diverged. "
                "Use an earlier checkpoint"
            )
        variable.assign(values)
