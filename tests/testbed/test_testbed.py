"""The testbed is two hosts to mpirun and Slurm, and leaves the machine as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testbed.cluster import Testbed
from tests.testbed.processes import SSH_SESSIONS, poll, tells_of_a_loss

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

COMMAND = [sys.executable, str(Path(__file__).with_name("testbed.py"))]
BOTH = ["mpirun", "-np", "2", "-H", "dorchester,bath"]
WHO = """
import os, sys
from mpi4py import MPI
world = MPI.COMM_WORLD
cores = sorted(os.sched_getaffinity(0))
line = f"rank {world.rank} of {world.size} on {os.uname().nodename} in {os.getcwd()} {cores=}"
sys.stdout.write(line + "\\n")  # print() may write the end of the line after another rank's line
"""
EXCHANGE = "from mpi4py import MPI\nMPI.COMM_WORLD.allreduce(1)"
FOR_EVER = "from mpi4py import MPI\nwhile True: MPI.COMM_WORLD.allreduce(1)"
SEND = """
import sys, time
from mpi4py import MPI
world, payload = MPI.COMM_WORLD, bytearray(int(sys.argv[1]))
world.Barrier()
started = time.perf_counter()
world.Send(payload, 1) if world.rank == 0 else world.Recv(payload, 0)
world.Barrier()
if world.rank == 0:
    print(time.perf_counter() - started)
