"""Command: check whether this machine, or these hosts, can train, and say what to do if not.

    python hpc/doctor.py
    python hpc/doctor.py -H dorchester,bath --data data/bach

Exit codes: 0 without a warning, 1 with warnings, 2 if a check failed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import socket
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

if __package__ in (None, ""):  # run as a script: import from the root, not from hpc/
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from pipeline.runtime.interpreter import explain_missing_libraries

    explain_missing_libraries()

from hpc.diagnostics import checks
from hpc.diagnostics.checks import STATUSES, Finding
from hpc.diagnostics.host_facts import collect
from hpc.diagnostics.remote_hosts import (
    FACTS_MARK,
    Answer,
    UnreachableError,
    answer_clock_questions,
    ask_all,
    try_mpirun,
)
from hpc.diagnostics.shared_network import SharedNetwork, network, shared_networks
from hpc.distributed.addresses import is_here
from hpc.distributed.hosts import parse_hosts
from pipeline.runtime.command import Parser, run_command
from pipeline.runtime.files import write_json
from pipeline.runtime.tables import UNLIMITED_WIDTH, aligned_lines, print_line

DEFAULT_DATA = Path("data/bach")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: the status of the worst finding, 0 to 2."""
    parser = Parser(description=(__doc__ or "").partition("\n")[0].removeprefix("Command: "))
    add = parser.add_argument
    add(
        "-H",
        "--hosts",
        default="",
        metavar="HOST[:SLOTS],...",
        help="hosts as for mpirun (default: this machine)",
    )
    add("--data", type=Path, help=f"the data set to train on (default: {DEFAULT_DATA})")
    add("--quick", action="store_true", help="neither load the libraries nor start mpirun")
    add("--json", type=Path, metavar="FILE", help="also write the findings to this file")
    add("--names", default="", help=argparse.SUPPRESS)  # with --facts: the hosts to look up
    add("--facts", action="store_true", help=argparse.SUPPRESS)  # what a host is asked by ssh
    flags = parser.parse_args(argv)
    return run_command(lambda: answer_facts(flags) if flags.facts else examine(flags))


def answer_facts(flags: argparse.Namespace) -> int:
    """Print this host's facts for the doctor on another one, then the time whenever it asks."""
    names = flags.names.split(",") if flags.names else []
    print(FACTS_MARK + json.dumps(collect(flags.data, names, flags.quick)), flush=True)
    answer_clock_questions(sys.stdin)
    return 0


def examine(flags: argparse.Namespace) -> int:
    """Check all hosts and print the findings; the exit code."""
    slots = Counter(parse_hosts(flags.hosts or socket.gethostname()))
    data = (flags.data or DEFAULT_DATA).absolute()

    # Facts of all hosts, and what follows from them.
    answers, table = interview(list(slots), data, flags.quick)
    facts = {host: answer.facts for host, answer in answers.items()}
    if facts:
        for check in (checks.versions, checks.libraries, checks.mpi, network):
            table += check(facts)
        table += checks.clocks(answers)
        table += checks.devices(facts, slots)
        table += checks.files(facts, flags.data is not None)

    # A trial of mpirun, where all hosts answered and have one.
    networks = shared_networks(facts) if len(slots) > 1 and len(facts) == len(slots) else []
    if not flags.quick and len(facts) == len(slots) and all(f["mpirun"] for f in facts.values()):
        table += try_launch(flags.hosts, slots, networks, answers)

    # The report.
    table.sort(key=lambda finding: STATUSES.index(finding.status))  # the worst last, by the prompt
    print_table(table)
    if networks:
        print_settings(flags.hosts, sum(slots.values()), networks[0], facts)
    if flags.json:
        write_json(flags.json, [asdict(finding) for finding in table])
    return max(STATUSES.index(finding.status) for finding in table)


