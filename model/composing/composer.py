"""The composer: a network and its vocabulary, one token at a time with carried state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from model.composing.condition_plan import ConditionPlan, Place, come_round
from model.composing.sampling import Sampling, sample, uniforms
from model.networks.checkpoint import Bundle, read_bundle
from model.networks.registry import Network, build_network, config_from_dict
from pipeline.scores.labels import NO_FEATURES, Features
from pipeline.scores.notes import Score
from pipeline.vocabulary.conditions import check_wishes
from pipeline.vocabulary.events import END, PAD, START, EventVocabulary
from pipeline.vocabulary.registry import Vocabulary, vocabulary_from_dict

# Tokens of one call of the compiled loop: long enough to hide the call, short enough that what is
# composed past the end of the last piece costs little.
CHUNK = 64
DEFAULT_MAX_TOKENS = 4096
FEW = 16  # tokens of an opening: compiling would take longer than they do
# A chorale takes about 9 tokens a quarter. A piece of this many is stuck within one chord.
MAX_TOKENS_PER_QUARTER = 64


@dataclass(frozen=True)
class Length:
    """When a piece is over: at END or `max_tokens`, or else exactly at `steps`."""

    max_tokens: int = DEFAULT_MAX_TOKENS  # composed ones; a primer's do not count
    steps: int | None = None  # of the grid, from the start of the piece: END is then not sampled

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or (self.steps is not None and self.steps < 1):
            raise ValueError(f"{self}: a piece needs a length of at least 1")

    @classmethod
    def of_steps(cls, steps: int, steps_per_quarter: int) -> Length:
        """A piece of so many grid steps, with a bound on tokens that only a stuck model reaches."""
        return cls(MAX_TOKENS_PER_QUARTER * (-(-steps // steps_per_quarter) + 4), steps)


@dataclass(frozen=True)
class Piece:
    """One composed piece."""

    index: int  # its number in the seed's series, from 0
    ids: np.ndarray  # [num_tokens] with START and the primer, END where it was sampled
    num_composed: int  # tokens after the primer
    complete: bool  # False: max_tokens came before the end that was wanted


class Composer:
    """A trained network that composes pieces of its vocabulary."""

    def __init__(
        self, model: Network, vocabulary: Vocabulary, wishes: Features = NO_FEATURES
    ) -> None:
        """`wishes`: what its pieces shall be like, where the model was trained to be asked.

        Raises ValueError for a wish that the vocabulary has no condition for.
        """
        check_wishes(wishes, vocabulary.conditions)
        self.model = model
        self.vocabulary = vocabulary
        self.wishes = wishes
        self._plan = ConditionPlan.of(vocabulary, wishes)
        state = tf.nest.map_structure(
            lambda part: tf.TensorSpec([None, *part.shape[1:]][: part.shape.rank], part.dtype),
            model.zero_state(1),
        )
        # Compiled too: outside a graph the layers take 25 ms a token, and a primer has hundreds.
        self._state_after = tf.function(
            model.state_after,
            input_signature=[tf.TensorSpec([1, None], tf.int32), state],
            autograph=False,
        )
        # Loops are said in TensorFlow's words: to look for Python's takes seconds.
        self.steps = [tf.autograph.experimental.do_not_convert(step) for step in model.steps]
        self._steps = tf.function(
            self._take_steps,
            input_signature=[
                tf.TensorSpec([None], tf.int32),  # previous
                state,
                tf.TensorSpec([None, None], tf.float32),  # draws
                tf.TensorSpec([vocabulary.size, vocabulary.size], tf.bool),  # grammar
                tf.TensorSpec([], tf.float32),  # temperature
                tf.TensorSpec([], tf.int32),  # top_k
                tf.TensorSpec([], tf.float32),  # top_p
                Place(*2 * [tf.TensorSpec([None], tf.int32)]) if self._plan else (),
            ],
            autograph=False,
        )

    @classmethod
    def load(cls, checkpoint: Path) -> Composer:
        """The composer of a checkpoint folder.

        Raises ValueError where the folder is damaged or does not fit its own configuration.
        """
        bundle = read_bundle(checkpoint)
        vocabulary = vocabulary_from_dict(bundle.vocabulary)
        config = config_from_dict(bundle.model)
        if config.vocab_size != vocabulary.size:
            raise ValueError(
                f"{checkpoint} has a network of {config.vocab_size} tokens and a vocabulary of "
                f"{vocabulary.size}. Was it put together from two runs?"
            )
        model = build_network(config)
        _assign(model, bundle, checkpoint)
        return cls(model, vocabulary)

    def asked(self, wishes: Features) -> Composer:
        """The composer of the same network that composes with these wishes.

        Raises ValueError for a wish that the model was not trained for.
        """
        return Composer(self.model, self.vocabulary, wishes) if wishes.known() else self

    def warm_up(self, hears: bool = False) -> None:
        """Compile the loop, once for all batches and lengths: about a second.

        With `hears` also what a long primer or phrase goes through, or the first would wait for it.
        """
        next(self.stream([0], Sampling(), 0, self.primer_ids(None), chunk=1))
        if hears:
            self._state_after(tf.fill([1, FEW], START), self.model.zero_state(1))

    def compose(
        self,
        pieces: Sequence[int],
        sampling: Sampling,
        length: Length,
        seed: int,
        primer: Score | None = None,
    ) -> list[Piece]:
        """Pieces of the given numbers, composed side by side.

        A piece depends on (seed, its number) and not on its neighbours, up to the rounding of a
        matrix product, which differs between batch sizes and can move one draw in about a million.
        Raises ValueError for a primer without a note that the vocabulary can say.
        """
        primer_ids = self.primer_ids(primer)
        chunks: list[np.ndarray] = []
        for chunk in self.stream(pieces, sampling, seed, primer_ids, length.steps is not None):
            chunks.append(chunk)
            drafts = np.concatenate(chunks, axis=1)
            ends = [self._end(np.concatenate([primer_ids, draft]), length) for draft in drafts]
            if drafts.shape[1] >= length.max_tokens or all(end is not None for end in ends):
                break
        return [
            self._finish(index, primer_ids, draft, length)
            for index, draft in zip(pieces, drafts, strict=True)
        ]

    def stream(
        self,
        pieces: Sequence[int],
        sampling: Sampling | Callable[[], Sampling],
        seed: int,
        primer_ids: np.ndarray,
        endless: bool = False,
        chunk: int = CHUNK,
    ) -> Iterator[np.ndarray]:
        """Chunks of ids [num_pieces, chunk] without end; PAD follows END; `endless` forbids END.

        `chunk` is rounded up to whole rows of a network that says its ids in rows. A function in
        place of the sampling is asked before each chunk: it may change.
        """
        chunk = -(-chunk // len(self.steps)) * len(self.steps)
        grammar = self.grammar(endless)
        previous, state = self.listen(primer_ids, len(pieces))
        place = self._plan.begin(primer_ids, len(pieces)) if self._plan else ()
        position = 0
        while True:
            draws = tf.constant(uniforms(seed, pieces, position, chunk))
            current = sampling() if callable(sampling) else sampling
            settings = current.tensors(self.vocabulary.size)
            ids, state, place = self._steps(previous, state, draws, grammar, *settings, place)
            yield ids.numpy().T
            previous = ids[-1]
            position += chunk

    def primer_ids(self, primer: Score | None) -> np.ndarray:
        """START and the primer's tokens [num_tokens], without END, ready to be continued."""
        if primer is None:
            return self._opening()
        ids = self._encode(primer)[:-1]
        if not (self.vocabulary.pitches[ids] >= 0).any():
            raise ValueError(
                f"the primer has no note that this model's vocabulary can say ({len(primer.notes)} "
                "notes before percussion was left out). Give one with notes, e.g. 'C4 E4 G4'"
            )
        return ids

    def _opening(self) -> np.ndarray:
        """Ids with which a piece of these wishes begins."""
        if isinstance(self.vocabulary, EventVocabulary):
            return self.vocabulary.opening_of(self.wishes)
        return self.vocabulary.opening

    def _encode(self, primer: Score) -> np.ndarray:
        """Ids of the primer, as if it had been composed with these wishes."""
        if isinstance(self.vocabulary, EventVocabulary):
            eighths = 1 + 2 * primer.end // primer.resolution
            return self.vocabulary.encode(primer, come_round(self.wishes, eighths))
        return self.vocabulary.encode(primer)

    def score(self, piece: Piece, length: Length, tempo: float) -> Score:
        """The piece as notes; a note that would sound past the length ends there."""
        score = self.vocabulary.decode(piece.ids, tempo)
        if length.steps is not None:
            room = length.steps - score.notes["onset"]
            score.notes["duration"] = np.minimum(score.notes["duration"], room)
        return score

    def listen(self, primer_ids: np.ndarray, batch_size: int) -> tuple[tf.Tensor, Any]:
        """The last primer token and the state before it, once for all pieces."""
        state: Any = self.model.zero_state(1)
        if primer_ids.size > 1:
            few = primer_ids.size <= FEW
            state_after = self.model.state_after if few else self._state_after
            state = state_after(tf.constant(primer_ids[None, :-1]), state)
        tiled = tf.nest.map_structure(
            lambda part: tf.repeat(part, batch_size, axis=0) if part.shape.rank else part, state
        )
        return tf.fill([batch_size], tf.constant(primer_ids[-1], tf.int32)), tiled

    def _take_steps(
        self,
        previous: tf.Tensor,
        state: Any,
        draws: tf.Tensor,
        grammar: tf.Tensor,
        temperature: tf.Tensor,
        top_k: tf.Tensor,
        top_p: tf.Tensor,
        place: Any,
    ) -> tuple[tf.Tensor, Any, Any]:
        """Ids [time, batch] chosen by draws [time, batch]; state and place before the last one.

        The time is of whole rows: the loop is over rows, whose ids each have a part of the graph.
        Where a row begins with an id of its own, that one says no more than whether the piece ends:
        top-k and top-p leave it alone, or a piece would go on where an end is too rare for them.
        """
        num_rows = tf.shape(draws)[0] // len(self.steps)
        limits = [(top_k, top_p) for _ in self.steps]
        if len(self.steps) > 1:
            limits[0] = (tf.constant(self.vocabulary.size), tf.constant(1.0))

        def take_row(
            row: tf.Tensor, previous: tf.Tensor, state: Any, place: Any, ids: tf.TensorArray
        ) -> tuple[Any, ...]:
            for index, step in enumerate(self.steps):
                position = row * len(self.steps) + index
                logits, state = step(previous, state)
                allowed = tf.gather(grammar, previous)
                if self._plan is not None:
                    allowed = self._plan.restrict(allowed, place)
                previous = sample(logits, allowed, draws[position], temperature, *limits[index])
                if self._plan is not None:
                    place = self._plan.move_on(place, previous)
                ids = ids.write(position, previous)
            return row + 1, previous, state, place, ids

        ids = tf.TensorArray(tf.int32, size=tf.shape(draws)[0])
        _, _, state, place, ids = tf.while_loop(
            lambda row, *_: row < num_rows, take_row, (0, previous, state, place, ids)
        )
        return ids.stack(), state, place

    def grammar(self, endless: bool) -> tf.Tensor:
        """Which id may follow which [size, size] bool, within one piece: after END only PAD."""
        follows = self.vocabulary.follows.copy()
        follows[self._opening()[-1]] = self.vocabulary.may_begin
        follows[[PAD, END], :] = False
        follows[[PAD, END], PAD] = True
        if endless:
            follows[:, END] = False
        return tf.constant(follows)

    def _end(self, ids: np.ndarray, length: Length) -> int | None:
        """How many of the ids belong to the piece; None while it goes on."""
        at_length = self.vocabulary.times(ids) >= (length.steps or 0)
        over = at_length if length.steps else ids == END
        return int(over.argmax()) if over.any() else None

    def _finish(
        self, index: int, primer_ids: np.ndarray, draft: np.ndarray, length: Length
    ) -> Piece:
        """The draft cut at its end, and back to its last whole note."""
        ids = np.concatenate([primer_ids, draft[: length.max_tokens]])
        end = self._end(ids, length)
        whole = ids[:end]
        may_end = self.vocabulary.follows[whole, END]
        num_whole = may_end.size - may_end[::-1].argmax() if may_end.any() else 0
        whole = whole[: max(num_whole, self.vocabulary.opening.size)]
        num_composed = min(ids.size if end is None else end, ids.size) - primer_ids.size
        return Piece(index, np.append(whole, END), num_composed, end is not None)


def _assign(model: Network, bundle: Bundle, checkpoint: Path) -> None:
    """Give the network the bundle's weights, all of them and no others."""
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
