from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipeline.dataset.batches import (
    WINDOWS_PER_BLOCK,
    evaluation_batches,
    target_weights,
    training_batches,
)
from pipeline.dataset.lanes import LaneReader
from pipeline.dataset.manifest import FILE_NAME, Manifest
from pipeline.dataset.records import read_pieces, write_shard
from pipeline.dataset.schedule import BatchPlan, room_for_pieces
from pipeline.scores.notes import Score
from pipeline.vocabulary.events import END, MARKS, PAD, START, EventVocabulary
from pipeline.vocabulary.grid import GridVocabulary

TIME = 32
BATCH = 8
MAX_TRANSPOSE = 5

# An example takes a second: a failing one is shown as it is, not made smaller for minutes.
few_examples = partial(
    settings, deadline=None, derandomize=True, database=None, phases=[Phase.generate]
)


@pytest.fixture(scope="module")
def manifest(tiny_shards: Path) -> Manifest:
    return Manifest.load(tiny_shards)


@cache
def train(
    data_dir: Path,
    num_steps: int,
    *,
    rank: int = 0,
    size: int = 1,
    seed: int = 1,
    max_transpose: int = MAX_TRANSPOSE,
    epoch: int = 0,
    step: int = 0,
    time: int = TIME,
    batch: int = BATCH,
) -> np.ndarray:
    """The first batches of a worker: [num_steps, rows, time + 1]."""
    plan = BatchPlan(
        Manifest.load(data_dir),
        sequence_length=time,
        global_batch_size=batch,
        rank=rank,
        size=size,
        seed=seed,
        max_transpose=max_transpose,
    )
    batches = training_batches(data_dir, plan, epoch=epoch, step=step)
    return np.stack(list(batches.take(num_steps).as_numpy_iterator()))


