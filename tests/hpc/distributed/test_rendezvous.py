"""The rendezvous and the watchdog, with real processes and real signals on loopback."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from hpc.distributed.connection import Connection, free_port
from hpc.distributed.mpirun import EXIT_PEER_LOST
from tests.conftest import REPOSITORY

# Limits of the ranks, and how long a test waits for what has no limit: the machine may be busy.
START_TIMEOUT, TIMEOUT, PATIENCE_SECONDS = 300.0, 6.0, 300.0

# One rank: meets the others, then finishes a step every 0.1 s until told otherwise.
RANK = """
import builtins, ctypes, json, sys, time
from hpc.distributed.launcher import Place
from hpc.distributed.rendezvous import meet, require_equal, require_sound
from hpc.distributed.watchdog import Watchdog
from pipeline.runtime.command import run_command

rank, size, port, start, timeout = json.loads(sys.argv[1])
facts = json.loads(sys.argv[2])
place = Place(rank, size, host=f"host{rank}")

def train():
    with Watchdog(place, timeout) as watchdog:
        secret = facts.get("secret", "of this run").encode()
        roll = meet(watchdog, facts, lambda own: ([("127.0.0.1", port)], secret),
                    listen_on=("127.0.0.1", port), start_timeout=start)
        require_sound(roll, rank)
        require_equal(roll, {"data set": "copy it", "versions": "not that of {python}"})
        watchdog.has_checkpoint = facts.get("has_checkpoint")
        print("together", [r["host"] for r in roll], flush=True)
        if facts.get("hold_the_interpreter"):
            watchdog.allow(start, "starting its collective library")
            # Unlike time.sleep, it lets no other thread of Python run.
            ctypes.PyDLL(None).sleep(facts["hold_the_interpreter"])
        for step in range(1, facts["steps"] + 1):
            time.sleep(0.1)
            if step > facts.get("stand_still_after", step):
                time.sleep(600)
            if step > facts.get("collective_fails_after", step):
                raise type("UnavailableError", (Exception,), {"__module__": "tensorflow.errors"})
            if step > facts.get("fail_after", step):
                raise getattr(builtins, facts.get("fails_as", "KeyError"))("broken")
            watchdog.progress(step)

