"""How commands begin and end: flags and help; 0 when the work is done, else one line on stderr."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


def run_command(work: Callable[[], int | None], who: str = "") -> int:
    """The exit code of `work`: its own, 0 for None, 1 after an error that a user can mend.

    `who` names the process in the error, where there are several.

    ValueError, OSError and RuntimeError carry a message made for the user and are printed as one
    line; anything else is our fault and keeps its traceback.
    """
    # Off by default on processors without AVX-512, where it makes the LSTM's products up to 1.5
    # times faster all the same (hpc/results/lstm.md).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    prefix = f"error: {who}: " if who else "error: "
    try:
        return work() or 0
    except KeyboardInterrupt as stop:
        left = str(stop) or "nothing half-written was left behind"
        print(f"{prefix}interrupted; {left}", file=sys.stderr)
        return 130
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"{prefix}{error.strerror or error}{where}", file=sys.stderr)
    except (ValueError, RuntimeError) as error:
        print(f"{prefix}{' '.join(str(error).split())}", file=sys.stderr)
    return 1


def flag_type(parse: Callable[[str], T]) -> Callable[[str], T]:
    """`parse` as the type of a flag: the words of its ValueError are what argparse prints."""

    def parse_flag(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse_flag


def described_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the command's own docstring, as it is written."""
    summary, _, rest = (doc or "").removeprefix("Command: ").partition("\n")
    return argparse.ArgumentParser(
        description=summary,
        epilog=rest.strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


@contextlib.contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """A request to end, from a batch system or a window that closes, ends as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signals = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Meanwhile SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
