"""A lane's pieces as a tf.data stream: shards -> pieces in order and key -> ids.

Every choice is the hash of a text such as "seed/shards/lane/pass", a pass being one round through
the lane's pieces: no generator holds a state, so the stream can start anywhere and be the same from
there on. (TensorFlow promises that this hash never changes; of its random numbers it does not.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.dataset.manifest import Manifest
from pipeline.dataset.records import parse_records
from pipeline.vocabulary.events import END, PAD, EventVocabulary
from pipeline.vocabulary.registry import Vocabulary

PIECES_PER_CHUNK = 64  # parsed and shuffled together: enough to share what one op costs
ENDLESS = np.iinfo(np.int64).max
NUM_HASHES = 2**62  # buckets, of an int64
# In one of so many passes a piece does not say its conditions, and in one of so many not a certain
# one: the network learns also what music is of which little is known (Ho and Salimans 2022).
PASSES_PER_SILENCE = 10


@dataclass(frozen=True)
class ConditionTables:
    """What each id of a vocabulary with conditions becomes in another key, or unsaid."""

    roots: tf.Tensor  # [vocabulary size] int32: the pitch class of a key or chord, -1 for none
    unknowns: tf.Tensor  # [vocabulary size] int32: of a whole condition its UNKNOWN; else itself
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
            divisors[block.start : block.stop] = PASSES_PER_SILENCE**place
        return cls(tf.constant(vocabulary.roots), tf.constant(unknowns), tf.constant(divisors))


@dataclass(frozen=True)
class LaneReader:
    """The lanes of a split. Lane and pass are scalar int64 tensors in all its methods.

    One function, traced once, then serves every lane and pass; tracing one for each of 16 lanes
    would add seconds to start-up.
    """

    files: tf.Tensor  # [num_shards] string, in lane order: shard i belongs to lane i % num_lanes
    num_tokens: tf.Tensor  # [num_shards] int64
    num_pieces: tf.Tensor  # [num_shards] int64
    num_lanes: int
    pitches: tf.Tensor  # [vocabulary size] int32: the MIDI key of an id, -1 for none
    seed: int | None  # None: stored order, own keys
    max_transpose: int
    own_key: float
    conditions: ConditionTables | None = None  # of a vocabulary that has some

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
        """The reader of a split. Without a seed the order is the stored one."""
        shards = manifest.of_split(split)
        vocabulary = manifest.open_vocabulary
        return cls(
            tf.constant([str(data_dir / shard.file) for shard in shards], tf.string),
            tf.constant([shard.num_tokens for shard in shards], tf.int64),
            tf.constant([shard.num_pieces for shard in shards], tf.int64),
            manifest.num_lanes,
            tf.constant(vocabulary.pitches),
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

    def one_pass(self, lane: tf.Tensor) -> tf.data.Dataset:
        """Chunks [None] int32 of END and then the lane's pieces, once."""
        return _stream(self._pass(lane, tf.constant(0, tf.int64), tf.constant(0)))

    def pieces_of_one_pass(self, lane: tf.Tensor, room: int) -> tf.data.Dataset:
        """Pieces [1 + room] int32, END before each and PAD after it, once."""
        return _one_by_one(self._pass(lane, tf.constant(0, tf.int64), tf.constant(0)), room)

    def endless(self, lane: tf.Tensor, skip: tf.Tensor) -> tf.data.Dataset:
        """Chunks [None] int32 of END and then pass after pass, without the first `skip` tokens."""
        passes, before = self._passes(lane, self.num_tokens, skip)
        # Every shard follows an END, so what stands before one is known without reading it.
        return _stream(passes).scan(before, _drop)

    def endless_pieces(self, lane: tf.Tensor, room: int, skip: tf.Tensor) -> tf.data.Dataset:
        """Pieces [1 + room] int32 as in `pieces_of_one_pass`, pass after pass, from `skip` on."""
        passes, before = self._passes(lane, self.num_pieces, skip)
        return _one_by_one(passes, room).skip(before)

    def _passes(
        self, lane: tf.Tensor, sizes: tf.Tensor, skip: tf.Tensor
    ) -> tuple[tf.data.Dataset, tf.Tensor]:
        """Chunks of pass after pass, from the shard on in which place `skip` lies, and how far in.

        Places are counted by `sizes` [num_shards] int64.
        """
        size = self._per_pass(lane, sizes)
        first_pass, within = skip // size, skip % size
        # Shards before the place are not opened: a restart must not read the data set again.
        ends = tf.cumsum(tf.gather(sizes, self._shard_order(lane, first_pass)))
        first_shard = tf.searchsorted(ends, within[None], side="right")[0]
        shard_start = tf.concat([[tf.constant(0, tf.int64)], ends], 0)[first_shard]
        passes = tf.data.Dataset.range(first_pass, ENDLESS).flat_map(
            lambda number: self._pass(lane, number, tf.where(number == first_pass, first_shard, 0))
        )
        return passes, within - shard_start

    def shuffled(self, rows: tf.Tensor, kind: str, *place: tf.Tensor) -> tf.Tensor:
        """The rows in an order that depends on (seed, kind, place) alone; as they are, unseeded."""
        if self.seed is None:
            return rows
        numbers = tf.strings.as_string(tf.range(tf.shape(rows)[0]))
        return tf.gather(rows, tf.argsort(self._hashes(numbers, kind, *place), stable=True))

    def _hashes(self, names: tf.Tensor, kind: str, *place: tf.Tensor) -> tf.Tensor:
        """An even draw from 0 .. NUM_HASHES - 1 for each name [n], that depends on nothing else."""
        numbers = tf.strings.as_string(tf.stack([tf.cast(number, tf.int64) for number in place]))
        prefix = tf.strings.reduce_join(
            tf.concat([[f"{self.seed}/{kind}"], numbers], 0), separator="/"
        )
        return tf.strings.to_hash_bucket_fast(tf.strings.join([prefix, names], "/"), NUM_HASHES)

    def _shards(self, lane: tf.Tensor) -> tf.Tensor:
        return tf.range(lane, self.files.shape[0], self.num_lanes)

    def _shard_order(self, lane: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        return self.shuffled(self._shards(lane), "shards", lane, number)

    def _pass(self, lane: tf.Tensor, number: tf.Tensor, first_shard: tf.Tensor) -> tf.data.Dataset:
        """Chunks [n, None] int32 of pass `number`, from a place in its order of shards on."""
        shards = self._shard_order(lane, number)[first_shard:]
        return tf.data.Dataset.from_tensor_slices(shards).flat_map(
            lambda shard: self._shard(shard, number)
        )

    def _shard(self, shard: tf.Tensor, number: tf.Tensor) -> tf.data.Dataset:
        """Chunks of one file's pieces. Chunks end with it, so where a pass starts is free."""

        def to_tokens(index: tf.Tensor, records: tf.Tensor) -> tf.RaggedTensor:
            records = self.shuffled(records, "pieces", number, shard, index)
            pieces = parse_records(records)
            tokens = tf.cast(pieces["tokens"], tf.int32)
            tokens = self._partly_silent(tokens, pieces["piece"], number)
            return self._transposed(tokens, pieces["piece"], number)

        records = tf.data.TFRecordDataset(self.files[shard])
        return records.batch(PIECES_PER_CHUNK).enumerate().map(to_tokens)

    def _transposed(
        self, tokens: tf.RaggedTensor, pieces: tf.Tensor, number: tf.Tensor
    ) -> tf.RaggedTensor:
        """Each piece moved by semitones drawn evenly from those that keep it in range.

        In a share `own_key` of its passes, to a hundredth, it stays where it is.
        """
        if not self.max_transpose:
            return tokens
        key = tf.gather(self.pitches, tokens.values)
        is_pitch = key >= 0
        first = tf.reduce_min(tf.boolean_mask(self.pitches, self.pitches >= 0))
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

        # By name: a piece moves the same way in whatever lane and place it is stored.
        draw = self._hashes(pieces, "transpose", number)
        semitones = tf.cast(draw % tf.cast(down + up + 1, tf.int64), tf.int32) - down
        stays = tf.cast(self._hashes(pieces, "stay", number) % 100, tf.float32) < 100 * self.own_key
        semitones = tf.where(stays, 0, semitones)
        of_each = tf.gather(semitones, piece_of_each)
        moved = tokens.values + tf.where(is_pitch, of_each, 0)
        if self.conditions:
            root = tf.gather(self.conditions.roots, tokens.values)
            moved += tf.where(root >= 0, (root + of_each) % 12 - root, 0)
        return tokens.with_values(moved)

    def _partly_silent(
        self, tokens: tf.RaggedTensor, pieces: tf.Tensor, number: tf.Tensor
    ) -> tf.RaggedTensor:
        """Each piece with some of its conditions unknown, or all, in some passes of training."""
        if self.conditions is None or self.seed is None:
            return tokens
        draw = tf.gather(self._hashes(pieces, "conditions", number), tokens.value_rowids())
        divisor = tf.gather(self.conditions.divisors, tokens.values)
        unknown = tf.gather(self.conditions.unknowns, tokens.values)
        silent = (draw % PASSES_PER_SILENCE == 0) | (draw // divisor % PASSES_PER_SILENCE == 0)
        return tokens.with_values(tf.where(silent, unknown, tokens.values))


def _stream(chunks: tf.data.Dataset) -> tf.data.Dataset:
    """Chunks [None] int32 of END and then all pieces of chunks [n, None], one after another."""
    ids = chunks.map(lambda pieces: pieces.values)
    return tf.data.Dataset.from_tensors(tf.constant([END])).concatenate(ids)


def _one_by_one(chunks: tf.data.Dataset, room: int) -> tf.data.Dataset:
    """The pieces [1 + room] int32 of chunks [n, None], END before each and PAD after it."""

    def as_rows(pieces: tf.RaggedTensor) -> tf.Tensor:
        rows = pieces.to_tensor(PAD, shape=[None, room])
        return tf.pad(rows, [[0, 0], [1, 0]], constant_values=END)

    return chunks.map(as_rows).unbatch()


def _drop(remaining: tf.Tensor, chunk: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Step of a scan that leaves out the first ids of a stream of chunks."""
    dropped = tf.minimum(remaining, tf.size(chunk, tf.int64))
    return remaining - dropped, chunk[dropped:]
