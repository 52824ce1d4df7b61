"""train.py across dorchester and bath: by mpirun, by Slurm, and when a host fails."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.hpc.launching import TINY_FLAGS, losses, run_training
from tests.testbed.cluster import Testbed
from tests.testbed.processes import Command, poll, tells_of_a_loss

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

MPIRUN = ("mpirun", "-np", "2", "-H", "dorchester,bath")
FLAGS = (*TINY_FLAGS, "--steps=20", "--log-every=1", "--eval-every=10", "--dropout=0")
STRATEGIES = ["horovod", "multiworker"]
TIMEOUT = 16  # seconds without a finished step, in some tests
PATIENCE = 300  # seconds for an end on a busy machine; TCP alone would end it after 15 minutes
PREEMPTED = 85


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> Path:
    """The same training by one process on this machine."""
    run = tmp_path_factory.mktemp("runs") / "alone"
    done = run_training(1, *FLAGS, f"--data={tiny_shards}", f"--run={run}")
    assert done.returncode == 0, done.stderr
    return run


def same_losses(run: Path, alone: Path) -> bool:
    pairs = [(losses(run, split), losses(alone, split)) for split in ("train", "valid")]
    return all(found == pytest.approx(expected, rel=1e-4) for found, expected in pairs)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_hosts_reach_the_loss_of_one_process(
    strategy: str, testbed: Testbed, checkout: Path, alone: Path
) -> None:
    program = ["python", "hpc/train.py", "--run=runs/both", f"--strategy={strategy}", *FLAGS]
    done = testbed.run("dorchester", [*MPIRUN, *program], cwd=checkout, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert same_losses(checkout / "runs/both", alone)
    assert "allreduce of" in done.stdout
    assert "2 workers" in done.stdout
    no_orphans(testbed)


def test_four_processes_on_two_hosts_reach_it_too(
    testbed: Testbed, checkout: Path, alone: Path
) -> None:
    launch = ["mpirun", "-np", "4", "-H", "dorchester:2,bath:2"]
    program = ["python", "hpc/train.py", "--run=runs/four", *FLAGS]
    done = testbed.run("dorchester", [*launch, *program], cwd=checkout, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert same_losses(checkout / "runs/four", alone)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_slurm_job_reaches_it_too(
    strategy: str, testbed: Testbed, checkout: Path, alone: Path
) -> None:
    flags = [*FLAGS, "--run=runs/job", f"--strategy={strategy}"]
    number = testbed.sbatch(Path("slurm/train_2nodes.sh"), *flags, cwd=checkout)
    job = testbed.wait_job(number, timeout=300)
    assert job.state == "COMPLETED", job.output
    assert same_losses(checkout / "runs/job", alone)


def test_srun_starts_the_ranks_only_with_a_secret(
    testbed: Testbed, checkout: Path, alone: Path
) -> None:
    srun = "srun --nodes=2 --ntasks=2 python hpc/train.py --run=runs/both --strategy=multiworker"
    command = " ".join([srun, *FLAGS])
    done = testbed.run("dorchester", ["bash", "-c", command], cwd=checkout, timeout=300)
    assert done.returncode != 0
    assert "CHORALE_SECRET is not set" in done.stderr
    command = f"export CHORALE_SECRET=$(openssl rand -hex 32); {command}"
    done = testbed.run("dorchester", ["bash", "-c", command], cwd=checkout, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert same_losses(checkout / "runs/both", alone)


def start(
    testbed: Testbed, checkout: Path, *flags: str, launch: tuple[str, ...] = MPIRUN
) -> Command:
    """A run on both hosts that would go on for long."""
    program = ["python", "hpc/train.py", "--run=runs/long", *flags]
    return testbed.popen("dorchester", [*launch, *program], cwd=checkout)


def wait_for_steps(checkout: Path, command: Command, run: str = "runs/long") -> None:
    """Wait for the third line of a run's record; fail, with what it said, if it ends before."""
    metrics = checkout / run / "metrics.jsonl"

    def has_steps() -> bool:
        return metrics.is_file() and metrics.read_text().count("\n") > 2

    poll(lambda: has_steps() or not command.is_running, 300, "no step taken")
    assert has_steps(), command.stderr


