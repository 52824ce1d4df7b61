"""Shards -> tf.data batches of one worker. The order of operations lives here.

The data set is cut into `num_lanes` lanes, and every step takes `global_batch_size / num_lanes`
windows from each. A worker reads the lanes rank, rank + size, ..., so the global batch of a step
is the same set of windows on any number of workers, and the place in the data is two integers:
epoch, and step within the epoch. (The idea is the "elastic determinism" of MosaicML Streaming.)

A lane is one endless stream of tokens: its pieces in a new order and new keys on every pass. A
window is `sequence_length + 1` ids, the inputs [:, :-1] and targets [:, 1:]; windows overlap by
one id, so every token of the stream is a target once, and nothing is padded, cut off or skipped.
The next epoch begins where the last step of an epoch ended.

With `whole_pieces` every window is one piece, END before it and PAD after it, and a batch is cut
to its longest piece: for networks that read each piece from its beginning, as when they compose.

Each worker shards by lane itself, the same way for every strategy; every random choice is a pure
function of (seed, lane, pass), without a stateful generator, so any (epoch, step) can be the first.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from pipeline.dataset.lanes import LaneReader
from pipeline.dataset.schedule import BatchPlan
from pipeline.vocabulary.grammar import PAD, START

WINDOWS_PER_BLOCK = 256  # shuffled together; all lanes must fill one before the first batch


def target_weights(tokens: tf.Tensor) -> tf.Tensor:
    """Weights [rows, time] float32 of the targets of windows [rows, time + 1].

    1 for a token of a piece, END included; 0 for PAD, and for START, which follows END always:
    counting that certain guess would flatter the mean.
    """
    return tf.cast(tokens[:, 1:] > max(PAD, START), tf.float32)


@tf.autograph.experimental.do_not_convert  # no Python loop to convert; saves a second
def training_batches(
    data_dir: Path, plan: BatchPlan, *, epoch: int = 0, step: int = 0
) -> tf.data.Dataset:
    """Endless batches [rows, sequence_length + 1] int32 of one worker, from (epoch, step) on.

    Rows are lane-major: all rows of the worker's first lane, then of its second, ... Every piece
    is moved by up to `max_transpose` semitones, anew on each pass over the lane, except in a share
    `own_key` of the passes. With `whole_pieces` a batch is cut to its longest piece.
    """
    rows, length = plan.rows_per_lane, plan.sequence_length
    first_window = (epoch * plan.steps_per_epoch + step) * rows  # of every lane
    reader = LaneReader.of(
        data_dir,
        plan.manifest,
        "train",
        seed=plan.seed,
        max_transpose=plan.max_transpose,
        own_key=plan.own_key,
    )

    def slices_of_lane(lane: tf.Tensor) -> tf.data.Dataset:
        """Slices [rows, length + 1] of one lane without end, the one of `first_window` first."""
        # At most one pass in a block, or the same music would come twice within a few steps.
        windows_per_pass = (
            reader.pieces_per_pass(lane)
            if plan.whole_pieces
            else reader.tokens_per_pass(lane) // length
        )
        num_windows = tf.clip_by_value(windows_per_pass, 1, WINDOWS_PER_BLOCK)
        first_block = first_window // num_windows
        if plan.whole_pieces:
            # pieces [length + 1] -> blocks [num_windows, length + 1]
            pieces = reader.endless_pieces(lane, length, skip=first_block * num_windows)
            blocks = pieces.batch(num_windows)
        else:
            # chunks of ids [None] -> blocks [num_windows, length + 1]
            tokens = reader.endless(lane, skip=first_block * num_windows * length)
            blocks = _windows(tokens, num_windows, length)
        # Neighbouring windows are of one piece: shuffled, a batch holds more than a few pieces.
        blocks = blocks.enumerate(first_block).map(
            lambda index, block: reader.shuffled(block, "windows", lane, index)
        )
        # blocks [num_windows, length + 1] -> windows [length + 1] -> slices [rows, length + 1].
        # Skipped after the shuffle: a run that starts within a block must cut the same block.
        return blocks.unbatch().skip(first_window % num_windows).batch(rows, drop_remainder=True)

    return _lane_major(plan, slices_of_lane)


@tf.autograph.experimental.do_not_convert  # no Python loop to convert; saves a second
def evaluation_batches(data_dir: Path, plan: BatchPlan, split: str) -> tf.data.Dataset:
    """One pass: (tokens [rows, sequence_length + 1] int32, weights [rows, sequence_length]).

    Every token of the split but START has weight 1 exactly once over all ranks, in its own key and
    stored order; where a lane has ended the rows are PAD with weight 0. The windows are the same
    on any number of workers, and every rank has `plan.evaluation_steps` batches. With
    `whole_pieces` a batch is cut to its longest piece. Raises ValueError for an empty split.
    """
    if not plan.manifest.num_pieces(split):
        raise ValueError(f"the {split} split of {data_dir} has no piece to evaluate on")
    steps, rows, length = plan.evaluation_steps(split), plan.rows_per_lane, plan.sequence_length
    reader = LaneReader.of(data_dir, plan.manifest, split)

    def slices_of_lane(lane: tf.Tensor) -> tf.data.Dataset:
        """The `steps` slices [rows, length + 1] of one lane, PAD where it has ended."""
        # Padded without end, then cut: every lane, even an empty one, has as many slices.
        if plan.whole_pieces:
            # pieces [length + 1] -> slices [rows, length + 1]
            pieces = reader.pieces_of_one_pass(lane, length)
            padding = tf.data.Dataset.from_tensors(tf.fill([length + 1], PAD)).repeat()
            return pieces.concatenate(padding).batch(rows).take(steps)
        # chunks of ids [None] -> slices [rows, length + 1]
        padding = tf.data.Dataset.from_tensors(tf.fill([rows * length], PAD)).repeat()
        tokens = reader.one_pass(lane).concatenate(padding)
        return _windows(tokens, rows, length).take(steps)

    batches = _lane_major(plan, slices_of_lane)
    return batches.map(lambda tokens: (tokens, target_weights(tokens)))


def _windows(tokens: tf.data.Dataset, num_windows: int | tf.Tensor, length: int) -> tf.data.Dataset:
    """Blocks [num_windows, length + 1] of windows from endless chunks [None] of ids."""
    block_tokens = tf.cast(num_windows * length, tf.int64)
    # Chunks are cut anew as a whole, [None] -> [block_tokens]: an element for each token would
    # cost 100 times as much.
    blocks = tokens.rebatch(block_tokens)

    def cut(block: tf.Tensor, following: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The next state and the output: the windows of `block`, which `following` completes."""
        inputs = tf.reshape(block, [-1, length])  # [num_windows, length]
        next_starts = tf.concat([inputs[1:, 0], following[:1]], 0)  # [num_windows]
        return following, tf.concat([inputs, next_starts[:, None]], 1)  # [.., length + 1]

    # A block waits for the first id of the next one; the first output, of zeros, is skipped.
    return blocks.scan(tf.zeros([block_tokens], tf.int32), cut).skip(1)


