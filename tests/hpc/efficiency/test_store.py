"""The folder of a measurement: what it holds comes back, other settings are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpc.efficiency.store import open_store, read_measurements, store
from tests.hpc.efficiency.measurements import APART, TOGETHER, measurement


def test_a_measurement_comes_back_from_its_folder_as_it_was(tmp_path: Path) -> None:
    assert open_store(tmp_path, {"steps": 40}) == {}
    kept = measurement(TOGETHER, 1, 123.456)
    store(tmp_path, kept)
    with (tmp_path / "measurements.jsonl").open("a") as stream:
        stream.write('{"cell": {"str')  # a kill in the middle of a line
    store(tmp_path, measurement(APART, 2, 1.0))
    found = open_store(tmp_path, {"steps": 40})
    assert found[TOGETHER, 1] == kept
    assert set(found) == {(TOGETHER, 1), (APART, 2)}


def test_measurements_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    open_store(tmp_path, {"steps": 40, "commit": "abc"})
    with pytest.raises(ValueError, match=r"steps 80 \(measured with 40\).*another --out"):
        open_store(tmp_path, {"steps": 80, "commit": "abc"})
    (tmp_path / "measurements.jsonl").write_text('{"loss": 3}\n')
    with pytest.raises(ValueError, match="line 1 of"):
        read_measurements(tmp_path)