"""


def machine(own: Path) -> tuple[str, ...]:
    """What a testbed could leave behind on the machine outside its hosts.

    Of what is mounted in the folders of tests, only that in `own` counts: others run meanwhile.
    """
    addresses = subprocess.run(["ip", "-o", "address"], capture_output=True, text=True).stdout
    names = [line.split()[1:4] for line in addresses.splitlines()]
    mounts = [
        line
        for line in Path("/proc/self/mounts").read_text().splitlines()
        if f" {own}/" in line or f" {own.parent}/" not in line
    ]
    etc = [Path(path).read_text() for path in ("/etc/hosts", "/etc/ssh/ssh_config")]
    return (str(names), str(mounts), os.uname().nodename, *etc)


def test_a_host_is_as_patient_as_a_real_one(testbed: Testbed) -> None:
    for name in testbed.hosts:
        assert testbed.run(name, ["sysctl", "-n", "net.ipv4.tcp_retries2"]).stdout == "15\n"


def test_hogs_keep_a_host_busy_until_it_is_restored(testbed: Testbed) -> None:
    testbed.hog(2)
    hogs = [hog for host in testbed.hosts.values() for hog in host.hogs]
    assert len(hogs) == 6 and all(hog.is_alive for hog in hogs)
    assert testbed.processes("bath") == []
    testbed.restore()
    assert not any(hog.is_alive for hog in hogs)


def test_each_host_has_its_own_name_and_address_and_no_way_out(testbed: Testbed) -> None:
    for name, host in testbed.hosts.items():
        assert testbed.run(name, ["hostname"]).stdout == f"{name}\n"
        routes = testbed.run(name, ["ip", "route"]).stdout.splitlines()
        assert len(routes) == 1 and routes[0].startswith("10.83.77.0/24 dev eth0")
        assert host.address in routes[0]


def test_the_bare_mpirun_command_runs_the_same_python_in_the_same_folder_on_both_hosts(
    testbed: Testbed, tmp_path: Path
) -> None:
    done = testbed.run("dorchester", [*BOTH, "python", "-c", WHO], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = sorted(done.stdout.splitlines())
    assert lines[0].startswith(f"rank 0 of 2 on dorchester in {tmp_path}")
    assert lines[1].startswith(f"rank 1 of 2 on bath in {tmp_path}")


def test_mpirun_starts_from_either_host_and_places_two_processes_on_each(testbed: Testbed) -> None:
    four = ["mpirun", "-np", "4", "-H", "dorchester:2,bath:2", "python", "-c", WHO]
    done = testbed.run("bath", four)
    assert done.returncode == 0, done.stderr
    hosts = [line.split()[5] for line in sorted(done.stdout.splitlines())]
    assert hosts == ["bath", "bath", "dorchester", "dorchester"]  # mpirun's own host comes first


def test_every_host_has_a_core_of_its_own(testbed: Testbed) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has one core")
    done = testbed.run("dorchester", [*BOTH, "python", "-c", WHO])
    cores = {line.split("cores=")[1] for line in done.stdout.splitlines()}
    assert len(cores) == 2 and all("," not in core for core in cores)


def test_a_pulled_cable_ends_mpirun_on_a_third_host_and_leaves_no_process_on_any(
    testbed: Testbed, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    argv = [*BOTH, "python", "-c", f"{EXCHANGE}\nopen({str(begun)!r}, 'w')\n{FOR_EVER}"]
    command = testbed.popen("ely", argv)
    poll(begun.exists, 300, "no message exchanged")
    testbed.cut("bath")
    done = command.wait(timeout=300)
    assert tells_of_a_loss(done), done.stderr
    testbed.mend("bath")
    for name in testbed.hosts:
        poll(lambda name=name: not testbed.left_over(name), 300, f"processes of {name} go on")
    assert testbed.run("dorchester", ["ssh", "bath", "hostname"]).stdout == "bath\n"


def test_a_cable_pulled_while_mpirun_starts_its_daemon_by_ssh_ends_mpirun(
    testbed: Testbed,
) -> None:
    # An MPI program: of another one mpirun of Open MPI 5.0.7 leaves the process on its own host.
    command = testbed.popen("dorchester", [*BOTH, "python", "-c", FOR_EVER])
    poll(
        lambda: any(p.command.startswith(SSH_SESSIONS) for p in testbed.processes("bath")),
        300,
        "no ssh",
    )
    testbed.cut("bath")
    done = command.wait(timeout=300)
    assert tells_of_a_loss(done), done.stderr
    testbed.mend("bath")
    for name in testbed.hosts:
        poll(lambda name=name: not testbed.left_over(name), 300, f"processes of {name} go on")


def test_sigterm_to_mpirun_ends_the_ranks_on_both_hosts(testbed: Testbed) -> None:
    command = testbed.popen("dorchester", [*BOTH, "python", "-c", FOR_EVER])
    poll(lambda: any("MPI.COMM" in p.command for p in testbed.processes("bath")), 300, "no rank 1")
    command.send(signal.SIGTERM)
    assert command.wait(timeout=300).returncode != 0
    for name in testbed.hosts:
        poll(lambda name=name: not testbed.processes(name), 300, f"processes of {name} did not end")


def test_a_message_takes_as_long_as_the_rate_of_the_link_demands(testbed: Testbed) -> None:
    testbed.set_rate("100mbit")
    num_bytes = 8_000_000
    done = testbed.run("dorchester", [*BOTH, "python", "-c", SEND, str(num_bytes)])
    # 64 Mbit at 100 Mbit/s, less what the buckets at both ends let through at once.
    assert float(done.stdout) > 0.6


def test_slurm_runs_a_step_on_both_hosts_and_mpi_finds_its_peers_there(testbed: Testbed) -> None:
    srun = ["srun", "--nodes=2", "--ntasks=2", "--mpi=pmix", "python", "-c", WHO]
    done = testbed.run("dorchester", srun)
    assert done.returncode == 0, done.stderr
    assert {line.split()[5] for line in done.stdout.splitlines()} == {"dorchester", "bath"}
    assert all("of 2 on" in line for line in done.stdout.splitlines())


def test_two_testbeds_at_once_and_up_over_up_and_down_leave_the_machine_as_it_was(
    testbed: Testbed, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = tmp_path_factory.getbasetemp()
    before = machine(own)
    other = [*COMMAND, "--state", str(tmp_path / "other")]
    for _ in range(2):
        subprocess.run([*other, "up", "--no-slurm"], check=True, timeout=300)
    inits = [host.init for host in Testbed(tmp_path / "other").hosts.values()]
    inside = subprocess.run([*other, "run", "bath", "--", "hostname"], capture_output=True)
    assert inside.stdout == b"bath\n"
    assert testbed.run("dorchester", ["ssh", "bath", "hostname"]).stdout == "bath\n"
    subprocess.run([*other, "down"], check=True, timeout=300)
    assert len(inits) == 2 and not any(init.is_alive for init in inits)
    assert not (tmp_path / "other").exists()
    assert machine(own) == before


def test_the_hosts_end_with_the_process_that_owns_them_even_if_that_is_killed(
    tmp_path: Path,
) -> None:
    owner = (
        "import os, sys, signal, pathlib\n"
        "from tests.testbed.cluster import Testbed\n"
        "testbed = Testbed(pathlib.Path(sys.argv[1]), die_with_us=True)\n"
        "testbed.up(slurm=False)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    state_dir = tmp_path / "state"
    argv = [sys.executable, "-c", owner, str(state_dir)]
    killed = subprocess.run(argv, cwd=Path(__file__).parents[2], timeout=300)
    assert killed.returncode == -signal.SIGKILL
    leftover = Testbed(state_dir)
    assert len(leftover.hosts) == 2
    poll(lambda: not any(h.init.is_alive for h in leftover.hosts.values()), 300, "hosts live on")
    leftover.down()
    assert not state_dir.exists()


def test_what_is_asked_of_a_testbed_that_is_not_up_is_an_error_of_one_line(tmp_path: Path) -> None:
    argv = [*COMMAND, "--state", str(tmp_path / "none"), "cut", "bath"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no testbed in") and done.stderr.count("\n") == 1
