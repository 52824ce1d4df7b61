"""The doctor on this machine alone, and what it makes of the facts of hosts that do not fit."""

from __future__ import annotations

import copy
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpc import doctor
from hpc.diagnostics import checks, remote_hosts
from hpc.diagnostics.checks import Finding
from hpc.diagnostics.host_facts import MCA_FILES, collect, interfaces
from hpc.diagnostics.remote_hosts import Answer, Trial
from hpc.diagnostics.shared_network import network, shared_networks
from pipeline.dataset.manifest import FILE_NAME, Manifest
from pipeline.vocabulary.events import EventVocabulary
from tests.conftest import REPOSITORY
from tests.hpc.launching import MPI_ENVIRONMENT
from tests.terminals import COLUMNS, lines_on, run_on_terminal


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set without pieces: the doctor compares manifests."""
    folder = tmp_path_factory.mktemp("data")
    manifest = Manifest(EventVocabulary().to_dict(), num_lanes=4, seed=0, settings={}, shards=())
    (folder / FILE_NAME).write_text(manifest.to_json())
    return folder


@pytest.fixture
def facts(data_dir: Path) -> dict[str, dict[str, Any]]:
    """Facts of two hosts that fit each other: this machine's own, with addresses of a lab."""
    own = collect(data_dir, [], quick=True)
    own |= {"mpirun": "mpirun (Open MPI) 4.1.4", "mca": {file: {} for file in MCA_FILES}}
    own["libraries"] = {"mpi": "Open MPI v4.1.4", "horovod": ["MPI", "Gloo"], "tensorflow_gpus": 0}
    own |= {"gpus": [], "cores": [8, 8], "ports": [28000, 28232], "soundfont": "/a/b.sf2"}
    own["versions"] = {"python": "3.11.7", "tensorflow": "2.18.1", "horovod": "0.28.1"}
    own["names"] = {"dorchester": "10.0.0.1", "bath": "10.0.0.2"}
    hosts = {}
    for number, name in enumerate(own["names"], start=1):
        card = {"name": "eno1", "address": f"10.0.0.{number}/24", "megabits": 10_000}
        hosts[name] = {**copy.deepcopy(own), "host": name, "interfaces": [card]}
    return hosts


def worst(found: list[Finding]) -> Finding:
    """The finding that would decide the exit code."""
    return max(found, key=lambda finding: checks.STATUSES.index(finding.status))


def all_findings(facts: dict[str, dict[str, Any]]) -> list[Finding]:
    """What the facts alone lead to."""
    slots = dict.fromkeys(facts, 1)
    by_facts = (checks.versions, checks.libraries, checks.mpi, network)
    found = [finding for check in by_facts for finding in check(facts)]
    return [*found, *checks.devices(facts, slots), *checks.files(facts, True)]


def test_this_machine_gets_a_table_and_a_file_that_agree_with_the_exit_code(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "new" / "report.json"
    code = doctor.main(["--quick", "--data", str(data_dir), "--json", str(report)])
    table = json.loads(report.read_text())
    assert code == max(checks.STATUSES.index(entry["status"]) for entry in table)
    printed = capsys.readouterr().out
    assert all(entry["found"] in printed and entry["advice"] in printed for entry in table)
    by_check = {entry["check"]: entry for entry in table}
    assert by_check["data"]["found"] == Manifest.load(data_dir).digest()[:12]
    assert by_check["TensorFlow"]["status"] == "ok"


def test_a_data_set_that_was_named_and_is_not_there_is_a_failure_with_the_way_to_make_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main(["--quick", "--data", str(tmp_path / "none")]) == 2
    assert "pipeline/preprocess.py" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["dorchester:x", ":4", "-oProxyCommand=x"])
