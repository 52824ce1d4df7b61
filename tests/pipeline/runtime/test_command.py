"""Errors of flags: one line, with the choices and what may have been meant."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hpc.config.train_config import parse_flags as train_flags
from hpc.efficiency.flags import parse_flags as scaling_flags
from hpc.launch import main as launch_flags
from model.generate_flags import parse_arguments as generate_flags
from pipeline.preprocess import parse_arguments as preprocess_flags
from pipeline.runtime.command import signals_interrupt
from pipeline.scores.midi.writer import write_midi
from pipeline.scores.notes import Score, make_notes
from tests.conftest import REPOSITORY
from tests.hpc.launching import MPI_ENVIRONMENT, mpi_command
from tests.terminals import COLUMNS, lines_on, run_on_terminal


@pytest.mark.parametrize(
    ("parse", "flags", "line"),
    [
        (train_flags, "--preset big", "--preset: 'big' is not one of tiny, small, base."),
        (train_flags, "--preset smal", "one of tiny, small, base; did you mean small?"),
        (train_flags, "--presett small", "--presett is no flag; did you mean --preset?"),
        (train_flags, "--qqq=1", "--qqq is no flag."),
        (train_flags, "--steps many", "--steps: 'many' is not a whole number."),
        (train_flags, "--dropout x", "--dropout: 'x' is not a number."),
        (launch_flags, "-H a --limit 3", "--limit is no flag."),  # little like --timeout
        (scaling_flags, "--workers x", "--workers: 'x' is not numbers of workers, such as 1,2"),
        (scaling_flags, "--steps 0", "--steps: '0' is not a whole number above 0."),
        (generate_flags, "a --bars four", "--bars: 'four' names no bars; give how many, such as"),
        (generate_flags, "a --bars 8:5", "--bars: '8:5' names no bars; give how many, such as 16"),
        (preprocess_flags, "a --out b --valid x", "--valid: 'x' is not a share, such as 0.1 or"),
        (preprocess_flags, "a --out b --max-rejects x%", "'x%' is not a share or a number of"),
        (preprocess_flags, "a --out b --pitches 36", "'36' is not the lowest and the highest MIDI"),
        (preprocess_flags, "a --uot b", "--uot is no flag; did you mean --out?"),
        (train_flags, "--presett small --steps x", "--presett is no flag; did you mean --preset?"),
        (generate_flags, "a --bar 3", "--bar is no flag; did you mean --bars?"),
        (generate_flags, "a --key H", "--key: 'H' is no key; needed is one such as 'A minor'"),
        (preprocess_flags, "a --out b --vocabulary evnts", "events, grid; did you mean events?"),
        (preprocess_flags, "a --out b --conditions tmpo", "did you mean tempo?"),
        (scaling_flags, "--strategies horvod", "there are horovod, multiworker; did you mean horo"),
    ],
)
def test_a_wrong_flag_is_one_line_with_what_is_possible(
    parse, flags: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(flags.split())
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert line in said and said.endswith(" --help\n")


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("script", "flags", "line"),
    [
        (
            "hpc/train.py",
            "--presett=tiny",
            f"did you mean --preset? See python {REPOSITORY}/hpc/train.py --help",
        ),
        ("hpc/train.py", "--steps=0", "--steps is 0; it must be above 0"),
        ("pipeline/preprocess.py", "bach --out=b --voices=3", "--voices says nothing to"),
    ],
)
def test_a_wrong_flag_is_said_once_under_mpirun(script: str, flags: str, line: str) -> None:
    done = subprocess.run(
        mpi_command(2, *flags.split(), script=script),
        env={**os.environ, **MPI_ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode in (1, 2)
    assert done.stderr.count("error: ") == 1 and line in done.stderr


def test_help_names_no_default_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        preprocess_flags(["--help"])
    said = capsys.readouterr().out
    assert "(default: None)" not in said and "(default: 0.1)" not in said.split("--valid")[0]
    assert "(default: music21)" in said


def test_ctrl_c_is_answered_on_a_line_of_its_own() -> None:
    program = """
from pipeline.runtime.command import run_command
def work():
    print("[3/10] something ... ^C", end="", flush=True)
    raise KeyboardInterrupt
raise SystemExit(run_command(work))
"""
    code, terminal = run_on_terminal([sys.executable, "-c", program], PYTHONPATH=str(REPOSITORY))
    assert code == 130
    assert lines_on(terminal) == [
        "[3/10] something ... ^C",
        "error: interrupted; nothing half-written was left behind",
    ]


def test_a_long_error_is_broken_between_words_on_a_terminal() -> None:
    program = (
        "from pipeline.runtime.command import run_command\n"
        "def fail(): raise ValueError('one-word-of-thirty-characters- ' * 6)\n"
        "raise SystemExit(run_command(fail))"
    )
    code, terminal = run_on_terminal([sys.executable, "-c", program], PYTHONPATH=str(REPOSITORY))
    shown = lines_on(terminal)
    assert code == 1
    assert len(shown) == 3 and max(map(len, shown)) <= COLUMNS
    assert all(line.count("one-word-of-thirty-characters-") == 2 for line in shown)


def test_help_is_as_wide_as_the_terminal_and_keeps_the_lines_of_commands() -> None:
    command = [sys.executable, str(REPOSITORY / "model/generate.py"), "--help"]
    code, terminal = run_on_terminal(command)
    shown = terminal.replace("\r", "").split("\n")
    assert code == 0 and max(map(len, shown)) <= COLUMNS
    assert "python model/generate.py runs/a --live synth" in shown
    words = " ".join(shown).split()
    assert " ".join(words).count("an upper bound: the piece may end before.") == 1


def test_a_terminal_that_closes_interrupts_unless_nohup_has_its_signal_ignored() -> None:
    with pytest.raises(KeyboardInterrupt), signals_interrupt():
        os.kill(os.getpid(), signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals_interrupt():
        os.kill(os.getpid(), signal.SIGHUP)


def test_the_lines_of_a_command_are_broken_between_words(tmp_path: Path) -> None:
    write_midi(Score(make_notes([(0, 0, 60, 4, 80)]), 4), tmp_path / "one.mid")
    command = [sys.executable, str(REPOSITORY / "pipeline/preprocess.py"), str(tmp_path)]
    flags = ["--out", str(tmp_path / "data"), "--valid=0", "--test=0", "--processes=1"]
    code, terminal = run_on_terminal([*command, *flags])
    shown = lines_on(terminal)
    assert code == 0, terminal
    assert max(map(len, shown)) <= COLUMNS
    said = " ".join(" ".join(shown).split())
    assert "lanes: 1 instead of 16, so that none of them is empty: at most 1 process can" in said
    assert "warning: the valid split is empty (--valid 0): a training on this data set goes" in said
