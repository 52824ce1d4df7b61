"""The job scripts under a real Slurm: flags, hosts, the warning before the end, the requeue."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.testbed.cluster import Testbed
from tests.testbed.processes import poll

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

# Stands in for hpc/train.py: it says where it runs, and what it was told.
REPORT = """
import os, sys
from mpi4py import MPI
rank = MPI.COMM_WORLD.rank
here = f"rank {rank} of {MPI.COMM_WORLD.size} on {os.uname().nodename}"
sys.stdout.write(f"{here} with {sys.argv[1:]}\\n")
"""
# Works for ever; on SIGUSR2 every rank says so and leaves with 85, after the others are there too.
PREEMPTIBLE = """
import signal, time
asked = 0
def ask(number, frame):
    global asked
    asked = 1
signal.signal(signal.SIGUSR2, ask)
MPI.COMM_WORLD.Barrier()
sys.stdout.write(f"start {os.environ.get('SLURM_RESTART_COUNT', 0)} of rank {rank}\\n")
while MPI.COMM_WORLD.allreduce(asked) < MPI.COMM_WORLD.size:
    time.sleep(0.05)
sys.stdout.write(f"rank {rank} was asked to stop\\n")
sys.stdout.flush()
MPI.COMM_WORLD.Barrier()
os._exit(85)
"""


@pytest.fixture
def checkout(tmp_path: Path, root: Path) -> Path:
    """A folder like the repository, whose train.py and preprocess.py only report."""
    (tmp_path / "slurm").symlink_to(root / "slurm")
    for name in ("hpc/train.py", "hpc/scaling.py", "pipeline/preprocess.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(REPORT)
    return tmp_path


def test_train_2nodes_runs_one_rank_on_each_host_and_passes_the_flags_on(
    testbed: Testbed, checkout: Path
) -> None:
    script = Path("slurm/train_2nodes.sh")
    number = testbed.sbatch(script, "--steps", "7", "--note", "two words", cwd=checkout)
    job = testbed.wait_job(number, timeout=300)
    assert job.state == "COMPLETED", job.output
    lines = sorted(line for line in job.output.splitlines() if line.startswith("rank"))
    assert [line.split()[1] for line in lines] == ["0", "1"]
    assert {line.split()[5] for line in lines} == {"dorchester", "bath"}
    told = ["--data", "data/bach", "--run", "runs/train"]
    assert all(f"with {[*told, '--steps', '7', '--note', 'two words']}" in line for line in lines)


def test_the_data_set_is_named_by_the_environment_of_sbatch(
    testbed: Testbed, checkout: Path
) -> None:
    for name in ("train_2nodes.sh", "preprocess.sh", "scaling.sh"):
        environment = {"DATA": "data/jsb"}
        number = testbed.sbatch(Path("slurm") / name, "last", env=environment, cwd=checkout)
        job = testbed.wait_job(number, timeout=300)
        assert job.state == "COMPLETED", job.output
        assert "'data/jsb'" in job.output and "'last']" in job.output


def test_preprocess_on_two_nodes_writes_the_bytes_of_one_process(
    testbed: Testbed, tiny_corpus: Path, tmp_path: Path, root: Path
) -> None:
    for name in ("slurm", "pipeline"):
        (tmp_path / name).symlink_to(root / name)
    flags = [str(tiny_corpus), "--num-lanes", "2"]
    one = tmp_path / "one"
    alone = [sys.executable, str(root / "pipeline/preprocess.py"), *flags, "--out", str(one)]
    subprocess.run([*alone, "--processes", "1"], check=True, capture_output=True)

    two = tmp_path / "two"
    script, where = Path("slurm/preprocess.sh"), {"env": {"DATA": str(two)}, "cwd": tmp_path}
    number = testbed.sbatch(script, *flags, options=["--nodes=2"], **where)  # type: ignore[arg-type]
    job = testbed.wait_job(number, timeout=300)
    assert job.state == "COMPLETED", job.output
    assert "2 processes under mpirun: bath (1), dorchester (1)" in job.output
    files = sorted(path.name for path in one.iterdir())
    assert sorted(path.name for path in two.iterdir()) == files
    for name in files:
        assert (two / name).read_bytes() == (one / name).read_bytes(), name


def test_a_script_submitted_from_elsewhere_says_where_to_submit_it(
    testbed: Testbed, tmp_path: Path, root: Path
) -> None:
    for name in ("train_2nodes.sh", "preprocess.sh", "scaling.sh"):
        job = testbed.wait_job(testbed.sbatch(root / "slurm" / name, cwd=tmp_path), timeout=300)
        assert job.state == "FAILED"
        assert f"error: no slurm/site.env in {tmp_path}" in job.output


def test_a_failed_program_fails_the_job_with_its_code_and_is_not_requeued(
    testbed: Testbed, checkout: Path
) -> None:
    (checkout / "hpc/train.py").write_text(REPORT + "os._exit(3)\n")
    number = testbed.sbatch(Path("slurm/train_2nodes.sh"), cwd=checkout)
    job = testbed.wait_job(number, timeout=300)
    assert (job.state, job.exit_code, job.restarts) == ("FAILED", 3, 0), job.output


def test_saved_and_lost_ranks_requeue_the_job_as_often_as_allowed_and_no_more(
    testbed: Testbed, checkout: Path
) -> None:
    # The first start ends as after a signal, the second one as when rank 1 was killed.
    end = (
        "os.kill(os.getpid(), 9) if 'SLURM_RESTART_COUNT' in os.environ and rank else os._exit(85)"
    )
    (checkout / "hpc/train.py").write_text(REPORT + "MPI.COMM_WORLD.Barrier()\n" + end)
    script = Path("slurm/train_2nodes.sh")
    number = testbed.sbatch(script, env={"MAX_REQUEUES": "1"}, cwd=checkout)
    job = testbed.wait_job(number, timeout=300)
    assert (job.state, job.restarts) == ("FAILED", 1), job.output
    assert job.output.count("saved; requeue 1 of at most 1") == 1  # every start appends to one file
    assert "stopped after 1 requeues (MAX_REQUEUES)" in job.output


def test_scancel_leaves_the_ranks_time_to_save_and_the_job_stays_cancelled(
    testbed: Testbed, checkout: Path
) -> None:
    # mpirun by itself would kill them 0.5 or 2 s after the signal, of which these need 4.
    saving = """
