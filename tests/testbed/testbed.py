#!/usr/bin/env python3
"""Hosts on this machine, dorchester and bath, to train across as on two servers; a third, ely.

up brings them up, down takes everything away, also after a failure; run runs a command on one:
testbed.py run dorchester -- mpirun -np 2 -H dorchester,bath hostname
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a script: import from tests/, not from tests/testbed/
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.testbed.cluster import ADDRESSES, DEFAULT_STATE_DIR, HOSTS, Testbed, environment


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of what was asked for: 0 done, 1 failed; of `run`, the command's own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE_DIR, help="its folder")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring the hosts up; what was up before is taken down")
    up.add_argument("--no-pin", action="store_true", help="do not give each host one core")
    up.add_argument("--no-slurm", action="store_true", help="ssh and mpirun only")
    up.add_argument("--third", action="store_true", help="also ely, which is no node of Slurm")
    commands.add_parser("down", help="take everything away")
    commands.add_parser("status", help="who is up, and what runs there")
    run = commands.add_parser("run", help="run a command on a host: run bath -- hostname")
    run.add_argument("host", choices=ADDRESSES)
    run.add_argument("argv", nargs=argparse.REMAINDER, help="the command; a shell unless given")
    for name, text in (("cut", "pull a host's cable"), ("mend", "plug it in again")):
        commands.add_parser(name, help=text).add_argument("host", choices=ADDRESSES)
    rate = commands.add_parser("rate", help="limit the speed of the links: rate 1gbit")
    rate.add_argument("rate", help="as tc(8) writes it; none: no limit")
    rate.add_argument("host", nargs="?", choices=ADDRESSES, help="all unless given")
    hogs = commands.add_parser("hogs", help="keep the hosts' cores busy: hogs 2; none: hogs 0")
    hogs.add_argument("num_hogs", type=int, help="endless loops on each host")
    arguments = parser.parse_args(argv)
    try:
        return perform(arguments, Testbed(arguments.state))
    except (RuntimeError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def perform(arguments: argparse.Namespace, testbed: Testbed) -> int:
    """Do what was asked for; returns the exit code."""
    if arguments.command == "up":
        started = time.monotonic()
        names = tuple(ADDRESSES) if arguments.third else HOSTS
        testbed.up(pin=not arguments.no_pin, slurm=not arguments.no_slurm, hosts=names)
        print(f"{' and '.join(testbed.hosts)} are up after {time.monotonic() - started:.1f} s")
        return 0
    if arguments.command == "down":
        testbed.down()
        return 0
    if not testbed.is_up:
        raise RuntimeError(f"no testbed in {arguments.state}. Bring it up with: testbed.py up")
    if getattr(arguments, "host", None) in ADDRESSES.keys() - testbed.hosts.keys():
        raise RuntimeError(f"{arguments.host} is not up: testbed.py up --third")
    if arguments.command == "run":
        host = testbed.hosts[arguments.host]
        argv = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
        entrance = [*host.entrance(), *(argv or [os.environ.get("SHELL", "/bin/sh")])]
        os.execvpe(entrance[0], entrance, environment())
    elif arguments.command == "cut":
        testbed.cut(arguments.host)
    elif arguments.command == "mend":
        testbed.mend(arguments.host)
    elif arguments.command == "hogs":
        testbed.hog(arguments.num_hogs)
    elif arguments.command == "rate":
        testbed.set_rate(None if arguments.rate == "none" else arguments.rate, arguments.host)
    else:
        for name, host in testbed.hosts.items():
            core = "all cores" if host.core is None else f"core {host.core}"
            hogs = f"  {len(host.hogs)} hogs" * bool(host.hogs)
            print(f"{name}  {host.address}  {core}{hogs}")
            for process in testbed.processes(name):
                print(f"    {process.pid}  {process.command}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