def by_lane(batches: Sequence[np.ndarray], num_lanes: int) -> np.ndarray:
    """Batches of every rank, in rank order, as [num_steps, num_lanes, rows of a lane, time + 1]."""
    size = len(batches)
    num_steps, _, width = batches[0].shape
    whole = np.empty((num_steps, num_lanes, batches[0].shape[1] * size // num_lanes, width), int)
    for rank, local in enumerate(batches):
        lanes = range(rank, num_lanes, size)
        whole[:, lanes] = local.reshape(num_steps, len(lanes), -1, width)
    return whole


@pytest.fixture(scope="module")
def two_epochs(tiny_shards: Path, manifest: Manifest) -> np.ndarray:
    return train(tiny_shards, 2 * BatchPlan(manifest, TIME, BATCH).steps_per_epoch)


@pytest.mark.parametrize("size", [2, 4])
def test_the_global_batch_of_a_step_does_not_depend_on_the_number_of_workers(
    size: int, tiny_shards: Path, manifest: Manifest, two_epochs: np.ndarray
) -> None:
    num_steps = len(two_epochs)
    shares = [train(tiny_shards, num_steps, rank=rank, size=size) for rank in range(size)]
    assert shares[0].shape[1] == BATCH // size
    np.testing.assert_array_equal(
        by_lane(shares, manifest.num_lanes), by_lane([two_epochs], manifest.num_lanes)
    )


@few_examples(max_examples=3)
@given(place=st.floats(0, 0.9))
def test_a_run_started_again_anywhere_sees_what_it_would_have_seen(
    tiny_shards: Path, manifest: Manifest, two_epochs: np.ndarray, place: float
) -> None:
    steps = len(two_epochs) // 2
    epoch, step = divmod(int(place * len(two_epochs)), steps)
    rest = train(tiny_shards, 3, epoch=epoch, step=step)
    np.testing.assert_array_equal(rest, two_epochs[epoch * steps + step :][:3])


def test_another_seed_gives_other_batches(tiny_shards: Path, two_epochs: np.ndarray) -> None:
    other = train(tiny_shards, 3, seed=2)
    assert not (other == two_epochs[:3]).all(axis=2).any(), "a window stood in the same place"


def test_a_window_continues_by_one_id_into_the_next_and_pads_nothing(
    two_epochs: np.ndarray,
) -> None:
    assert two_epochs.dtype == np.int32
    assert two_epochs.shape[1:] == (BATCH, TIME + 1)
    assert (two_epochs != PAD).all()
    starts = two_epochs[:, :, 1:] == START
    assert starts.any()
    assert (two_epochs[:, :, :-1][starts] == END).all(), "a piece began within another"


def numbered_shards(folder: Path, lanes: Sequence[Sequence[Sequence[int]]]) -> list[set[int]]:
    """Write a data set in which only START and END come twice; the other ids of each lane.

    A lane is given by its shards, a shard by the lengths of its pieces.
    """
    first, shards, ids_of_lane = MARKS, [], [set[int]() for _ in lanes]
    for row in range(max(map(len, lanes))):
        for lane, shards_of_lane in enumerate(lanes):
            pieces = []
            for length in shards_of_lane[row] if row < len(shards_of_lane) else []:
                ids = range(first, first + length - 2)
                pieces.append((f"piece {first}", np.array([START, *ids, END])))
                ids_of_lane[lane].update(ids)
                first = ids.stop
            shards.append(write_shard(folder / f"{row}-{lane}.tfrecord", "train", pieces))
    manifest = Manifest(EventVocabulary().to_dict(), len(lanes), 0, {}, tuple(shards))
    (folder / "manifest.json").write_text(manifest.to_json())
    return ids_of_lane


shards_of_a_lane = st.lists(
    st.lists(st.integers(3, 60), min_size=1, max_size=4), min_size=1, max_size=3
)


@few_examples(max_examples=4)
@given(
    lanes=st.lists(shards_of_a_lane, min_size=1, max_size=4),
    time=st.sampled_from([1, 7, 16]),
    rows=st.integers(1, 3),
)
def test_every_token_is_a_target_once_in_every_pass_over_its_lane(
    tmp_path_factory: pytest.TempPathFactory,
    lanes: list[list[list[int]]],
    time: int,
    rows: int,
) -> None:
    folder = tmp_path_factory.mktemp("numbered")
    lanes = [[*lane, [60, 60]] for lane in lanes]  # enough for one step
    ids_of_lane = numbered_shards(folder, lanes)
    tokens_of_lane = [sum(map(sum, lane)) for lane in lanes]
    num_steps = -(-2 * max(tokens_of_lane) // (rows * time))
    batches = train(folder, num_steps, max_transpose=0, time=time, batch=len(lanes) * rows)
    windows = by_lane([batches], len(lanes))
    for lane, num_tokens in enumerate(tokens_of_lane):
        # Windows are shuffled within blocks of a pass: whole blocks are a whole stretch of stream.
        block = min(num_tokens // time, WINDOWS_PER_BLOCK)
        num_windows = num_steps * rows // block * block
        targets = windows[:, lane].reshape(-1, time + 1)[:num_windows, 1:]
        times_seen = Counter(targets.ravel().tolist())
        passes = num_windows * time // num_tokens
        assert {times_seen[token] for token in ids_of_lane[lane]} <= {passes, passes + 1}


def test_the_order_of_pieces_changes_from_pass_to_pass(tmp_path: Path) -> None:
    (ids,) = numbered_shards(tmp_path, [[[8] * 30, [8] * 30]])
    steps = 480 // 8
    batches = train(tmp_path, 2 * steps, max_transpose=0, time=8, batch=1)[:, 0, 1:]
    passes = batches[:steps], batches[steps:]
    assert all(ids <= set(one_pass.ravel().tolist()) for one_pass in passes)
    assert (passes[0] != passes[1]).any(axis=1).sum() > 0.9 * steps


def test_a_piece_is_moved_as_a_whole_and_stays_in_range(tmp_path: Path) -> None:
    vocabulary = EventVocabulary(lowest_pitch=60, highest_pitch=72)
    pitches, shift = vocabulary.blocks["note"], vocabulary.blocks["shift"][3]
    duration = vocabulary.blocks["duration"][5]
    tune = [pitches[2], duration, shift, pitches[5], duration, shift, pitches[11], duration]
    piece = np.array([START, *tune, END])
    shard = write_shard(tmp_path / "0.tfrecord", "train", [("tune", piece)])
    manifest = Manifest(vocabulary.to_dict(), 1, 0, {}, (shard,))
    (tmp_path / "manifest.json").write_text(manifest.to_json())

    windows = train(tmp_path, 300, time=len(piece), batch=1)[:, 0, 1:]
    is_pitch = np.isin(piece, pitches)
    np.testing.assert_array_equal(windows[:, ~is_pitch], np.tile(piece[~is_pitch], (300, 1)))
    semitones = windows[:, is_pitch] - piece[is_pitch]
    assert (semitones == semitones[:, :1]).all()
    # From 62..71 within 60..72: two down to one up, each as likely as the others.
    moves = Counter(semitones[:, 0].tolist())
    assert set(moves) == {-2, -1, 0, 1}
    assert min(moves.values()) > 40


def test_no_transposition_leaves_the_pieces_in_their_keys(
    tiny_shards: Path, manifest: Manifest, two_epochs: np.ndarray
) -> None:
    stored = {tokens[:20].tobytes() for _, tokens in read_pieces(tiny_shards, manifest, "train")}

    def beginnings(windows: np.ndarray) -> list[bytes]:
        flat = windows.reshape(-1, TIME + 1)
        rows, columns = np.nonzero(flat[:, : TIME - 20] == START)
        assert len(rows) > 5
        return [
            flat[row, column : column + 20].astype(np.int64).tobytes()
            for row, column in zip(rows, columns, strict=True)
        ]

    assert set(beginnings(train(tiny_shards, len(two_epochs), max_transpose=0))) <= stored
    assert not set(beginnings(two_epochs)) <= stored


@pytest.mark.parametrize("size", [1, 2])
def test_evaluation_counts_every_token_but_start_once(
    size: int, tiny_shards: Path, manifest: Manifest
) -> None:
    counted: Counter[int] = Counter()
    for rank in range(size):
        plan = BatchPlan(manifest, TIME, BATCH, rank=rank, size=size)
        batches = list(evaluation_batches(tiny_shards, plan, "valid"))
        assert len(batches) == plan.evaluation_steps("valid")
        for tokens, weights in batches:
            assert tokens.shape == (BATCH // size, TIME + 1)
            np.testing.assert_array_equal(weights, target_weights(tokens))
            counted.update(tokens[:, 1:].numpy()[weights.numpy() == 1].tolist())
    pieces = [tokens[1:] for _, tokens in read_pieces(tiny_shards, manifest, "valid")]
    assert counted == Counter(np.concatenate(pieces).tolist())


def test_evaluation_on_a_split_without_pieces_is_an_error(
    tiny_shards: Path, manifest: Manifest
) -> None:
    without = replace(manifest, shards=tuple(manifest.of_split("train")))
    with pytest.raises(ValueError, match=r"the valid split of .* has no piece"):
        evaluation_batches(tiny_shards, BatchPlan(without, TIME, BATCH), "valid")


@cache
def whole_pieces(
    data_dir: Path,
    num_steps: int,
    rank: int = 0,
    size: int = 1,
    first: int = 0,
    move: int = 0,
    own_key: float = 0.0,
) -> list[np.ndarray]:
    """The batches of a worker whose windows are pieces: num_steps of [rows, time + 1]."""
    manifest = Manifest.load(data_dir)
    plan = BatchPlan(
        manifest, room_for_pieces(manifest), global_batch_size=4, rank=rank, size=size, seed=1,
        max_transpose=move, own_key=own_key, whole_pieces=True,
    )  # fmt: skip
    epoch, step = divmod(first, plan.steps_per_epoch)
    batches = training_batches(data_dir, plan, epoch=epoch, step=step)
    return list(batches.take(num_steps).as_numpy_iterator())


def test_windows_of_whole_pieces_hold_every_piece_once_a_pass(
    tiny_shards: Path, manifest: Manifest
) -> None:
    stored = sorted(tokens.tolist() for _, tokens in read_pieces(tiny_shards, manifest, "train"))
    steps = manifest.num_pieces("train") // 4
    orders = []
    for batches in (
        whole_pieces(tiny_shards, steps),
        whole_pieces(tiny_shards, steps, first=steps),
    ):
        for tokens in batches:
            assert (tokens[:, 0] == END).all()
            assert (tokens[:, -1] != PAD).any(), "the batch was not cut to its longest piece"
        orders.append([row[row != PAD][1:].tolist() for tokens in batches for row in tokens])
        assert sorted(orders[-1]) == stored
    assert orders[0] != orders[1]


def test_windows_of_whole_pieces_are_the_same_on_two_workers_and_after_a_restart(
    tiny_shards: Path,
) -> None:
    alone = whole_pieces(tiny_shards, 8, move=MAX_TRANSPOSE)
    shares = [whole_pieces(tiny_shards, 8, rank, 2, move=MAX_TRANSPOSE) for rank in (0, 1)]
    for tokens, *parts in zip(alone, *shares, strict=True):
        for rank, part in enumerate(parts):  # its own longest piece may be a shorter one
            here = tokens[rank::2, : part.shape[1]]
            np.testing.assert_array_equal(part, here)
            assert (tokens[rank::2, part.shape[1] :] == PAD).all()
    for first in (1, 5):
        rest = whole_pieces(tiny_shards, 2, first=first, move=MAX_TRANSPOSE)
        for tokens, again in zip(alone[first:], rest, strict=False):
            np.testing.assert_array_equal(tokens, again)


def test_a_share_of_the_passes_leaves_a_piece_in_its_own_key(tiny_shards: Path) -> None:
    steps = 60
    own, moved, half, always = (
        np.concatenate([tokens.ravel() for tokens in batches])
        for batches in (
            whole_pieces(tiny_shards, steps),
            whole_pieces(tiny_shards, steps, move=MAX_TRANSPOSE),
            whole_pieces(tiny_shards, steps, move=MAX_TRANSPOSE, own_key=0.5),
            whole_pieces(tiny_shards, steps, move=MAX_TRANSPOSE, own_key=1.0),
        )
    )
    np.testing.assert_array_equal(always, own)
    assert ((half == own) | (half == moved)).all(), "a moved piece moves as it would without"
    told_apart = own != moved
    assert 0.35 < (half == own)[told_apart].mean() < 0.65


def test_a_moved_piece_is_marked_and_one_in_its_own_key_is_not(
    tiny_scores: dict[str, Score], tmp_path: Path
) -> None:
    vocabulary = GridVocabulary(mark_moved=True)
    stored = {name: vocabulary.encode(score) for name, score in tiny_scores.items()}
    shards = write_shard(tmp_path / "train-00000.tfrecord", "train", list(stored.items()))
    manifest = Manifest(vocabulary.to_dict(), 1, 0, {}, (shards,), num_sources=len(stored))
    (tmp_path / FILE_NAME).write_text(manifest.to_json())
    as_stored = {tuple(vocabulary.decode_frames(ids).ravel()) for ids in stored.values()}
    num_own = num_moved = 0
    for tokens in whole_pieces(tmp_path, 12, move=MAX_TRANSPOSE, own_key=0.5):
        for row in tokens:
            ids = row[row != PAD][1:]
            is_own = tuple(vocabulary.decode_frames(ids).ravel()) in as_stored
            marks = {"MOVED" in vocabulary.token_name(int(step)) for step in ids[4:-1:5]}
            assert marks == {not is_own}
            num_own, num_moved = num_own + is_own, num_moved + (not is_own)
    assert num_own > 5 and num_moved > 5


@pytest.mark.parametrize("size", [1, 2])
def test_evaluation_on_whole_pieces_counts_every_token_but_start_once(
    size: int, tiny_shards: Path, manifest: Manifest
) -> None:
    length = room_for_pieces(manifest)
    counted: Counter[int] = Counter()
    for rank in range(size):
        plan = BatchPlan(manifest, length, 4, rank=rank, size=size, whole_pieces=True)
        batches = list(evaluation_batches(tiny_shards, plan, "valid"))
        assert len(batches) == plan.evaluation_steps("valid")
        for tokens, weights in batches:
            counted.update(tokens[:, 1:].numpy()[weights.numpy() == 1].tolist())
    pieces = [tokens[1:] for _, tokens in read_pieces(tiny_shards, manifest, "valid")]
    assert counted == Counter(np.concatenate(pieces).tolist())


def test_autograph_converts_nothing_and_leaves_no_file(
    tiny_shards: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []  # a converted function is written to the temp folder and stays there

    def load_source(source: str, delete_on_exit: bool) -> None:
        written.append(source)
        raise AssertionError("converted")

    loader = importlib.import_module("tensorflow.python.autograph.pyct.loader")
    monkeypatch.setattr(loader, "load_source", load_source)
    for whole_pieces in (False, True):
        length = room_for_pieces(manifest) if whole_pieces else TIME
        plan = BatchPlan(manifest, length, BATCH, max_transpose=3, whole_pieces=whole_pieces)
        next(iter(training_batches(tiny_shards, plan)))
        next(iter(evaluation_batches(tiny_shards, plan, "valid")))
    reader = LaneReader.of(tiny_shards, manifest, "train", seed=2, max_transpose=3)
    lane = start = tf.constant(0, tf.int64)
    next(iter(reader.endless(lane, start)))
    next(iter(reader.endless_pieces(lane, length, start)))
    next(iter(reader.one_pass(lane)))
    next(iter(reader.pieces_of_one_pass(lane, length)))
    assert written == []