import signal, time
asked = []
signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
signal.signal(signal.SIGUSR2, lambda number, frame: None)
sys.stdout.flush()
while not asked:
    time.sleep(0.05)
time.sleep(4)
open(f"saved-{rank}", "w").close()
MPI.COMM_WORLD.Barrier()
os._exit(85)
"""
    (checkout / "hpc/train.py").write_text(REPORT + saving)
    number = testbed.sbatch(Path("slurm/train_2nodes.sh"), cwd=checkout)
    poll(lambda: testbed.job(number).output.count("of 2 on") == 2, 300, "the job did not start")
    testbed.run("dorchester", ["scancel", str(number)])
    poll(lambda: len(list(checkout.glob("saved-*"))) == 2, 300, "not saved")
    job = testbed.wait_job(number, timeout=300)
    assert (job.state, job.restarts) == ("CANCELLED", 0), job.output
    assert "saved; Slurm is ending this job" in job.output


def test_only_the_job_of_an_array_that_has_saved_is_requeued(
    testbed: Testbed, checkout: Path
) -> None:
    # One of them has the number of the whole array. It saves while the other one runs.
    (checkout / "job.sh").write_text("""#!/bin/bash
#SBATCH --ntasks=1 --array=0-1 --requeue --open-mode=append --output=%a.out
export MAX_REQUEUES=1
exec slurm/requeue.sh bash -c '
    until_there() { until [ -e $1 ]; do sleep 0.1; done; }
    echo start ${SLURM_RESTART_COUNT:-0}
    if [ $SLURM_JOB_ID != $SLURM_ARRAY_JOB_ID ]; then touch both; until_there again; exit 0; fi
    if [ -n "$SLURM_RESTART_COUNT" ]; then touch again; exit 0; fi
    until_there both
    exit 85'
""")
    testbed.sbatch(Path("job.sh"), cwd=checkout)
    poll(lambda: (checkout / "again").exists(), 300, "not requeued")
    written = sorted((checkout / f"{task}.out").read_text() for task in (0, 1))
    assert written[0] == "start 0\n", written
    assert written[1].startswith("start 0\nsaved; requeue 1 of at most 1\n"), written
    assert "start 1" in written[1]


@pytest.mark.parametrize("event", ["USR2", "TERM"])
def test_the_request_to_stop_reaches_every_rank_and_the_job_goes_back_into_the_queue(
    testbed: Testbed, checkout: Path, event: str
) -> None:
    (checkout / "hpc/train.py").write_text(REPORT + PREEMPTIBLE)
    number = testbed.sbatch(Path("slurm/train_2nodes.sh"), cwd=checkout)
    poll(lambda: testbed.job(number).output.count("start 0") == 2, 300, "the job did not start")
    testbed.run("dorchester", ["scancel", "--batch", f"--signal={event}", str(number)])
    poll(lambda: testbed.job(number).output.count("start 1") == 2, 300, "the job did not restart")
    output = testbed.job(number).output
    assert output.count("rank 0 was asked to stop") == 1
    assert output.count("rank 1 was asked to stop") == 1
    assert "saved; requeue 1 of at most 20" in output


def test_the_time_limit_asks_every_rank_to_stop_before_slurm_ends_the_job(
    testbed: Testbed, checkout: Path
) -> None:
    (checkout / "hpc/train.py").write_text(REPORT + PREEMPTIBLE)
    # One minute is the least that Slurm grants, and it warns up to a minute early.
    options = {
        "SBATCH_TIMELIMIT": "1",
        "SBATCH_SIGNAL": "B:USR2@50",
        "MAX_REQUEUES": "0",
    }
    number = testbed.sbatch(Path("slurm/train_2nodes.sh"), env=options, cwd=checkout)
    job = testbed.wait_job(number, timeout=300)
    assert (job.state, job.exit_code) == ("FAILED", 85), job.output
    assert job.output.count("was asked to stop") == 2
