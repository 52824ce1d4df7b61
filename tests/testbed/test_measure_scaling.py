"""The published measurement over two hosts: what it writes, and the whole of it on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.image import imread

from hpc.distributed.exchange import Exchange
from hpc.efficiency.link_plot import MeasuredEfficiency
from tests.testbed.cluster import missing
from tests.testbed.measure_scaling import (
    PARTS,
    REPOSITORY,
    TITLES,
    command_of,
    draw_links,
    main,
    measured_on_links,
    parse_flags,
    publish,
    rate_for,
)


def test_the_command_that_is_published_does_not_tell_where_this_checkout_is() -> None:
    for part in PARTS:
        command = command_of(part, parse_flags([]))
        assert {"--data=data/bach", f"--out=runs/scaling-testbed/{part.name}"} <= set(command)
        assert str(REPOSITORY) not in " ".join(command)


def test_the_parts_that_were_measured_are_published(tmp_path: Path) -> None:
    for part in PARTS[:2]:
        folder = tmp_path / "work" / part.name
        folder.mkdir(parents=True)
        command = "python hpc/scaling.py --out=runs/x"
        (folder / "scaling.json").write_text(json.dumps({"command": command, "rows": []}))
        (folder / "scaling.png").write_bytes(part.name.encode())
        report = (
            f"# Scaling\n\n## Weak scaling\n\n- command: {command}\n\n![scaling](scaling.png)\n"
        )
        (folder / "scaling.md").write_text(report)
    out_dir = tmp_path / "results"
    publish(PARTS[:2], tmp_path / "work", out_dir)
    text = (out_dir / "scaling.md").read_text()
    assert "- command: python hpc/scaling.py --out=runs/x" in text
    for part, picture in zip(PARTS[:2], ("scaling.png", "scaling-1gbit.png"), strict=True):
        assert f"## {TITLES[part.name]}" in text
        assert f"![scaling]({picture})" in text
        assert (out_dir / picture).read_text() == part.name
    assert set(json.loads((out_dir / "scaling.json").read_text())) == {"full", "1gbit"}


def test_the_rate_of_a_slow_link_comes_from_what_was_measured_without_a_limit(
    tmp_path: Path,
) -> None:
    """15 MB in 300 ms, 50 of them the hosts': 120 Mbit in 250 ms are 480 Mbit/s."""
    rows = [
        {"scaling": "weak", "strategy": "independent", "workers": 2, "step_seconds": 1.0},
        {"scaling": "weak", "strategy": "horovod", "workers": 2, "allreduce_seconds": 0.05},
    ]
    measured = [{"link": None}, {"link": {"megabytes": 15.0}}]
    found = tmp_path / "scaling.json"
    with pytest.raises(ValueError, match="measure the part full first"):
        rate_for(0.3, found)
    found.write_text(json.dumps({"rows": rows, "measurements": measured}))
    assert rate_for(0.3, found) == "480.0mbit"


def test_what_was_measured_on_slow_links_is_drawn(tiny_shards: Path, tmp_path: Path) -> None:
    path = tmp_path / "links.png"
    draw_links(PARTS[:2], tmp_path, tiny_shards, path)
    assert not path.exists()  # none of them has a link that stands for another

    (part,) = [part for part in PARTS if part.name == "30%-fp16"]
    (tmp_path / part.name).mkdir()
    rows = [
        {"strategy": "independent", "against_independent": None},
        {"strategy": "horovod", "against_independent": {"median": 0.85}},
    ]
    (tmp_path / part.name / "scaling.json").write_text(json.dumps({"rows": rows}))
    # 13.5 MB in 0.3 x 45 ms, that is 1 GB/s.
    (found,) = measured_on_links([part], tmp_path, 13_500_000)
    assert found == MeasuredEfficiency("horovod", Exchange("fp16"), pytest.approx(8.0), 0.85)
    draw_links([part], tmp_path, tiny_shards, path)
    assert imread(path).shape[0] > 400  # a whole PNG, this many pixels high


@pytest.mark.cluster
@pytest.mark.soak  # five trainings on hosts brought up for it
@pytest.mark.timeout(900)
def test_the_slow_link_is_measured_end_to_end(tiny_shards: Path, tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    flags = ["--parts", "1gbit", "--steps=20", "--repetitions=1", f"--data={tiny_shards}"]
    flags += [f"--{name}={tmp_path / name}" for name in ("work", "out", "state")]
    assert main([*flags, "--", "--preset=tiny", "--sequence-length=16"]) == 0
    result = json.loads((tmp_path / "out" / "scaling.json").read_text())["1gbit"]
    measured = {(row["strategy"], row["workers"]) for row in result["rows"]}
    assert {("horovod", 2), ("multiworker", 2), ("independent", 2)} <= measured
    assert {model["strategy"] for model in result["cost_models"]} == {"horovod", "multiworker"}
    assert all(model["link"] == 1 for model in result["cost_models"])
    assert not (tmp_path / "state").exists()