def _lane_major(
    plan: BatchPlan, slices_of_lane: Callable[[tf.Tensor], tf.data.Dataset]
) -> tf.data.Dataset:
    """Batches [rows of the worker, time]: a slice of each of its lanes, one below the other.

    `time` is sequence_length + 1; with `whole_pieces` less, what the longest piece needs.
    """
    lanes = plan.local_lanes
    order = tf.data.Dataset.from_tensor_slices(tf.constant(list(lanes), tf.int64))
    # Slices [rows, length + 1], one of each lane in turn -> [lanes, rows, length + 1].
    slices = order.interleave(slices_of_lane, cycle_length=len(lanes))
    batches = slices.batch(len(lanes), drop_remainder=True)
    # [lanes, rows, length + 1] -> [lanes * rows, length + 1]
    shape = [plan.local_batch_size, plan.sequence_length + 1]
    batches = batches.map(lambda stacked: tf.reshape(stacked, shape))
    if plan.whole_pieces:
        frame = plan.manifest.open_vocabulary.tokens_per_frame
        batches = batches.map(lambda tokens: _cut_padding(tokens, 1 + frame))
    # While the model computes one batch the next is made; more would only hold memory.
    return batches.prefetch(2).with_options(_options())


def _cut_padding(tokens: tf.Tensor, least: int) -> tf.Tensor:
    """The batch [rows, time] without the columns that are PAD in every row; `least` stay."""
    in_use = tf.where(tf.reduce_any(tokens != PAD, axis=0))[:, 0]  # [columns in use] int64
    return tokens[:, : tf.maximum(tf.reduce_max(in_use) + 1, least)]


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    # Lanes already share the data out; TensorFlow's own sharding would drop part of each.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # One thread keeps up with the model many times over; more would take its cores from it.
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    options.autotune.enabled = False
    # Nothing here to fuse or vectorise, and looking for it takes a third of the start.
    options.experimental_optimization.apply_default_optimizations = False
    return options
