from __future__ import annotations

import pytest

from pipeline.preprocessing.shards import BYTES_PER_TOKEN, good_number_of_shards
from pipeline.preprocessing.spool import Entry


def pieces(num_bytes: int, num_pieces: int = 1000) -> list[Entry]:
    """Pieces that take so many bytes in all."""
    num_tokens = num_bytes // BYTES_PER_TOKEN // num_pieces
    return [Entry(str(i), str(i), b"", 0, num_tokens) for i in range(num_pieces)]


@pytest.mark.parametrize("num_lanes", [1, 16])
@pytest.mark.parametrize("num_bytes", [0, 10**6, 10**8])
def test_little_music_has_a_shard_for_each_lane(num_bytes: int, num_lanes: int) -> None:
    assert good_number_of_shards(pieces(num_bytes), num_lanes) == num_lanes


@pytest.mark.parametrize("num_lanes", [1, 2, 16])
@pytest.mark.parametrize("num_gb", [10, 25, 100])
def test_much_music_has_shards_of_about_100_mb_as_many_for_each_lane(
    num_gb: int, num_lanes: int
) -> None:
    num_shards = good_number_of_shards(pieces(num_gb * 10**9), num_lanes)
    assert num_shards % num_lanes == 0
    assert 90e6 < num_gb * 1e9 / num_shards < 110e6
