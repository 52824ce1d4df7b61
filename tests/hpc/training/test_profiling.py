"""Where the profile of each rank is said to be."""

from __future__ import annotations

from pathlib import Path

from hpc.distributed.launcher import Place
from hpc.training.profiling import Profiler


def test_the_end_of_profiling_names_the_steps_and_the_host_of_each_profile(tmp_path: Path) -> None:
    said: list[str] = []
    hosts = ("dorchester", "bath")
    profiler = Profiler(tmp_path, (2, 3), Place(rank=0, size=2), hosts, said.append)
    for step in (1, 2, 3, 4):
        with profiler.step(step):
            assert said == [] or step == 4
    profiler.close()
    assert said == [f"profile of steps 2 to 3 in {tmp_path}: rank-0 on dorchester, rank-1 on bath"]

    # A run that ends before the last step of the window.
    profiler = Profiler(tmp_path, (5, 9), Place(), ("bath",), said.append)
    with profiler.step(6):
        pass
    profiler.close()
    assert said[1:] == [f"profile of steps 6 to 6 in {tmp_path}: rank-0 on bath"]