time.sleep(facts.get("come_after", 0))
code = run_command(train, str(place))  # as hpc/train.py does
time.sleep(facts.get("stay_after_the_end", 0))
sys.exit(code)
"""


class Ranks:
    """Processes of one run, started with their facts; killed at the end of a test."""

    def __init__(self) -> None:
        self.port = free_port()
        self.processes: list[subprocess.Popen[str]] = []

    def start(
        self,
        size: int,
        *facts: dict,
        present: int | None = None,
        start_timeout: float = START_TIMEOUT,
        timeout: float = TIMEOUT,
    ) -> None:
        for rank in range(size if present is None else present):
            place = json.dumps([rank, size, self.port, start_timeout, timeout])
            told = {"problem": "", "data set": "abc", "versions": {}, "steps": 600}
            told |= facts[rank] if rank < len(facts) else {}
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", RANK, place, json.dumps(told)],
                    cwd=REPOSITORY,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )

    def wait_until_together(self) -> None:
        for process in self.processes:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("together")
        time.sleep(0.5)

    def end_of(self, rank: int, timeout: float = PATIENCE_SECONDS) -> tuple[int, str]:
        _, errors = self.processes[rank].communicate(timeout=timeout)
        return self.processes[rank].returncode, errors


@pytest.fixture
def ranks() -> Iterator[Ranks]:
    started = Ranks()
    yield started
    for process in started.processes:
        process.kill()
        process.wait()


def test_ranks_that_come_and_finish_end_without_a_word(ranks: Ranks) -> None:
    ranks.start(3, {"steps": 3}, {"steps": 3}, {"steps": 3})
    assert [ranks.end_of(rank) for rank in range(3)] == [(0, "")] * 3


def test_a_rank_may_come_seconds_after_another(ranks: Ranks) -> None:
    ranks.start(3, {"steps": 3}, {"steps": 3}, {"steps": 3, "come_after": 2.5})
    assert [ranks.end_of(rank) for rank in range(3)] == [(0, "")] * 3


def test_a_rank_that_never_comes_is_named_when_the_time_is_up(ranks: Ranks) -> None:
    ranks.start(3, present=2, start_timeout=4.0)
    code, errors = ranks.end_of(0)
    assert code != 0
    assert "rank 2 did not come within 4 s (rank 0 waited on host0)" in errors
    assert ranks.end_of(1)[0] != 0


def test_a_rank_alone_says_where_it_looked_for_rank_0(ranks: Ranks) -> None:
    ranks.start(2, present=2, start_timeout=4.0)
    ranks.processes[0].kill()
    code, errors = ranks.end_of(1)
    assert code != 0
    assert "rank 0" in errors
    assert errors.count("rank 1 on host1") == 1


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_killed_rank_is_named_by_every_other(ranks: Ranks, victim: int) -> None:
    advice = {
        None: "The same command continues from the last checkpoint, if there is one",
        True: "The same command continues from the last checkpoint",
        False: "The same command begins anew: there is no checkpoint yet",
    }
    known = list(advice)[victim]
    ranks.start(3, *[{"has_checkpoint": known}] * 3)
    ranks.wait_until_together()
    ranks.processes[victim].kill()
    for rank in {0, 1, 2} - {victim}:
        code, errors = ranks.end_of(rank)
        assert code == EXIT_PEER_LOST
        assert f"rank {victim} on host{victim} has died" in errors
        assert errors.endswith(f"{advice[known]}\n")
        assert errors.count("\n") == 1


@pytest.mark.parametrize("victim", [0, 1])
def test_a_stopped_rank_is_named_within_the_time_limit(ranks: Ranks, victim: int) -> None:
    ranks.start(2)
    ranks.wait_until_together()
    ranks.processes[victim].send_signal(signal.SIGSTOP)
    code, errors = ranks.end_of(1 - victim)
    assert code == EXIT_PEER_LOST
    assert f"rank {victim} on host{victim} has been silent" in errors


def test_a_rank_that_starts_its_library_may_be_silent_for_longer(ranks: Ranks) -> None:
    # tf.distribute.MultiWorkerMirroredStrategy() blocks the interpreter while it connects.
    facts = {"steps": 70}, {"steps": 10, "hold_the_interpreter": 5}
    ranks.start(2, *facts, start_timeout=60.0)
    assert [ranks.end_of(rank) for rank in range(2)] == [(0, "")] * 2


def test_a_rank_that_is_silent_for_too_long_at_its_start_may_be_busy(ranks: Ranks) -> None:
    ranks.start(2, {}, {"hold_the_interpreter": 600}, start_timeout=4 * TIMEOUT)
    code, errors = ranks.end_of(0)
    assert code == EXIT_PEER_LOST
    assert "(its host answers; where it is busy, --start-timeout must be longer)" in errors


def test_a_rank_whose_main_thread_stands_still_gives_up_by_itself(ranks: Ranks) -> None:
    ranks.start(2, {}, {"stand_still_after": 3})
    code, errors = ranks.end_of(1)
    assert code == EXIT_PEER_LOST
    assert "rank 1 on host1 has been in a step" in errors
    assert "its limit (--timeout), after step 3" in errors
    assert ranks.end_of(0)[0] == EXIT_PEER_LOST


def test_the_failing_rank_alone_speaks(ranks: Ranks) -> None:
    ranks.start(2, {}, {"fail_after": 2})
    code, errors = ranks.end_of(1)
    assert code == 1
    assert "KeyError: 'broken'" in errors
    assert ranks.end_of(0) == (EXIT_PEER_LOST, "")


def test_a_rank_ends_after_the_failing_one_so_that_its_code_is_the_first(ranks: Ranks) -> None:
    # A RuntimeError, say of a full disk, is printed by run_command; the process may end later.
    ranks.start(2, {}, {"fail_after": 2, "fails_as": "RuntimeError", "stay_after_the_end": 600})
    stderr = ranks.processes[1].stderr
    assert stderr is not None and "broken" in stderr.readline()
    time.sleep(3)
    assert ranks.processes[0].poll() is None
    ranks.processes[1].kill()
    assert ranks.end_of(0) == (EXIT_PEER_LOST, "")


def test_a_rank_whose_collective_fails_says_nothing_beside_the_failing_rank(ranks: Ranks) -> None:
    ranks.start(2, {"collective_fails_after": 3}, {"fail_after": 6})
    assert "KeyError: 'broken'" in ranks.end_of(1)[1]
    assert ranks.end_of(0) == (EXIT_PEER_LOST, "")


def test_a_rank_whose_collective_fails_waits_for_the_watch_to_name_the_cause(ranks: Ranks) -> None:
    ranks.start(2, {"collective_fails_after": 10}, timeout=16.0)
    ranks.wait_until_together()
    ranks.processes[1].send_signal(signal.SIGSTOP)
    code, errors = ranks.end_of(0)
    assert code == EXIT_PEER_LOST
    assert errors.startswith("error: rank 1 on host1 has been silent for ")
    assert errors.count("\n") == 1


def test_a_rank_that_differs_is_named_with_both_values(ranks: Ranks) -> None:
    ranks.start(2, {}, {"data set": "xyz"})
    code, errors = ranks.end_of(0)
    assert code == 1
    assert "rank 1 on host1 has data set xyz, rank 0 on host0 has data set abc: copy it" in errors


def test_a_rank_with_other_versions_is_named_with_its_python(ranks: Ranks) -> None:
    theirs = {"versions": {"python": "3.10.2"}, "python": "/usr/bin/python"}
    ranks.start(2, {"versions": {"python": "3.11.7"}}, theirs)
    code, errors = ranks.end_of(0)
    assert code == 1
    assert "has versions python 3.10.2, rank 0 on host0 has versions python 3.11.7" in errors
    assert "not that of /usr/bin/python" in errors


def test_a_problem_on_one_host_ends_all_with_that_problem(ranks: Ranks) -> None:
    ranks.start(2, {}, {"problem": "no data set in data/bach"})
    for rank in (0, 1):
        code, errors = ranks.end_of(rank)
        assert code == 1
        assert "rank 1 on host1: no data set in data/bach" in errors
        assert errors.count("rank 1 on host1") == 1


# What a stranger may send; all of it is harmless.
GARBAGE = [
    b"",
    b"GET / HTTP/1.1\r\n\r\n",
    bytes(range(256)) * 8,
    b"7\n",
    b"[1, 2]\n",
    b"null\n",
    b'{"hello": 3}\n',
    b'{"hello": {"rank": 1, "host": "host1", "address": "127.0.0.1"}}\n',
    b'{"hello": {"rank": 0}}\n',
    b'{"hello": {"rank": 99}}\n',
    b'{"hello": {"rank": "x"}}\n',
    b'{"hello": {"rank": 2',
    b"a" * 64 + b"\n" + b"b" * 64 + b' {"hello": {"rank": 1}}\n',
    b"a" * 64 + b"\n[]\n",
    b"a" * 2**19,
]


def knock(port: int, content: bytes, wait: float = PATIENCE_SECONDS) -> socket.socket:
    """A stranger's connection, left open."""
    until = time.monotonic() + wait
    while True:
        try:
            stranger = socket.create_connection(("127.0.0.1", port), timeout=2)
            break
        except ConnectionRefusedError:
            assert time.monotonic() < until, "rank 0 opened no port"
            time.sleep(0.02)
    with suppress(OSError):  # turned away already
        stranger.sendall(content)
    return stranger