def test_a_host_list_that_is_none_is_an_error_of_one_line(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main([f"--hosts={text}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: -H") and error.count("\n") == 1


def test_hosts_that_fit_have_nothing_but_ok(facts: dict[str, dict[str, Any]]) -> None:
    assert {finding.status for finding in all_findings(facts)} == {"ok"}


@pytest.mark.parametrize(
    ("path", "value", "check", "status"),
    [
        (("versions", "tensorflow"), "2.17.0", "TensorFlow", "failed"),
        (("versions", "tensorflow"), None, "TensorFlow", "failed"),
        (("versions", "python"), "3.10.2", "Python", "failed"),
        (("versions", "horovod"), None, "Horovod", "failed"),
        (("commit",), "0123456789ab", "commit", "failed"),
        (("mpirun",), "mpirun (Open MPI) 5.0.11", "mpirun", "failed"),
        (("mpirun",), None, "mpirun", "failed"),
        (("libraries", "mpi"), "Open MPI v5.0.11", "mpi4py", "failed"),
        (("libraries", "horovod"), ["Gloo"], "Horovod ops", "failed"),
        (("data",), "f" * 64, "data", "failed"),
        (("data_error",), "no data set in data/bach", "data", "failed"),
        (("names", "dorchester"), None, "names", "failed"),
        (("names", "dorchester"), "127.0.1.1", "names", "failed"),
        (("names", "bath"), "127.0.1.1", "names", "warning"),  # as Debian's installer leaves it
        (("interfaces",), [], "network", "warning"),
        (("gpus",), ["NVIDIA H100"], "GPUs", "failed"),  # of which TensorFlow sees none
        (("ports",), [12, 28232], "ports", "warning"),
    ],
)
def test_one_host_that_differs_is_named_with_what_to_do(
    facts: dict[str, dict[str, Any]],
    path: tuple[str, ...],
    value: object,
    check: str,
    status: str,
) -> None:
    target = facts["bath"]
    for name in path[:-1]:
        target = target[name]
    target[path[-1]] = value
    bad = worst(all_findings(facts))
    assert (bad.check, bad.status) == (check, status)
    assert "bath" in bad.found and bad.advice


@pytest.mark.parametrize(
    ("there", "advice"),
    [
        ("0123456789ab+", "files were changed where the commit ends in +: git status there"),
        ("abcdef012345+", "check the same commit out on every host"),
    ],
)
def test_a_commit_that_differs_by_changed_files_is_told_from_another_one(
    facts: dict[str, dict[str, Any]], there: str, advice: str
) -> None:
    facts["dorchester"]["commit"], facts["bath"]["commit"] = "0123456789ab", there
    bad = worst(checks.versions(facts))
    assert (bad.check, bad.status, bad.advice) == ("commit", "failed", advice)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_host_without_the_program_is_told_to_copy_it_then_to_set_it_up(
    shell: str,
    data_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ssh, folder, python = tmp_path / "ssh", tmp_path / "program", tmp_path / "program" / "python"
    ssh.write_text(f'#!/bin/sh\nfor last; do :; done\nexec {shell} -c "$last"\n')  # no host
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(remote_hosts, "REPOSITORY", folder)
    monkeypatch.setattr(sys, "executable", str(python))

    def advice() -> str:
        doctor.main(["--quick", "-H", "bath.invalid", "--data", str(data_dir)])
        return capsys.readouterr().out.split("-> ")[-1]

    setup = f'ssh bath.invalid "cd {folder} && make setup"'
    copy = f"rsync -a --mkpath --exclude .venv --exclude runs {folder}/ bath.invalid:{folder}/"
    assert advice().startswith(f"{copy}, then {setup}")
    folder.mkdir()
    assert advice().startswith(setup)
    python.symlink_to(shutil.which("python3") or "")  # without the program's files
    assert advice().startswith(copy)


def test_a_gpu_host_whose_horovod_lacks_nccl_is_warned(facts: dict[str, dict[str, Any]]) -> None:
    for fact in facts.values():
        fact["gpus"], fact["libraries"]["tensorflow_gpus"] = ["NVIDIA H100"], 1
    assert "NCCL" in worst(checks.libraries(facts)).found


def test_more_processes_than_gpus_or_cores_is_a_warning_with_the_number_that_fits(
    facts: dict[str, dict[str, Any]],
) -> None:
    assert worst(checks.devices(facts, {"dorchester": 9, "bath": 1})).advice == "-H dorchester:8"
    facts["bath"]["gpus"] = ["NVIDIA H100", "NVIDIA H100"]
    found = checks.devices(facts, {"dorchester": 1, "bath": 4})
    assert "-H bath:2" in [finding.advice for finding in found]


def test_a_bridge_with_the_same_address_on_every_host_is_no_shared_network(
    facts: dict[str, dict[str, Any]],
) -> None:
    bridge = {"name": "docker0", "address": "172.17.0.1/16", "megabits": 40_000}
    for fact in facts.values():
        fact["interfaces"].insert(0, bridge)
    (shared,) = shared_networks(facts)
    assert str(shared.subnet) == "10.0.0.0/24"


def test_the_network_that_the_names_lead_to_comes_first_then_the_faster_one(
    facts: dict[str, dict[str, Any]],
) -> None:
    for number, fact in enumerate(facts.values(), start=1):
        for third, megabits in ((1, 100_000), (2, 1_000)):
            address = f"10.0.{third}.{number}/24"
            fact["interfaces"].append({"name": "x", "address": address, "megabits": megabits})
    order = [str(shared.subnet) for shared in shared_networks(facts)]
    assert order == ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"]


def test_the_options_name_the_subnet_and_every_interface(facts: dict[str, dict[str, Any]]) -> None:
    facts["bath"]["interfaces"][0]["name"] = "enp3s0"
    (shared,) = shared_networks(facts)
    options = " ".join(shared.mpirun_options)
    assert "--mca btl_tcp_if_include 10.0.0.0/24 --mca oob_tcp_if_include 10.0.0.0/24" in options
    assert shared.nccl == "NCCL_SOCKET_IFNAME=eno1,enp3s0"


def test_clocks_that_differ_by_more_than_the_measurement_explains_are_a_warning(
    facts: dict[str, dict[str, Any]],
) -> None:
    answers = {host: Answer(fact, 0.2, 0.001) for host, fact in facts.items()}
    assert worst(checks.clocks(answers)).status == "ok"
    answers["bath"] = Answer(facts["bath"], 3.0, 0.001)
    late = worst(checks.clocks(answers))
    assert late.status == "warning" and "bath: +3.0 s" in late.found
    answers["bath"] = Answer(facts["bath"], 3.0, 2.5)  # a slow link, not a wrong clock
    assert worst(checks.clocks(answers)).status == "ok"


def test_a_process_bound_to_one_of_many_cores_is_no_fault_of_training(
    facts: dict[str, dict[str, Any]],
) -> None:
    slots = {"dorchester": 1, "bath": 1}
    bound = Trial("mpirun", [("dorchester", "/p", 1), ("bath", "/p", 1)])
    found = checks.launch(facts, slots, bound, None)[-1]
    assert (found.check, found.status) == ("CPU binding", "ok")
    assert "1 core a process, by mpirun; train.py takes its share" in found.found
    assert "preprocess.py does not: mpirun --bind-to none" in found.advice
    free = Trial("mpirun", [("dorchester", "/p", 8), ("bath", "/p", 8)])
    assert worst(checks.launch(facts, slots, free, None)).status == "ok"


def test_a_launch_that_fails_says_so_and_one_mended_by_settings_is_a_warning(
    facts: dict[str, dict[str, Any]],
) -> None:
    slots = {"dorchester": 1, "bath": 1}
    silent = Trial("mpirun -np 2 -H dorchester,bath", [], "no answer within 40 s")
    assert worst(checks.launch(facts, slots, silent, silent)).status == "failed"
    mended = Trial("mpirun", [("dorchester", "/p", 8), ("bath", "/p", 8)])
    assert worst(checks.launch(facts, slots, silent, mended)).status == "warning"
    other = Trial("mpirun", [("dorchester", "/p", 8), ("bath", "/usr/bin/python", 8)])
    assert worst(checks.launch(facts, slots, other, None)).status == "failed"


@pytest.mark.parametrize("name", [socket.gethostname(), "localhost"])
def test_this_host_needs_no_ssh_to_itself(
    name: str, data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")  # neither ssh nor mpirun
    doctor.main(["--quick", "-H", f"{name}:2", "--data", str(data_dir)])
    said = capsys.readouterr().out
    assert "ssh" not in said
    assert "Python" in said


@pytest.mark.skipif(shutil.which("ip") is None, reason="no ip command here")
def test_the_interfaces_are_those_that_linux_lists_but_loopback() -> None:
    listed = subprocess.run(
        ["ip", "-json", "-4", "address", "show", "up"], capture_output=True, text=True, check=True
    )
    expected = {
        (interface["ifname"], f"{address['local']}/{address['prefixlen']}")
        for interface in json.loads(listed.stdout)
        if "LOOPBACK" not in interface["flags"] and interface["operstate"] != "DOWN"
        for address in interface["addr_info"]
    }
    found = interfaces()
    assert {(card["name"], card["address"]) for card in found} == expected
    assert all(card["megabits"] is None or card["megabits"] > 0 for card in found)


KEEPALIVE = {
    "oob_tcp_keepalive_time": "5",
    "oob_tcp_keepalive_intvl": "2",
    "oob_tcp_keepalive_probes": "11",
}
SSH = "-o ConnectTimeout=40 -o ServerAliveInterval=5 -o ServerAliveCountMax=8"


def test_the_settings_stand_in_the_files_and_under_the_names_of_the_open_mpi_that_is_there(
    facts: dict[str, dict[str, Any]],
) -> None:
    (shared,) = shared_networks(facts)
    messages = {"btl_tcp_if_include": "10.0.0.0/24", "mca_base_env_list": "PATH"}
    four = {"oob_tcp_if_include": "10.0.0.0/24", "hwloc_base_binding_policy": "none"}
    four |= {"plm_rsh_args": SSH}
    assert shared.mca_files(4) == {"~/.openmpi/mca-params.conf": messages | four | KEEPALIVE}
    five = {"prte_if_include": "10.0.0.0/24", "hwloc_default_binding_policy": "none"}
    five |= {"plm_ssh_args": SSH}
    assert shared.mca_files(5) == {
        "~/.openmpi/mca-params.conf": messages,
        "~/.prte/mca-params.conf": five | KEEPALIVE,  # which Open MPI 5's launcher reads instead
    }


@pytest.mark.parametrize(
    ("mpirun", "lines"),
    [
        ("mpirun (Open MPI) 4.1.4", ["in ~/.openmpi/mca-params.conf on every host:"]),
        ("mpirun (Open MPI) 5.0.11", ["in ~/.prte/mca-params.conf on every host:"]),
    ],
)
def test_the_settings_are_printed_file_by_file(
    facts: dict[str, dict[str, Any]],
    mpirun: str,
    lines: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for fact in facts.values():
        fact["mpirun"] = mpirun
    (shared,) = shared_networks(facts)
    doctor.print_settings("dorchester,bath", 2, shared, facts)
    printed = capsys.readouterr().out
    assert "In place" not in printed
    assert all(line in printed for line in lines)
    assert "    oob_tcp_keepalive_time = 5\n" in printed
    assert f" --mca plm_rsh_args '{SSH}' python hpc/train.py\n" in printed


def test_settings_that_are_in_place_are_not_asked_for_again(
    facts: dict[str, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (shared,) = shared_networks(facts)
    wanted = shared.mca_files(4)["~/.openmpi/mca-params.conf"]
    file = tmp_path / ".openmpi/mca-params.conf"
    file.parent.mkdir()
    file.write_text("# mine\n" + "".join(f"{name}= {value}\n" for name, value in wanted.items()))
    monkeypatch.setenv("HOME", str(tmp_path))
    facts["dorchester"]["mca"] = collect(tmp_path, [], quick=True)["mca"]
    file.write_text(file.read_text().replace("10.0.0.0/24", "eth0", 1))
    facts["bath"]["mca"] = collect(tmp_path, [], quick=True)["mca"]

    doctor.print_settings("dorchester,bath", 2, shared, facts)
    printed = capsys.readouterr().out
    assert (
        "in ~/.openmpi/mca-params.conf on bath:\n    btl_tcp_if_include = 10.0.0.0/24\nIn place"
        in printed
    )
    assert printed.count("btl_tcp_if_include") == 2  # in the command, and in the file

    facts["bath"]["mca"] = facts["dorchester"]["mca"]
    doctor.print_settings("dorchester,bath", 2, shared, facts)
    printed = capsys.readouterr().out
    assert "    mpirun -np 2 -H dorchester,bath python hpc/train.py\n" in printed
    assert " = " not in printed


def test_a_process_bound_under_open_mpi_5_is_told_the_name_that_works_there(
    facts: dict[str, dict[str, Any]],
) -> None:
    for fact in facts.values():
        fact["mpirun"] = "mpirun (Open MPI) 5.0.11"
    bound = Trial("mpirun", [("dorchester", "/p", 1), ("bath", "/p", 1)])
    advice = checks.launch(facts, {"dorchester": 1, "bath": 1}, bound, None)[-1].advice
    assert "hwloc_default_binding_policy = none in ~/.prte/mca-params.conf" in advice


def test_findings_are_broken_between_words_on_a_terminal() -> None:
    hosts = f"{socket.gethostname()},no-such-host.invalid"
    doctor_py = [sys.executable, str(REPOSITORY / "hpc/doctor.py")]
    code, terminal = run_on_terminal([*doctor_py, "--quick", "-H", hosts])
    assert code == 2
    shown = lines_on(terminal)
    # The terminal itself wraps an advice, so that a command in it can be copied whole.
    assert all(len(line) <= COLUMNS for line in shown if "-> " not in line)
    said = " ".join(" ".join(shown).split())
    assert "no-such-host.invalid: ssh: " in said
    assert "-> is the name no-such-host.invalid misspelled? If not, give it an address in" in said


@pytest.mark.mpi
def test_what_all_ranks_complain_of_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys._base_executable} -S "$@"\n')  # type: ignore[attr-defined]
    python.chmod(0o755)
    for name, value in MPI_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    trial = remote_hosts.try_mpirun("localhost:2", 2, [], timeout=300)
    assert trial.ranks == []
    assert trial.complaint.count("has no mpi4py") == 1
    assert trial.complaint.endswith("(No module named 'mpi4py')")