def interview(
    hosts: Sequence[str], data: Path, quick: bool
) -> tuple[dict[str, Answer], list[Finding]]:
    """The answers of the hosts that gave one, asked all at once, and the findings about ssh."""
    flags = ["--data", str(data), "--names", ",".join(hosts), *(["--quick"] if quick else [])]
    names = hosts if len(hosts) > 1 else []

    elsewhere = [host for host in hosts if not is_here(host)]
    replies = ask_all(elsewhere, flags)
    replies |= {host: Answer(collect(data, names, quick)) for host in hosts if is_here(host)}
    answers, table = {}, []
    for host, reply in ((host, replies[host]) for host in hosts):
        if isinstance(reply, UnreachableError):
            table.append(Finding("ssh", "failed", f"{host}: {reply}", reply.advice))
        else:
            answers[host] = reply
    if others := [host for host in answers if host in elsewhere]:
        table.append(Finding("ssh", "ok", f"{', '.join(others)} without a prompt"))
    return answers, table


def try_launch(
    hosts: str,
    slots: dict[str, int],
    networks: Sequence[SharedNetwork],
    answers: dict[str, Answer],
) -> list[Finding]:
    """Start a small program as a training is started, and again on the shared network only."""
    facts = {host: answer.facts for host, answer in answers.items()}
    bare = try_mpirun(hosts or "localhost", sum(slots.values()), [])
    kept = None
    if not bare.ranks and networks:
        kept = try_mpirun(hosts, sum(slots.values()), networks[0].mpirun_options)
    return checks.launch(facts, slots, bare, kept)


def print_table(table: Sequence[Finding]) -> None:
    """Print a line for each finding, on a narrow terminal several, and below it what to do."""
    from rich.console import Console
    from rich.text import Text

    console = Console(force_jupyter=False)  # in a notebook, one text with what is printed below it
    before = max(map(len, STATUSES)) + max(len(finding.check) for finding in table) + 4
    room = console.width - before if sys.stdout.isatty() else UNLIMITED_WIDTH
    rows: list[tuple[str, str, str]] = []
    for finding in table:
        first, *rest = textwrap.wrap(finding.found, room, break_long_words=False) or [""]
        rows.append((finding.status, finding.check, first))
        rows += [("", "", line) for line in rest]
        if finding.advice:
            rows.append(("", "", f"-> {finding.advice}"))
    colours = dict(zip(STATUSES, ("green", "yellow", "red"), strict=True))
    for (status, *_), line in zip(rows, aligned_lines(("", "", ""), rows), strict=True):
        text = Text(line)
        if status:
            text.stylize(colours[status], 0, len(status))
        console.print(text, soft_wrap=True)  # a command in an advice can be copied whole


def print_settings(hosts: str, num_ranks: int, shared: SharedNetwork, facts: checks.Facts) -> None:
    """Print the settings that keep a run to the network that the hosts share.

    Of those in Open MPI's files only the ones that a host lacks, or has another value of.
    """
    lacking: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    in_place = []
    mpirun = next(iter(facts.values()))["mpirun"]
    for file, settings in shared.mca_files(checks.open_mpi_major(mpirun)).items():
        for name, value in settings.items():
            others = tuple(h for h, fact in facts.items() if fact["mca"][file].get(name) != value)
            if others:
                lacking.setdefault((file, others), []).append(f"{name} = {value}")
            else:
                in_place.append(name)

    options = shlex.join(shared.mpirun_options) + " " if lacking else ""
    print("\nTo keep a run to the network that the hosts share:")
    print(f"    mpirun -np {num_ranks} -H {hosts} {options}python hpc/train.py")
    lead = "or once for all,"
    for (file, others), lines in lacking.items():
        where = "every host" if len(others) == len(facts) else ", ".join(others)
        print(f"{lead} in {file} on {where}:")
        for line in lines:
            print(f"    {line}")
        lead = "and"
    if in_place:
        print_line(f"In place on every host: {', '.join(in_place)}")
    print_line(f"With GPUs also: export {shared.nccl}, and mpirun -x NCCL_SOCKET_IFNAME")


if __name__ == "__main__":
    sys.exit(main())
