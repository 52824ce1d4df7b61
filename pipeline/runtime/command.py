"""How commands begin and end: flags, help, exit codes, errors in one line, signals."""

from __future__ import annotations

import argparse
import errno
import io
import itertools
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pipeline.runtime.tables import broken, print_line

T = TypeVar("T")
# Variables in which a launcher gives a process its rank, as hpc/distributed/launcher.py asks them.
RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")
FAREWELL_SECONDS = 10.0  # for a failing rank to print its error and end
NUMBERS: dict[Any, str] = {int: "a whole number", float: "a number"}  # types of flags, in words


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
        if sys.stderr.isatty():  # which shows "^C", perhaps behind an unfinished line
            print(file=sys.stderr)
        print_line(f"{prefix}interrupted; {left}", sys.stderr)
        return 130
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print_line(f"{prefix}{error.strerror or error}{where}", sys.stderr)
    except (ValueError, RuntimeError) as error:
        print_line(prefix + " ".join(str(error).split()), sys.stderr)
    return 1


def is_rank_0() -> bool:
    """Is this the first process of those that a launcher started, or the only one?"""
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"


@contextmanager
def said_by_rank_0() -> Iterator[None]:
    """In this block all ranks find the same ValueError, and rank 0 says it for all.

    Its launcher then ends the other ranks. One that is still there has an error of its own.
    """
    try:
        yield
    except ValueError:
        _let_rank_0_speak()
        raise


def _let_rank_0_speak() -> None:
    if not is_rank_0():
        time.sleep(FAREWELL_SECONDS)


def flag_type(parse: Callable[[str], T], needed: str = "") -> Callable[[str], T]:
    """`parse` as the type of a flag, whose ValueError ends the program with one line.

    The line says what is `needed`, or, without that, the message of the error.
    """

    def parse_flag(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            message = f"{text!r} is not {needed}" if needed else str(error)
            raise argparse.ArgumentTypeError(message) from None

    return parse_flag


class _Version(argparse.Action):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "nargs": 0, "dest": argparse.SUPPRESS})

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from pipeline.runtime.provenance import version_line  # starts git

        if is_rank_0():
            print(f"{parser.prog}: {version_line()}")
        parser.exit()


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with what may have been meant; no flag is abbreviated."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)
        self._words: Sequence[str] = ()
        self.add_argument(
            "--version", action=_Version, help="print version, commit and folder, and exit"
        )

    def error(self, message: str) -> NoReturn:
        """End the program with code 2 and one line, which rank 0 says for all.

        A flag that does not exist goes before any other error.
        """
        _let_rank_0_speak()
        message = self._unknown_flag() or message
        end = "" if message.endswith("?") else "."
        called = sys.argv[0] if Path(sys.argv[0]).name == self.prog else self.prog
        see = f"{'python ' * called.endswith('.py')}{called} --help"
        line = f"error: {message.removeprefix('argument ')}{end} See {see}"
        print_line(line, sys.stderr)
        self.exit(2)

    def print_help(self, file: Any = None) -> None:
        """Print the help, on rank 0 only."""
        if is_rank_0():
            super().print_help(file)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The flags; ends the program for one that does not exist."""
        self._words = sys.argv[1:] if args is None else list(args)
        found, unknown = self.parse_known_args(args, namespace)
        self._words = ()
        if unknown:
            self.error(self._no_flag(unknown[0]))
        return found

    def _unknown_flag(self) -> str:
        """What is wrong with the first flag on the command line that does not exist, if any."""
        flags = itertools.takewhile(lambda word: word != "--", self._words)
        names = (word.partition("=")[0] for word in flags if word.startswith("--"))
        known = self._option_string_actions
        return next((self._no_flag(name) for name in names if name not in known), "")

    def _no_flag(self, word: str) -> str:
        name = word.partition("=")[0]
        return f"{name} is no flag{meant(name, self._option_string_actions)}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action, f"{value!r} is not one of {', '.join(choices)}{meant(str(value), choices)}"
            )

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError:
            if action.type not in NUMBERS:  # the function said what is wrong
                raise
            why = f"{arg_string!r} is not {NUMBERS[action.type]}"
            raise argparse.ArgumentError(action, why) from None


def meant(word: str, known: Iterable[str]) -> str:
    """'; did you mean X?' with the known word that is most alike; nothing if none is."""
    names = {name.lstrip("-"): name for name in known}  # in dashes all flags are alike
    close = get_close_matches(word.lstrip("-"), names, n=1)
    return f"; did you mean {names[close[0]]}?" if close else ""


class _ParagraphsFormatter(argparse.HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """The paragraphs as wide as the terminal; commands and indented lines stay lines."""
        shown = []
        for paragraph in text.strip("\n").split("\n\n"):
            lines = paragraph.split("\n")
            if any(line.startswith((" ", "python ")) for line in lines):
                shown += ["\n".join(broken(line, width) for line in lines)]
            else:
                shown += [textwrap.fill(" ".join(lines), width)]
        return "\n\n".join(shown)


def described_parser(doc: str | None) -> Parser:
    """A parser whose help text is the command's docstring."""
    summary, _, rest = (doc or "").removeprefix("Command: ").partition("\n")
    summary = summary[:1].upper() + summary[1:]
    return Parser(description=summary, epilog=rest, formatter_class=_ParagraphsFormatter)


class DefaultsFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help that names each default which is not None."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def heeded(numbers: Iterable[signal.Signals]) -> list[signal.Signals]:
    """The signals to install handlers for: not SIGHUP, where nohup had it ignored."""
    is_kept = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in numbers if not (is_kept and number == signal.SIGHUP)]


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """In this block SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does.

    A batch system ends a job by the first, a window that closes by the second.
    """
    numbers = heeded((signal.SIGTERM, signal.SIGHUP))
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def outlive_terminal() -> None:
    """From now on a print to a terminal that was closed is lost, and raises no OSError."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream.isatty():
            raw = _TerminalFile(stream.fileno(), "w", closefd=False)
            text = io.TextIOWrapper(
                io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=True
            )
            setattr(sys, name, text)


class _TerminalFile(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return len(data)
