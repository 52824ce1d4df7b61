"""A lane's pieces as a tf.data stream: shards -> pieces in order and key -> ids.

Every choice is the hash of a text such as "seed/shards/lane/pass", where a pass is one round
through the lane's pieces. No generator holds a state, so the stream can start anywhere and is the
same from there on. (TensorFlow promises that this hash never changes, but not its random numbers.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.dataset.manifest import Manifest
from pipeline.dataset.records import parse_records
from pipeline.vocabulary.events import EventVocabulary
from pipeline.vocabulary.grammar import END, PAD
from pipeline.vocabulary.registry import Vocabulary

PIECES_PER_CHUNK = 64  # parsed and shuffled together: enough to share what one op costs
ENDLESS = np.iinfo(np.int64).max
NUM_HASHES = 2**62  # buckets, of an int64
# In 1 of 10 passes all conditions of a piece but its chords are dropped, and each single one in 1
# of 10: the network also learns unconditional music (classifier-free guidance, Ho and Salimans
# 2022).
PASSES_PER_DROP = 10

unconverted = tf.autograph.experimental.do_not_convert  # no Python loop over tensors is in here


@dataclass(frozen=True)
class ConditionTables:
    """What each id of a vocabulary with conditions becomes in another key, or when dropped."""

    roots: tf.Tensor  # [vocabulary size] int32: the pitch class of a key or chord; others -1
    unknowns: tf.Tensor  # [vocabulary size] int32: UNKNOWN of a condition of the piece; else itself
    divisors: tf.Tensor  # [vocabulary size] int64: which digit of a piece's draw decides

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> ConditionTables | None:
        """The tables; None for a vocabulary without conditions."""
        if not isinstance(vocabulary, EventVocabulary) or not vocabulary.conditions:
            return None
        unknowns = np.arange(vocabulary.size, dtype=np.int32)
        divisors = np.ones(vocabulary.size, np.int64)
        for place, name in enumerate(vocabulary.piece_conditions, start=1):
            block = vocabulary.blocks[name]
            unknowns[block.start : block.stop] = block.start
            divisors[block.start : block.stop] = PASSES_PER_DROP**place
        return cls(tf.constant(vocabulary.roots), tf.constant(unknowns), tf.constant(divisors))


@dataclass(frozen=True)
class LaneReader:
    """Reader of the lanes of a split. Lane and pass are scalar int64 tensors in all methods.

    So one function, traced once, serves every lane and pass; tracing one for each of 16 lanes
    would add seconds to start-up. In comments, n is the number of pieces in a chunk.
    """

    files: tf.Tensor  # [num_shards] string, in lane order: shard i belongs to lane i % num_lanes
    num_tokens: tf.Tensor  # [num_shards] int64
    num_pieces: tf.Tensor  # [num_shards] int64
    num_lanes: int
    pitches: tf.Tensor  # [vocabulary size] int32: the MIDI key of an id; -1 of ids without pitch
    when_moved: tf.Tensor  # [vocabulary size] int32: the id in a transposed piece, but for pitches
    seed: int | None  # None: stored order, own keys
    max_transpose: int  # semitones
    own_key: float  # share of the passes in which a piece is not transposed
    conditions: ConditionTables | None = None  # None: the vocabulary has no conditions

    @classmethod
    def of(
        cls,
        data_dir: Path,
        manifest: Manifest,
        split: str,
        *,
        seed: int | None = None,
        max_transpose: int = 0,
        own_key: float = 0.0,
    ) -> LaneReader:
        """The reader of a split. Without a seed the pieces come in the order of the shards."""
        shards = manifest.of_split(split)
        vocabulary = manifest.open_vocabulary
        return cls(
            tf.constant([str(data_dir / shard.file) for shard in shards], tf.string),
            tf.constant([shard.num_tokens for shard in shards], tf.int64),
            tf.constant([shard.num_pieces for shard in shards], tf.int64),
            manifest.num_lanes,
            tf.constant(vocabulary.pitches),
            tf.constant(vocabulary.when_moved),
            seed,
            max_transpose,
            own_key,
            ConditionTables.of(vocabulary),
        )

    def tokens_per_pass(self, lane: tf.Tensor) -> tf.Tensor:
        """Tokens of the lane, scalar int64."""
        return self._per_pass(lane, self.num_tokens)

    def pieces_per_pass(self, lane: tf.Tensor) -> tf.Tensor:
        """Pieces of the lane, scalar int64."""
        return self._per_pass(lane, self.num_pieces)

    def _per_pass(self, lane: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.gather(sizes, self._shards(lane)))

    @unconverted
    def one_pass(self, lane: tf.Tensor) -> tf.data.Dataset:
        """Chunks [None] int32 of END and then the lane's pieces, once."""
        return _stream(self._pass(lane, tf.constant(0, tf.int64), tf.constant(0)))

    @unconverted
    def pieces_of_one_pass(self, lane: tf.Tensor, room: int) -> tf.data.Dataset:
        """Pieces [1 + room] int32, END before each and PAD after it, once."""
        return _one_by_one(self._pass(lane, tf.constant(0, tf.int64), tf.constant(0)), room)

    @unconverted
    def endless(self, lane: tf.Tensor, skip: tf.Tensor) -> tf.data.Dataset:
        """Chunks [None] int32 of END and then pass after pass, without the first `skip` tokens."""
        passes, before = self._passes(lane, self.num_tokens, skip)
        # The token before any shard is an END, so it is known without reading the shard before.
        return _stream(passes).scan(before, _drop)

    @unconverted
    def endless_pieces(self, lane: tf.Tensor, room: int, skip: tf.Tensor) -> tf.data.Dataset:
        """Pieces [1 + room] int32 as in `pieces_of_one_pass`, pass after pass, from `skip` on."""
        passes, before = self._passes(lane, self.num_pieces, skip)
        return _one_by_one(passes, room).skip(before)

    def _passes(
        self, lane: tf.Tensor, sizes: tf.Tensor, skip: tf.Tensor
    ) -> tuple[tf.data.Dataset, tf.Tensor]:
        """Chunks [n, None] from the shard that holds position `skip`, and its position there.

        Positions count tokens or pieces: `sizes` [num_shards] int64 is how many a shard has.
        """
        # The pass, and the position within it.
        size = self._per_pass(lane, sizes)
        first_pass, within = skip // size, skip % size

        # The shard. Those before it are not opened: a restart must not read the data set again.
        ends = tf.cumsum(tf.gather(sizes, self._shard_order(lane, first_pass)))  # [lane's shards]
        first_shard = tf.searchsorted(ends, within[None], side="right")[0]
        shard_start = tf.concat([[tf.constant(0, tf.int64)], ends], 0)[first_shard]

        passes = tf.data.Dataset.range(first_pass, ENDLESS).flat_map(
            lambda number: self._pass(lane, number, tf.where(number == first_pass, first_shard, 0))
        )
        return passes, within - shard_start

    def shuffled(self, rows: tf.Tensor, kind: str, *place: tf.Tensor) -> tf.Tensor:
        """The rows [n, ...] in an order that depends on (seed, kind, place) alone.

        Without a seed the order stays as it is.
        """
        if self.seed is None:
            return rows
        numbers = tf.strings.as_string(tf.range(tf.shape(rows)[0]))  # [n]
        return tf.gather(rows, tf.argsort(self._hashes(numbers, kind, *place), stable=True))

    def _hashes(self, names: tf.Tensor, kind: str, *place: tf.Tensor) -> tf.Tensor:
        """A number [n] int64, uniform in 0 .. NUM_HASHES - 1, for each name [n].

        It depends on the name, the seed, `kind` and `place` alone.
        """
        numbers = tf.strings.as_string(tf.stack([tf.cast(number, tf.int64) for number in place]))
        prefix = tf.strings.reduce_join(
            tf.concat([[f"{self.seed}/{kind}"], numbers], 0), separator="/"
        )
        return tf.strings.to_hash_bucket_fast(tf.strings.join([prefix, names], "/"), NUM_HASHES)

    def _shards(self, lane: tf.Tensor) -> tf.Tensor:
        """The numbers of the lane's shards, in their stored order."""
        return tf.range(lane, self.files.shape[0], self.num_lanes)

    def _shard_order(self, lane: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        """The numbers of the lane's shards, in the order of pass `number`."""
        return self.shuffled(self._shards(lane), "shards", lane, number)

    def _pass(self, lane: tf.Tensor, number: tf.Tensor, first_shard: tf.Tensor) -> tf.data.Dataset:
        """Chunks [n, None] int32 of pass `number`, from the given index in its order of shards."""
        shards = self._shard_order(lane, number)[first_shard:]
        return tf.data.Dataset.from_tensor_slices(shards).flat_map(
            lambda shard: self._shard(shard, number)
        )

    def _shard(self, shard: tf.Tensor, number: tf.Tensor) -> tf.data.Dataset:
        """Chunks [n, None] int32 of one file's pieces, in the order and keys of pass `number`.

        No chunk holds pieces of two files, so a pass can start at any of them.
        """

        def to_tokens(index: tf.Tensor, records: tf.Tensor) -> tf.RaggedTensor:
            """Records [n] string -> tokens [n, None] int32."""
            records = self.shuffled(records, "pieces", number, shard, index)
            pieces = parse_records(records)
            tokens = tf.cast(pieces["tokens"], tf.int32)
            tokens = self._without_some_conditions(tokens, pieces["piece"], number)
            return self._transposed(tokens, pieces["piece"], number)

        records = tf.data.TFRecordDataset(self.files[shard])
        # Records [] -> chunks [n] with their index -> tokens [n, None].
        return records.batch(PIECES_PER_CHUNK).enumerate().map(to_tokens)

    def _transposed(
        self, tokens: tf.RaggedTensor, pieces: tf.Tensor, number: tf.Tensor
    ) -> tf.RaggedTensor:
        """Tokens [n, None], each piece moved by semitones drawn uniformly from those in range.

        `pieces` [n] are the ids. In a share `own_key` of its passes, to a hundredth, a piece
        stays where it is.
        """
        if not self.max_transpose:
            return tokens
        # The range of each piece, of its tokens with a pitch: [n].
        key = tf.gather(self.pitches, tokens.values)  # [tokens of the chunk]
        is_pitch = key >= 0
        first = tf.reduce_min(tf.boolean_mask(self.pitches, self.pitches >= 0))  # scalars
        last = tf.reduce_max(self.pitches)
        piece_of_each, num_pieces = tokens.value_rowids(), tokens.nrows()
        lowest = tf.math.unsorted_segment_min(
            tf.where(is_pitch, key, last), piece_of_each, num_pieces
        )
        highest = tf.math.unsorted_segment_max(
            tf.where(is_pitch, key, first), piece_of_each, num_pieces
        )
        down = tf.minimum(lowest - first, self.max_transpose)
        up = tf.minimum(last - highest, self.max_transpose)

        # How far each piece moves: [n]. By its id, so the same in whatever lane it is stored.
        draw = self._hashes(pieces, "transpose", number)
        semitones = tf.cast(draw % tf.cast(down + up + 1, tf.int64), tf.int32) - down
        stays = tf.cast(self._hashes(pieces, "stay", number) % 100, tf.float32) < 100 * self.own_key
        semitones = tf.where(stays, 0, semitones)

        # The tokens moved: notes by semitones, keys and chords within the 12 of their block.
        of_each = tf.gather(semitones, piece_of_each)  # [tokens of the chunk]
        ids = tf.where(of_each == 0, tokens.values, tf.gather(self.when_moved, tokens.values))
        moved = ids + tf.where(is_pitch, of_each, 0)
        if self.conditions:
            root = tf.gather(self.conditions.roots, tokens.values)
            moved += tf.where(root >= 0, (root + of_each) % 12 - root, 0)
        return tokens.with_values(moved)

    def _without_some_conditions(
        self, tokens: tf.RaggedTensor, pieces: tf.Tensor, number: tf.Tensor
    ) -> tf.RaggedTensor:
        """Tokens [n, None] in which conditions of some pieces [n] became UNKNOWN, in training."""
        if self.conditions is None or self.seed is None:
            return tokens
        # [tokens of the chunk]: each digit of a piece's draw decides on one condition, the last
        # digit on all of them.
        draw = tf.gather(self._hashes(pieces, "conditions", number), tokens.value_rowids())
        divisor = tf.gather(self.conditions.divisors, tokens.values)
        unknown = tf.gather(self.conditions.unknowns, tokens.values)
        dropped = (draw % PASSES_PER_DROP == 0) | (draw // divisor % PASSES_PER_DROP == 0)
        return tokens.with_values(tf.where(dropped, unknown, tokens.values))


def _stream(chunks: tf.data.Dataset) -> tf.data.Dataset:
    """Chunks [None] int32 of END and then all pieces of chunks [n, None], one after another."""
    ids = chunks.map(lambda pieces: pieces.values)  # [n, None] -> [tokens of the chunk]
    return tf.data.Dataset.from_tensors(tf.constant([END])).concatenate(ids)


def _one_by_one(chunks: tf.data.Dataset, room: int) -> tf.data.Dataset:
    """The pieces [1 + room] int32 of chunks [n, None], END before each and PAD after it."""

    def as_rows(pieces: tf.RaggedTensor) -> tf.Tensor:
        rows = pieces.to_tensor(PAD, shape=[None, room])  # [n, room]
        return tf.pad(rows, [[0, 0], [1, 0]], constant_values=END)  # [n, 1 + room]

    return chunks.map(as_rows).unbatch()


def _drop(remaining: tf.Tensor, chunk: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Step of a scan over chunks [None] that drops the first `remaining` ids of the stream."""
    dropped = tf.minimum(remaining, tf.size(chunk, tf.int64))
    return remaining - dropped, chunk[dropped:]
