"""Host lists: what mpirun takes behind -H, and what Slurm tells of an allocation."""

from __future__ import annotations

from collections import Counter

import pytest

from hpc.distributed.hosts import expand_tasks, find_slots, parse_hosts, parse_tasks_per_node


def test_a_host_list_names_the_host_of_each_slot() -> None:
    assert parse_hosts("a:2,b") == ["a", "a", "b"]


def test_slots_add_up_as_with_mpirun() -> None:
    assert Counter(parse_hosts("a:4,b,a")) == {"a": 5, "b": 1}


@pytest.mark.parametrize("text", ["dorchester:x", ":4", "-oProxyCommand=x", "a:0", "a,,b", "a:"])
def test_a_wrong_entry_is_named_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not HOST or HOST:SLOTS.*bath,dorchester:2"):
        parse_hosts(text)


def test_slots_come_from_slurm_or_else_from_this_machine() -> None:
    assert parse_tasks_per_node("2(x3),1") == [2, 2, 2, 1]
    assert expand_tasks(["a", "b", "c"], "2(x2),1") == ["a", "a", "b", "b", "c"]
    with pytest.raises(ValueError, match="2 nodes"):
        expand_tasks(["a", "b"], "1")
    assert find_slots(None, {}, 3) == ["localhost"] * 3