def test_the_bare_command_trains_and_a_signal_saves_and_ends_it(
    testbed: Testbed, checkout: Path
) -> None:
    command = testbed.popen("dorchester", [*MPIRUN, "python", "hpc/train.py"], cwd=checkout)
    runs = checkout / "runs"
    poll(lambda: len(list(runs.glob("*/metrics.jsonl"))) == 1, 300, "no run begun")
    run = next(runs.iterdir())
    assert run.name.startswith("horovod-")
    wait_for_steps(checkout, command, f"runs/{run.name}")
    command.send(signal.SIGUSR2)
    done = command.wait(60)
    assert done.returncode == PREEMPTED, done.stdout + done.stderr
    assert f"saved. The same command with --run runs/{run.name} continues" in done.stdout
    assert list(run.glob("checkpoints/step-*"))


def kill(testbed: Testbed) -> None:
    trainer(testbed).send(signal.SIGKILL)


def stop(testbed: Testbed) -> None:
    trainer(testbed).send(signal.SIGSTOP)


def trainer(testbed: Testbed):
    """The process of rank 1."""
    found = [p for p in testbed.processes("bath") if "hpc/train.py" in p.command]
    return found[-1]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("fault", [kill, stop])
def test_a_rank_that_fails_in_a_step_ends_the_run_and_is_named(
    fault, strategy: str, testbed: Testbed, checkout: Path
) -> None:
    flags = [*TINY_FLAGS, "--steps=100000", "--log-every=1"]
    flags += [f"--timeout={TIMEOUT}"] if fault is stop else []
    command = start(testbed, checkout, f"--strategy={strategy}", *flags)
    wait_for_steps(checkout, command)
    fault(testbed)
    done = command.wait(PATIENCE)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if "rank 1 on bath" in line]
    # Killed by mpirun as soon as rank 1 was dead, rank 0 may not have had time for its own line.
    if fault is stop:
        assert "(its host answers) after step" in lines[0], done.stderr
    else:
        assert "bath" in done.stderr
    no_orphans(testbed)


# The second is less than mpirun needs to notice: a rank that ended at once would make it hang.
@pytest.mark.parametrize(("strategy", "timeout"), [("multiworker", 60), ("horovod", TIMEOUT)])
def test_a_host_that_is_cut_off_is_named_and_mpirun_ends(
    strategy: str, timeout: int, testbed: Testbed, checkout: Path
) -> None:
    flags = [*TINY_FLAGS, "--steps=100000", "--log-every=1", f"--timeout={timeout}"]
    command = start(testbed, checkout, f"--strategy={strategy}", *flags)
    wait_for_steps(checkout, command)
    testbed.cut("bath")
    done = command.wait(PATIENCE)
    assert tells_of_a_loss(done), done.stderr
    lines = [line for line in done.stderr.splitlines() if "rank 1 on bath" in line]
    assert "(its host does not answer) after step" in lines[0], done.stderr
    testbed.mend("bath")
    no_orphans(testbed)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_rank_that_never_starts_ends_the_others(
    strategy: str, testbed: Testbed, checkout: Path
) -> None:
    program = ["python", "hpc/train.py", "--run=runs/long", *TINY_FLAGS]
    program += [f"--strategy={strategy}", f"--start-timeout={TIMEOUT}"]
    # Not two programs with a ":" between them, upon which mpirun of Open MPI 5.0.7 crashes.
    waits = 'if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then exec sleep 600; fi; exec "$@"'
    launch = ["mpirun", "-np", "2", "-H", "dorchester,bath", "sh", "-c", waits, "sh", *program]
    done = testbed.run("dorchester", launch, cwd=checkout, timeout=PATIENCE)
    assert done.returncode != 0
    assert "rank 0 on dorchester has been waiting in MPI" in done.stderr, done.stderr
    no_orphans(testbed)


def no_orphans(testbed: Testbed) -> None:
    """Nothing is left on any host."""
    for name in ("dorchester", "bath"):
        poll(lambda name=name: not testbed.left_over(name), 300, f"orphans on {name}")