def test_strangers_do_not_hold_up_the_roll_call_and_are_counted_once(ranks: Ranks) -> None:
    come = {"steps": 3, "come_after": 3}
    ranks.start(3, {"steps": 3}, {"steps": 3}, come)
    strangers = [knock(ranks.port, content) for content in GARBAGE]
    strangers += [knock(ranks.port, b"") for _ in range(500 - len(GARBAGE))]
    for _ in range(20):  # may be a rank's: it comes again if it waited too long for an answer
        knock(ranks.port, b"").close()
    ends = [ranks.end_of(rank) for rank in range(3)]
    for stranger in strangers:
        stranger.close()
    assert [code for code, _ in ends] == [0, 0, 0], ends
    assert ends[0][1].count("\n") == 1, ends[0][1]
    assert "rank 0 on host0 turned away 500 connections" in ends[0][1]
    assert "the first from 127.0.0.1" in ends[0][1]
    assert [errors for _, errors in ends[1:]] == ["", ""]


def test_a_rank_without_the_secret_is_a_stranger(ranks: Ranks) -> None:
    ranks.start(2, {}, {"secret": "of another run"}, start_timeout=10.0)
    code, errors = ranks.end_of(0)
    assert code == 1
    assert "turned away" in errors
    assert "rank 1 did not come within 10 s" in errors
    assert "cannot reach rank 0 at 127.0.0.1" in ranks.end_of(1)[1]


