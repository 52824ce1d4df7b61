from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.dataset.manifest import Manifest
from pipeline.dataset.schedule import BatchPlan, room_for_pieces


@pytest.fixture(scope="module")
def manifest(tiny_shards: Path) -> Manifest:
    return Manifest.load(tiny_shards)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_every_lane_has_one_worker(size: int, manifest: Manifest) -> None:
    eight = replace(manifest, num_lanes=8, shards=2 * manifest.shards)
    plans = [BatchPlan(eight, 32, 8, rank=rank, size=size) for rank in range(size)]
    assert sorted(lane for plan in plans for lane in plan.local_lanes) == list(range(8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 3}, "3 workers do not divide the 4 lanes.*Use 2 or 4 workers.*--num-lanes 6"),
        ({"global_batch_size": 10}, "batch of 10 .* 4 lanes. Use --global-batch-size 8 or 12"),
        ({"global_batch_size": 0}, "batch of 0 .* Use --global-batch-size 4"),
        ({"sequence_length": 5000}, r"the longest train piece has \d+ tokens.*1 to \d+"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(
    change: dict[str, int], message: str, manifest: Manifest
) -> None:
    asked = {"size": 2, "global_batch_size": 8, "sequence_length": 32}
    BatchPlan(manifest, **asked)
    with pytest.raises(ValueError, match=message):
        BatchPlan(manifest, **(asked | change))


def test_a_lane_without_train_pieces_is_refused(manifest: Manifest) -> None:
    sparse = replace(manifest, num_lanes=16)
    with pytest.raises(
        ValueError, match=r"12 of 16 lanes hold no train piece.*smaller --num-lanes"
    ):
        BatchPlan(sparse, global_batch_size=32, sequence_length=32)


def test_a_batch_larger_than_the_data_set_is_refused_with_the_largest(manifest: Manifest) -> None:
    with pytest.raises(ValueError, match=r"less than one step.*--global-batch-size \d+ or less"):
        BatchPlan(manifest, sequence_length=32, global_batch_size=4000)


def test_steps_of_an_epoch_hold_as_many_targets_as_the_split_has_tokens(
    manifest: Manifest,
) -> None:
    steps = BatchPlan(manifest, sequence_length=32, global_batch_size=8).steps_per_epoch
    left = manifest.num_tokens("train") - steps * 32 * 8
    assert 0 <= left < 32 * 8


def test_windows_of_whole_pieces_must_hold_the_longest(manifest: Manifest) -> None:
    longest = room_for_pieces(manifest)
    fit = {"global_batch_size": 4, "whole_pieces": True}
    plan = BatchPlan(manifest, sequence_length=longest, **fit)
    assert plan.steps_per_epoch == 3  # of 12 pieces
    with pytest.raises(ValueError, match=rf"the longest has {longest} tokens.*--windows stream"):
        BatchPlan(manifest, sequence_length=longest - 1, **fit)
    with pytest.raises(ValueError, match=r"12 train pieces are less.*-batch-size 12 or less"):
        fit["global_batch_size"] = 16
        BatchPlan(manifest, sequence_length=longest, **fit)
