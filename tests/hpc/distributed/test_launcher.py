import pytest

from hpc.distributed.launcher import Place, choose_strategy, find_place
from hpc.distributed.processor import share_of_cores

OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
SLURM_STEP = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),4",
    "SLURM_NTASKS": "8",
}
HYDRA = {"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "1"}
BATCH_SCRIPT = {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize(
    ("environ", "launcher", "place"),
    [
        ({}, "none", (0, 1, 0, 1)),
        (OPEN_MPI, "mpirun", (3, 4, 1, 2)),
        (HYDRA, "mpiexec", (0, 2, 0, 1)),
        (SLURM_STEP, "srun", (5, 8, 1, 4)),
        # Under mpirun inside a job both families are set; Slurm's is the batch step's.
        ({**BATCH_SCRIPT, **OPEN_MPI}, "mpirun", (3, 4, 1, 2)),
        ({**SLURM_STEP, "PMIX_RANK": "5"}, "srun", (5, 8, 1, 4)),
        (BATCH_SCRIPT, "none", (0, 1, 0, 1)),
    ],
)
def test_the_place_is_told_by_the_launchers_variables(
    environ: dict[str, str], launcher: str, place: tuple[int, int, int, int]
) -> None:
    found = find_place(environ)
    assert found.launcher == launcher
    assert (found.rank, found.size, found.local_rank, found.local_size) == place


def test_a_rank_that_is_not_below_the_size_is_refused() -> None:
    with pytest.raises(ValueError, match="RANK=4 with OMPI_COMM_WORLD_SIZE=4"):
        find_place({**OPEN_MPI, "OMPI_COMM_WORLD_RANK": "4"})


def test_a_variable_that_is_no_number_is_named() -> None:
    with pytest.raises(ValueError, match="OMPI_COMM_WORLD_SIZE is 'many'"):
        find_place({**OPEN_MPI, "OMPI_COMM_WORLD_SIZE": "many"})


def test_auto_takes_single_alone_and_a_collective_with_several() -> None:
    assert choose_strategy("auto", Place(), {})[0] == "single"
    name, reason = choose_strategy("auto", Place(0, 2, launcher="mpirun"), {})
    assert name in ("horovod", "multiworker")
    assert "2 processes under mpirun" in reason


def test_auto_falls_to_multiworker_without_horovod_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hpc.distributed.launcher.has_horovod", lambda: False)
    name, reason = choose_strategy("auto", Place(0, 2, launcher="mpirun"), {})
    assert name == "multiworker"
    assert "Horovod is not installed" in reason
    with pytest.raises(ValueError, match="make setup"):
        choose_strategy("horovod", Place(0, 2), {})


def test_single_with_several_processes_is_refused() -> None:
    with pytest.raises(ValueError, match="4 separate models"):
        choose_strategy("single", Place(1, 4), {})


def test_one_process_in_a_job_of_two_tasks_is_not_a_solo_run() -> None:
    with pytest.raises(ValueError, match="2 tasks, but the program was started as a single"):
        choose_strategy("auto", find_place(BATCH_SCRIPT), BATCH_SCRIPT)
    assert choose_strategy("single", find_place(BATCH_SCRIPT), BATCH_SCRIPT)[0] == "single"


def test_local_workers_share_the_cores_unless_they_are_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    shares = [share_of_cores(Place(r, 2, local_rank=r, local_size=2)) for r in range(2)]
    assert shares == [[0, 1, 2, 3], [4, 5, 6, 7]]
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {5})
    assert share_of_cores(Place(1, 2, local_rank=1, local_size=2)) == [5]


def test_srun_without_pmix_gives_multiworker_and_refuses_horovod_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # MPI_Init would end the process with a text of its own.
    monkeypatch.setattr("hpc.distributed.launcher.has_horovod", lambda: True)
    place = find_place(SLURM_STEP)
    name, reason = choose_strategy("auto", place, SLURM_STEP)
    assert name == "multiworker"
    assert "8 processes under srun without --mpi=pmix" in reason
    with pytest.raises(ValueError, match="Use srun --mpi=pmix, or mpirun in its place"):
        choose_strategy("horovod", place, SLURM_STEP)
    assert choose_strategy("horovod", place, {**SLURM_STEP, "PMIX_RANK": "5"})[0] == "horovod"
