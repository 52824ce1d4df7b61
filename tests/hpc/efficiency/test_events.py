"""The TensorBoard view of a measurement."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from hpc.efficiency.forecast import forecasts
from hpc.reports.event_files import FOLDER
from tests.hpc.efficiency.measurements import (
    ALONE_B,
    ALONE_D,
    APART,
    STEPS_OF_TWO,
    TOGETHER,
    rows_of,
)


def test_tensorboard_reads_efficiency_by_workers_and_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from hpc.efficiency.events import write_events
    from hpc.efficiency.plot import scaling_figure
    from pipeline.runtime.plotting import save

    found = rows_of({ALONE_D: [100], ALONE_B: [60], APART: [150], TOGETHER: [120]})
    picture = tmp_path / "scaling.png"
    foreseen = forecasts(STEPS_OF_TWO, link=0.0)
    save(scaling_figure(list(found.values()), foreseen, "two hosts"), picture)
    for _ in range(2):  # the second time replaces the first
        write_events(list(found.values()), foreseen, "# Scaling", picture, tmp_path)
    events = EventAccumulator(str(tmp_path / FOLDER / "weak-horovod")).Reload()
    curve = events.Tensors("scaling 1 efficiency/against independent processes")
    assert [(point.step, point.tensor_proto.float_val[0]) for point in curve] == [
        (1, pytest.approx(1.0)),
        (2, pytest.approx(0.8)),
    ]
    assert abs(events.FirstEventTimestamp() - time.time()) < 86_400, "dated today"
    folders = {path.name for path in (tmp_path / FOLDER).iterdir() if path.is_dir()}
    assert not [name for name in folders if "single" in name], "one process is where curves begin"
    predicted = EventAccumulator(str(tmp_path / FOLDER / "predicted-horovod-10gbit")).Reload()
    points = predicted.Tensors("scaling 1 efficiency/predicted, weak scaling")
    assert [point.step for point in points] == [4, 8, 16, 32, 64, 128, 256, 512]
    shown = EventAccumulator(str(tmp_path / FOLDER)).Reload()
    (image,) = shown.Tensors("scaling/plot")
    assert "scaling/plot" in shown.PluginTagToContent("images")
    assert "scaling/tables" in shown.PluginTagToContent("text")
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    expected = [str(width).encode(), str(height).encode(), picture.read_bytes()]
    assert list(image.tensor_proto.string_val) == expected
