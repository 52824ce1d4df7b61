"""What a measured allreduce says of the link."""

from hpc.distributed.allreduce_timing import Link


def test_the_link_allows_the_share_of_a_step_that_is_not_the_allreduce() -> None:
    link = Link(megabytes=8.0, seconds=0.03, size=2)
    assert link.advise(0.3) == "this link allows at least 90% efficiency at this batch size"
    assert "allows at least 70% efficiency at this batch size: raise --global-batch" in link.advise(
        0.1
    )


def test_an_allreduce_longer_than_a_whole_step_says_nothing_of_the_link() -> None:
    line = Link(megabytes=8.0, seconds=0.3, size=2).advise(0.1)
    assert "took 300.0 ms, a whole step takes 100.0 ms" in line
    assert "efficiency" not in line


def test_it_says_what_other_forms_of_the_gradient_would_allow() -> None:
    """70 ms of computing beside 30 ms that are exposed; then beside 15 and beside 1."""
    others = {"none": 0.03, "fp16": 0.015, "powersgd:4": 0.001}
    line = Link(megabytes=8.0, seconds=0.03, size=2, alternatives=others).advise(0.1)
    assert "at this batch size, 82% with --compression fp16, 99% with --compression power" in line
    assert "powersgd:4: begin a new run with one of these, or raise --global-batch-size" in line
    assert "compression none" not in line
