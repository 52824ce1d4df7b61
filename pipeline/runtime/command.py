"""How commands begin and end: flags, help, exit codes, errors in one line, signals."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def run_command(work: Callable[[], int | None], who: str = "") -> int:
    """The exit code of a command: what `work` returns, 0 for None, 1 after an error of the user's.

    ValueError, OSError and RuntimeError carry a message for the user and are printed as one line;
    any other exception is a fault of the program and keeps its traceback. `who` names the process
    in the error line where several run.
    """
    # oneDNN is off by default on processors without AVX-512, but makes the LSTM's products up to
    # 1.5 times faster there too (hpc/results/lstm.md).
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
    """`parse` as the type of a flag: argparse prints the message of its ValueError."""

    def parse_flag(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse_flag


def described_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help text is the command's docstring, with its line breaks."""
    summary, _, rest = (doc or "").removeprefix("Command: ").partition("\n")
    return argparse.ArgumentParser(
        description=summary,
        epilog=rest.strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """In this block SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does.

    A batch system ends a job by the first, a window that closes by the second.
    """
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
