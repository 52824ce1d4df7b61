"""hpc/launch.py with an mpirun and an ssh of the tests' own: when it starts again, and where."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hpc.config.train_config import TrainConfig
from hpc.training.preemption import SIGNALS
from model.networks.checkpoint import Bundle, step_folder, write_bundle
from pipeline.dataset.manifest import Manifest
from tests.conftest import REPOSITORY

HERE = socket.gethostname()
# What mpirun does at its first start, its second, ... stands in the lines of `acts`.
MPIRUN = """#!/bin/bash
[[ $1 != --version ]] || exit 0
cd "$(dirname "$0")"
echo "$@" >>starts
read -r act code <<<"$(sed -n "$(wc -l <starts)p" acts)"
[[ $act != lose ]] || touch bath-is-off
[[ $act != find ]] || rm bath-is-off
for word; do
    [[ $act != end || $code != 0 || $word != --json=* ]] || touch "${word#--json=}"
done
if [[ $act != end && $act != hide ]]; then
    trap 'exit 85' USR2
    mkdir -p run
    touch run/stretches.jsonl
    [[ $act == lose ]] || while :; do sleep 0.05; done
fi
exit "$code"
"""
# Another host is this one by another name.
SSH = """#!/bin/bash
if [[ -e "$(dirname "$0")/bath-is-off" ]]; then
    echo "ssh: bath: Connection timed out" >&2
    exit 255
fi
exec bash -c "${!#}"
"""


@dataclass(frozen=True)
class Programs:
    """The folder of both programs, and of what they leave."""

    folder: Path
    data: Path

    def launch(
        self, acts: str, *flags: str, run: bool = True, data: bool = True
    ) -> subprocess.Popen[str]:
        """The launcher on this host and bath, started."""
        (self.folder / "acts").write_text(acts)
        argv = [sys.executable, str(REPOSITORY / "hpc/launch.py"), "-H", f"bath,{HERE}"]
        own, _, of_train = " ".join(flags).partition("-- ")
        train = [f"--data={self.data}"] * data + of_train.split()
        train += [f"--run={self.folder / 'run'}"] * run
        environ = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"}
        return subprocess.Popen(
            [*argv, "--check-every=0.2", *own.split(), "--", *train],
            env=environ,
            cwd=self.folder,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, acts: str, *flags: str, **given: bool) -> tuple[int, str]:
        """The launcher's exit code and its messages, when it has ended."""
        process = self.launch(acts, *flags, **given)
        _, said = process.communicate(timeout=300)
        return process.returncode, said

    @property
    def starts(self) -> list[str]:
        """The hosts of every start of mpirun, as its -H has them."""
        path = self.folder / "starts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split()[line.split().index("-H") + 1] for line in lines]


