"""The devices of a worker in words, as the line at the start of a run has them."""

from __future__ import annotations

import os

import pytest

from hpc.distributed.launcher import Place


@pytest.mark.parametrize(
    ("had", "takes", "words"),
    [
        ([0, 1, 2, 3], [0, 1], "CPU, cores 0, 1"),
        (
            [0],
            [0],
            "CPU, core 0 (1 of the 2 cores of its share: bound by mpirun, Slurm, taskset or a "
            "container)",
        ),
        (
            [2],
            [2, 3],
            "CPU, cores 2, 3 (mpirun had bound it to core 2; --bind-to core keeps it there)",
        ),
    ],
)
def test_cores_are_named_and_where_they_are_few_with_the_reason(
    had: list[int], takes: list[int], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hpc.distributed import devices

    monkeypatch.setattr(devices, "share_of_cores", lambda place, *, unbind: takes)
    monkeypatch.setattr(devices, "keep_threads_on", lambda cores: None)
    monkeypatch.setattr(devices.tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(had))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "2")
    place = Place(0, 2, local_size=2, launcher="mpirun")
    assert devices.use_devices(place) == words
    assert devices.name_of(words) == "CPU"
    assert devices.name_of(f"NVIDIA H100 0, {words.partition(', ')[2]}") == "NVIDIA H100"
