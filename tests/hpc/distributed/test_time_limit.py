"""Time limits of work on a machine whose cores others use too."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpc.distributed import time_limit
from hpc.distributed.time_limit import stretched


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ("1000 0 7", 120.0),  # never waited for a core
        ("1000 500 7", 180.0),  # took 1500 for 1000
        ("1000 9000 7", 600.0),  # ten times as long, but five times is the most
        ("", 120.0),  # a kernel that does not count
    ],
)
def test_a_limit_is_as_much_longer_as_others_have_had_the_core(
    numbers: str, expected: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limit, "SCHEDSTAT", tmp_path / "schedstat")
    (tmp_path / "schedstat").write_text(numbers)
    assert stretched(120.0) == expected


def test_linux_counts_for_this_process() -> None:
    assert 120.0 <= stretched(120.0) <= 600.0
