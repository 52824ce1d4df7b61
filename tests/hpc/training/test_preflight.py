"""What ranks find on their own hosts before they train, and what is refused when they compare it.

Two hosts without a shared disk are two working directories here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hpc.config.train_config import TrainConfig
from hpc.distributed.launcher import Place
from hpc.distributed.rendezvous import Roll
from hpc.run_folder.layout import CONFIG, write_config
from hpc.training.preflight import preflight, require_agreement
from model.networks.checkpoint import Bundle, step_folder, write_bundle
from pipeline.dataset.manifest import Manifest

RUN = Path("runs/walk")


def config_of(data: Path) -> TrainConfig:
    return TrainConfig(data=data, run=RUN, global_batch_size=16, strategy="multiworker")


def save_step(folder: Path, data: Path, step: int) -> Path:
    """A checkpoint of the run in the working directory `folder`."""
    run = {"config": config_of(data).to_json(), "data": Manifest.load(data).digest()}
    bundle = Bundle(model={}, vocabulary={}, weights={}, progress={"step": step}, run=run)
    path = step_folder(folder / RUN, step)
    write_bundle(path, bundle)
    return path


def roll_of(monkeypatch: pytest.MonkeyPatch, data: Path, *folders: Path) -> Roll:
    """The facts of ranks that start in these working directories, rank 0 on bath."""
    roll = []
    for rank, folder in enumerate(folders):
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        local = preflight(config_of(data), {"data"}, Place(rank, len(folders)), dry_run=True)
        host = ("bath", "dorchester")[rank]
        roll.append({**local.facts, "run": str(local.run_dir), "rank": rank, "host": host})
    return roll


@pytest.mark.parametrize(("of_rank_0", "had"), [(125, "step 125"), (0, "no checkpoint of it")])
def test_a_run_that_is_further_on_another_host_is_not_forked(
    of_rank_0: int, had: str, tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if of_rank_0:
        save_step(tmp_path / "bath", tiny_shards, of_rank_0)
    save_step(tmp_path / "dorchester", tiny_shards, 600)
    roll = roll_of(monkeypatch, tiny_shards, tmp_path / "bath", tmp_path / "dorchester")
    with pytest.raises(ValueError) as refused:
        require_agreement(roll, Place(0, 2))
    assert str(refused.value) == (
        f"rank 1 on dorchester has runs/walk at step 600, and rank 0 on bath, which writes the "
        f"run, has {had}. Copy the folder runs/walk from dorchester to bath, or remove it on "
        "dorchester if the run of bath is the one you want"
    )


def test_older_steps_elsewhere_and_a_shared_folder_are_no_reason_to_refuse(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_step(tmp_path / "bath", tiny_shards, 600)
    save_step(tmp_path / "dorchester", tiny_shards, 125)
    folders = tmp_path / "bath", tmp_path / "dorchester"
    require_agreement(roll_of(monkeypatch, tiny_shards, *folders), Place(0, 2))

    # Rank 0 goes back behind a damaged checkpoint, whose folder all ranks see.
    (save_step(tmp_path / "bath", tiny_shards, 700) / "bundle.json").write_text("damaged")
    roll = roll_of(monkeypatch, tiny_shards, tmp_path / "bath", tmp_path / "bath")
    assert roll[0]["begin"]["progress"]["step"] == 600
    require_agreement(roll, Place(0, 2))


def test_a_run_that_saved_nothing_is_said_to_begin_anew_with_the_flags_that_differ(
    tmp_path: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    config = config_of(tiny_shards)

    def said() -> str:
        preflight(config, {"data"}, Place(), dry_run=True)
        return " ".join(capsys.readouterr().out.split())

    assert said() == ""  # a new run
    write_config(RUN, config)
    assert said() == "runs/walk has no checkpoint: it begins anew with the flags of this command"
    write_config(RUN, replace(config, data=Path("data/mine"), steps=600, timeout=5.0))
    assert said().endswith(
        "with the flags of this command (config.json: --steps 600, --data data/mine)"
    )
    (RUN / CONFIG).write_text("{")
    assert "begins anew with the flags of this command (runs/walk/config.json cannot be" in said()
    save_step(tmp_path, tiny_shards, 8)
    assert "anew" not in said()
