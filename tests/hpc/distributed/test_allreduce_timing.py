"""What a measured allreduce says of the link."""

from hpc.distributed.allreduce_timing import Link


def test_the_link_allows_the_share_of_a_step_that_is_not_the_allreduce() -> None:
    link = Link(megabytes=8.0, seconds=0.03, size=2)
    assert link.advise(0.3) == "this link allows at least 90% efficiency at this batch size"
    assert "allows at least 70% efficiency at this batch size: raise --global-batch" in link.advise(
        0.1
    )


def test_it_says_how_much_larger_a_batch_would_be_enough() -> None:
    """1 s of computing beside 2.7 s; 11 s beside 2.7 s are 80.3 %, 10 s beside 2.7 s are 78.7 %."""
    line = Link(megabytes=15.4, seconds=2.7, size=2).advise(3.7)
    assert "at least 27% efficiency at this batch size: raise --global-batch-size (11 times" in line
    assert "with --accumulation 11 it takes no more memory" in line


def test_an_allreduce_longer_than_a_whole_step_says_nothing_of_the_link() -> None:
    line = Link(megabytes=8.0, seconds=0.3, size=2).advise(0.1)
    assert "took 300.0 ms, a whole step takes 100.0 ms" in line
    assert "efficiency" not in line


def test_it_says_what_other_forms_of_the_gradient_would_allow() -> None:
    """70 ms of computing beside 30 ms that are exposed; then beside 15 and beside 1."""
    forms = {"none": 0.03, "fp16": 0.015, "powersgd:4": 0.001}
    others = {f"--compression {form}": seconds for form, seconds in forms.items()}
    line = Link(megabytes=8.0, seconds=0.03, size=2, alternatives=others).advise(0.1)
    assert "at this batch size, 82% with --compression fp16, 99% with --compression power" in line
    assert "powersgd:4: begin a new run with one of these (docs/training.md: what each" in line
    assert "compression none" not in line


def test_of_several_local_steps_each_has_its_part_of_an_allreduce() -> None:
    """90 of 100 ms compute beside 10; half the bytes of every step would be 40."""
    others = {"--compression fp16": 0.02, "--local-steps 16": 0.0025}
    link = Link(megabytes=8.0, seconds=0.04, size=2, local_steps=4, alternatives=others)
    assert link.advise(0.1) == "this link allows at least 90% efficiency at this batch size"
    assert "took 40.0 ms, 4 steps take 36.0 ms" in link.advise(0.009)
    line = link.advise(0.02)
    assert "at least 50% efficiency at this batch size, 80% with --local-steps 16: beg" in line
    assert "fp16" not in line