@pytest.fixture
def programs(tmp_path: Path, tiny_shards: Path) -> Programs:
    for name, text in (("mpirun", MPIRUN), ("ssh", SSH)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return Programs(tmp_path, tiny_shards)


BOTH, ALONE = f"{HERE}:1,bath:1", f"{HERE}:1"


def test_a_lost_host_is_left_out_and_taken_in_again_when_it_is_back(programs: Programs) -> None:
    # Lost; while this host trains alone, bath is back; then both train to the end.
    code, said = programs.end("lose 205\nfind 85\nend 0\n")
    assert code == 0, said
    assert programs.starts == [BOTH, ALONE, BOTH]
    assert "launch: code 205: restart 1 of 5 (--restarts)\n" in said
    assert "without bath: ssh: bath: Connection timed out" in said
    assert "bath answers: saving to grow" in said


def test_lost_ranks_and_saved_runs_start_again_as_often_as_allowed(programs: Programs) -> None:
    code, said = programs.end("end 76\nend 137\nend 85\nend 255\nend 0\n", "--restarts=3")
    assert code == 255
    assert programs.starts == [BOTH] * 4
    assert "launch: code 85: restart 3 of 3 (--restarts)\n" in said
    assert said.endswith("launch: code 255 after 3 of 3 restarts (--restarts): no more\n")


def test_a_run_that_continues_has_its_own_data_set_and_batch(programs: Programs) -> None:
    for step, batch, expected in ((8, 16, 0), (9, 18, 1)):
        config = TrainConfig(data=programs.data, global_batch_size=batch)
        run = {"config": config.to_json()}
        bundle = Bundle(model={}, vocabulary={}, weights={}, progress={"step": step}, run=run)
        write_bundle(step_folder(programs.folder / "run", step), bundle)
        code, said = programs.end("end 0\n", data=False)
        assert code == expected, said
    assert "a global batch of 18 cannot be shared equally by 4 lanes" in said
    assert f" --data={programs.data} " in (programs.folder / "starts").read_text()


def test_a_code_of_0_without_a_result_is_a_loss(programs: Programs) -> None:
    # As mpirun of Open MPI 5.0.11 ends where its connection to a host breaks.
    code, said = programs.end("hide 0\nend 0\n")
    assert code == 0, said
    assert programs.starts == [BOTH, BOTH]
    assert "code 205: restart 1 of 5" in said


def test_an_error_of_the_program_ends_the_launcher_unless_a_host_is_gone_too(
    programs: Programs,
) -> None:
    code, said = programs.end("end 1\nend 0\n")
    assert (code, programs.starts) == (1, [BOTH]), said
    (programs.folder / "starts").unlink()
    code, said = programs.end("lose 1\nend 2\n")
    assert (code, programs.starts) == (2, [BOTH, ALONE]), said


def test_too_few_hosts_are_waited_for_and_then_named(programs: Programs) -> None:
    code, said = programs.end("lose 205\n", "--min-hosts=2", "--wait=1")
    assert code == 1
    assert programs.starts == [BOTH]
    assert said.splitlines()[-1].startswith("error: 1 hosts after 1 s, and 2 are needed")


def test_a_run_begins_on_all_of_its_hosts_unless_fewer_are_allowed(programs: Programs) -> None:
    (programs.folder / "bath-is-off").touch()
    code, said = programs.end("end 0\n")
    assert (code, programs.starts) == (1, [])
    (line,) = said.splitlines()
    assert line.startswith("error: a run begins on all of its hosts, and cannot on bath: ssh: ")
    assert line.endswith("--min-hosts 1 begins without")
    code, said = programs.end("end 0\n", "--min-hosts=1")
    assert (code, programs.starts) == (0, [ALONE]), said


def test_a_host_without_the_data_set_is_named_with_the_command_that_looks_for_it(
    programs: Programs,
) -> None:
    # Another host is this one, where the data set is gone by then.
    ssh = programs.folder / "ssh"
    data = Path(shutil.copytree(programs.data, programs.folder / "mine"))
    for change, said_of_it in (
        ("mv manifest.json gone", f"no data set in {data} (manifest.json is missing)"),
        ("cp other.json manifest.json", "its data set differs from that of this host"),
    ):
        shutil.copy(programs.data / "manifest.json", data)
        manifest = Manifest.load(data)
        other = replace(manifest, shards=manifest.shards[1:])
        (data / "other.json").write_text(other.to_json())
        ssh.write_text(f'#!/bin/bash\n(cd {data} && {change})\nexec bash -c "${{!#}}"\n')
        _, said = replace(programs, data=data).end("end 0\n")
        (line,) = said.splitlines()
        assert f"cannot on bath: {said_of_it}. See python hpc/doctor.py" in line
        assert f"-H bath,{HERE} --data {data}; --min-hosts 1 begins without" in line


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_lets_the_run_save_and_is_no_reason_to_start_again(
    number: signal.Signals, programs: Programs
) -> None:
    (programs.folder / "bath-is-off").touch()
    process = programs.launch("train 85\nend 0\n", "--min-hosts=1")
    deadline = time.monotonic() + 240
    while not (programs.folder / "run/stretches.jsonl").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=240)
    assert (process.returncode, programs.starts) == (85, [ALONE])
    assert said.splitlines()[-1] == "launch: saved: the same command continues"


def test_a_run_without_a_name_has_the_same_one_at_every_start(programs: Programs) -> None:
    code, said = programs.end("end 76\nend 0\n", run=False)
    assert code == 0, said
    lines = (programs.folder / "starts").read_text().splitlines()
    names = {word for line in lines for word in line.split() if word.startswith("--run=")}
    assert len(lines) == 2 and len(names) == 1
    assert names.pop().startswith("--run=runs/train-2")


@pytest.mark.parametrize(
    ("flags", "code", "line"),
    [
        ("--min-hosts=3", 1, "--min-hosts is 3; give 1 to 2"),
        ("-- --local-batch-size=8", 1, "--local-batch-size: workers may change"),
        ("-- --global-batch-size=7", 1, "a global batch of 7 cannot be shared"),
        ("-- --no-such-flag", 2, "--no-such-flag is no flag. See python hpc/train.py --help"),
        (f"-H {HERE}:3", 1, "3 workers do not divide the 4 lanes"),
        ("-H bath", 1, f"this host, {HERE}, is not among them"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    flags: str, code: int, line: str, programs: Programs
) -> None:
    found, said = programs.end("end 0\n", flags)
    assert (found, programs.starts) == (code, [])
    assert line in said.splitlines()[-1]
