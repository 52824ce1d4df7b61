"""Which trainings a measurement needs, and on which hosts."""

from __future__ import annotations

from hpc.distributed.hosts import find_slots
from hpc.efficiency.plan import cells_of, default_workers, plan
from tests.hpc.efficiency.measurements import BATCHES


def test_weak_scaling_holds_the_batch_of_a_worker_and_strong_that_of_all() -> None:
    found = plan(["a"] * 4, [1, 2, 4], ["horovod"], ["weak", "strong"], BATCHES)
    batches = {(c.scaling, c.cell.workers): c.cell.batch for c in found}
    assert batches == {
        ("weak", 1): 8,
        ("weak", 2): 8,
        ("weak", 4): 8,
        ("strong", 1): 16,
        ("strong", 2): 8,
        ("strong", 4): 4,
    }
    assert {c.solo[0].batch for c in found if c.scaling == "strong"} == {16}
    # Two workers of 8 windows are the same training under both, and measured once.
    assert len(cells_of(found)) == 2 + 2 * 3


def test_every_host_is_measured_alone_and_mpirun_is_told_who_goes_where() -> None:
    hosts = find_slots("a:2,b", {}, 1)
    cells = cells_of(plan(hosts, [1, 2, 3], ["horovod"], ["weak"], BATCHES))
    assert [cell.hosts for cell in cells if cell.workers == 1] == [("a",), ("b",)]
    assert [cell.slots for cell in cells if cell.strategy == "horovod"] == ["a:2", "a:2,b:1"]


def test_by_default_the_numbers_of_workers_double_up_to_all_slots() -> None:
    assert [default_workers(n) for n in (1, 2, 4, 6)] == [[1], [1, 2], [1, 2, 4], [1, 2, 4, 6]]
