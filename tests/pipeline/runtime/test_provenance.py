"""Which program runs, and where the data that comes with it lies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hpc.config.train_config import parse_flags
from pipeline.runtime import provenance
from pipeline.runtime.command import Parser
from tests.conftest import REPOSITORY


def test_version_names_the_command_the_version_and_the_folder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        Parser(prog="some-command").parse_args(["--version"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"some-command: chorale {provenance.VERSION} ")
    assert f" in {REPOSITORY}, Python " in said and said.endswith(f"({sys.executable})\n")


def test_the_commit_of_a_repository_around_the_installation_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    commit = ["git", "-C", str(tmp_path), *who, "commit", "--quiet", "--allow-empty", "-m", "a"]
    subprocess.run(commit, check=True)
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
    assert provenance.commit() != "unknown"
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path / ".venv" / "site-packages")
    (tmp_path / ".venv" / "site-packages").mkdir(parents=True)
    assert provenance.commit() == "unknown"


def test_data_of_the_program_opens_from_any_directory_and_other_paths_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config, _ = parse_flags(["--config", "hpc/presets/chorales.toml"])
    assert config.model == "frames"
    assert provenance.shipped(Path("data/bach")) == Path("data/bach")
    own = Path("model/pretrained/chorales")
    assert provenance.shipped(own) == REPOSITORY / own
    own.mkdir(parents=True)  # what lies here comes first
    assert provenance.shipped(own) == own
