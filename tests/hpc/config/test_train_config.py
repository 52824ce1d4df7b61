import dataclasses
import json
from pathlib import Path

import pytest

from hpc.config.train_config import TrainConfig, parse_flags


def test_every_field_is_a_flag_and_its_default_is_the_bare_commands() -> None:
    config, extra = parse_flags([])
    assert config == TrainConfig()
    assert not extra.dry_run


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('learning_rate = 0.5\nsteps = 7\npreset = "tiny"\ndata = "elsewhere"\n')
    config, _ = parse_flags(["--config", str(file), "--steps", "9"])
    assert (config.learning_rate, config.steps, config.preset) == (0.5, 9, "tiny")
    assert config.data == Path("elsewhere")
    assert config.seed == TrainConfig().seed


def test_a_runs_config_json_can_be_given_back(tmp_path: Path) -> None:
    config, _ = parse_flags(["--autotune", "--run", "runs/x", "--sequence-length", "96"])
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config.to_json()))
    assert parse_flags(["--config", str(file)])[0] == config


def test_a_run_keeps_its_settings_but_not_those_of_one_start_on_one_machine(
    tmp_path: Path,
) -> None:
    its_own = ["--preset=tiny", "--log-every=5", "--steps=9", "--save-minutes=3"]
    of_its_start = ["--data=there", "--run=there", "--strategy=horovod", "--timeout=9"]
    of_its_start += ["--timeline", "--profile=1:2"]
    begun, _ = parse_flags([*its_own, *of_its_start])
    file = tmp_path / "some.toml"
    file.write_text("log_every = 7\n")
    config, extra = parse_flags(["--steps=20", f"--config={file}"])
    assert extra.given == {"steps", "log_every"}
    assert config.continuing(begun, extra.given) == dataclasses.replace(
        TrainConfig(), steps=20, log_every=7, preset="tiny", save_minutes=3.0
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--steps", "0"], "--steps is 0; it must be above 0"),
        (["--dropout", "1"], "--dropout is 1.0"),
        (["--sequence-length", "long"], "number of tokens or auto"),
        (["--profile", "25:20"], "such as 20:25"),
        (["--warmup-steps", "-1"], "--warmup-steps is -1"),
        (["--own-key", "1.5"], "--own-key is 1.5; it must be from 0 to 1"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_the_flags_name(
    flags: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        parse_flags(flags)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz = 3", "unknown setting stepz; did you mean steps?"),
        ("steps = 'many'", "steps is 'many'; a whole number is needed"),
        ("preset = 'huge'", "one of tiny, small, base"),
        ("preset = 'smal'", "is needed; did you mean small?"),
        ("steps = ", "cannot be read"),
    ],
)
def test_a_wrong_setting_in_a_file_is_named_with_the_file(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        parse_flags(["--config", str(file)])
    assert "wrong.toml" in str(caught.value)


@pytest.mark.parametrize("flags", [["--stepz", "3"], ["--preset", "huge"], ["--step", "3"]])
def test_a_wrong_flag_ends_with_code_2(flags: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_flags(flags)
    assert caught.value.code == 2
    assert flags[0] in capsys.readouterr().err


def test_the_digest_leaves_out_where_things_lie_and_nothing_else() -> None:
    config = TrainConfig()
    elsewhere = dataclasses.replace(config, data=Path("other"), run=Path("r"))
    assert elsewhere.digest() == config.digest()
    assert dataclasses.replace(config, seed=2).digest() != config.digest()
    assert dataclasses.replace(config, timeout=9.0).digest() != config.digest()


def test_the_digest_of_the_defaults_stays_as_the_runs_of_older_versions_have_it() -> None:
    # Ranks of two versions with equal settings agree; a new setting or default changes the value.
    assert TrainConfig().digest() == (
        "e17f2b714a5842d73c478d036d42ad2e4027c1d47b0a0a51350b86ea35e9a556"
    )


def test_learning_rate_scaling_follows_the_number_of_workers() -> None:
    rate = TrainConfig().learning_rate
    factors = {"none": 1, "sqrt": 2, "linear": 4}
    for name, factor in factors.items():
        config = dataclasses.replace(TrainConfig(), lr_scaling=name)
        assert config.effective_learning_rate(4) == pytest.approx(rate * factor)