@pytest.mark.parametrize(
    ("claimed", "reason"), [(0, "it is rank 0"), (99, "it is rank 99"), ("x", "it is rank 'x'")]
)
def test_an_impossible_rank_is_refused_with_the_reason(
    ranks: Ranks, claimed: object, reason: str
) -> None:
    ranks.start(2, {}, {"rank": claimed}, start_timeout=10.0)
    code, errors = ranks.end_of(1)
    assert code == 1
    assert reason in errors
    assert "rank 1 did not come" in ranks.end_of(0)[1]


def test_a_second_process_of_the_same_rank_is_refused(ranks: Ranks) -> None:
    ranks.start(3, {"steps": 3}, {"steps": 3}, {"rank": 1, "come_after": 1}, start_timeout=12.0)
    code, errors = ranks.end_of(2)
    assert code == 1
    assert "rank 1 has come already, as process" in errors
    assert "rank 2 did not come" in ranks.end_of(0)[1]


def test_a_signed_line_is_read_once_and_in_its_place() -> None:
    ours, theirs = socket.socketpair()
    chief, other = Connection(ours), Connection(theirs)
    for connection in (chief, other):
        connection.agree_on_key(b"secret", b"a", b"b", is_chief=connection is chief)
    other.send(step=1)
    line = chief.read_line(time.monotonic() + PATIENCE_SECONDS, 1000)
    assert line is not None
    assert other.open(line) is None  # sent back to the one who wrote it
    assert chief.open(line.replace(b"1}", b"2}")) is None
    assert chief.open(line) == {"step": 1}
    assert chief.open(line) is None
    other.send(step=2)
    assert chief.receive() == {"step": 2}


def test_ranks_that_were_stopped_together_go_on_without_blame(ranks: Ranks) -> None:
    ranks.start(3, *[{"steps": 60}] * 3)
    ranks.wait_until_together()
    for process in ranks.processes:
        process.send_signal(signal.SIGSTOP)
    time.sleep(TIMEOUT + 1)
    for process in ranks.processes:
        process.send_signal(signal.SIGCONT)
    assert [ranks.end_of(rank) for rank in range(3)] == [(0, "")] * 3


def test_a_rank_that_was_stopped_does_not_blame_another(ranks: Ranks) -> None:
    ranks.start(2)
    ranks.wait_until_together()
    ranks.processes[1].send_signal(signal.SIGSTOP)
    assert ranks.end_of(0)[0] == EXIT_PEER_LOST
    time.sleep(TIMEOUT)
    ranks.processes[1].send_signal(signal.SIGCONT)
    code, errors = ranks.end_of(1)
    assert code == EXIT_PEER_LOST
    assert "error: rank 1 on host1 has been silent" in errors
    assert "rank 0" not in errors
